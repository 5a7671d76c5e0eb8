"""What one stream has told so far: counted while it runs, and judged when it ends.

Separate from the client because it touches events by their documented fields only and never
imports the SDK. Deliberately absent: putting the message together; the SDK does that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmRetryableError
from agentcoord.llm.api import Progress, StopReason, Turn


@dataclass(slots=True)
class StreamReading:
    """What must be remembered of a stream beside the message that the SDK puts together."""

    tool_json: dict[int, list[str]] = field(default_factory=dict)
    """Pieces of tool input by block index; the SDK accepts input that was cut off, we do not."""

    async def note(self, event: Any, progress: Progress) -> None:
        """Count an event into `progress`, and tell its callbacks."""
        match event.type:
            case "message_start":
                progress.usage = _usage_of(event.message.usage)
                progress.started = True
                if progress.on_start is not None:
                    await progress.on_start()
            case "content_block_delta":
                self._count(event.index, event.delta, progress)
            case "message_delta":
                progress.usage = _with_delta(progress.usage, event.usage)
            case _:
                pass

    def _count(self, index: int, delta: Any, progress: Progress) -> None:
        match delta.type:
            case "text_delta":
                piece = delta.text
                if progress.on_text is not None and piece:
                    progress.on_text(piece)
            case "thinking_delta":
                piece = delta.thinking
            case "input_json_delta":
                piece = delta.partial_json
                self.tool_json.setdefault(index, []).append(piece)
            case _:
                return
        progress.output_chars += len(piece)
        progress.output_bytes += len(piece.encode("utf-8", "surrogatepass"))

    def finish(self, message: Any, progress: Progress, *, request_id: str) -> Turn:
        """Return the turn. Raises LlmRetryableError when the stream ended before its end."""
        if message.stop_reason is None:
            raise LlmRetryableError("the stream ended before the model's stop reason came")
        stop_reason = _stop_reason_of(message.stop_reason)
        if stop_reason is StopReason.TOOL_USE and not all(map(_is_json, self.tool_json.values())):
            raise LlmRetryableError("the stream held tool input that is not complete JSON")
        return Turn(
            content=tuple(block.to_dict() for block in message.content),
            stop_reason=stop_reason,
            usage=progress.usage,
            model=str(message.model),
            request_id=request_id,
        )


def _usage_of(usage: Any) -> Usage:
    """Read `message_start`'s usage; other servers leave out the cache fields."""
    written = usage.cache_creation_input_tokens or 0
    split = usage.cache_creation
    written_5m = (split.ephemeral_5m_input_tokens or 0) if split is not None else 0
    return Usage(
        input_tokens=usage.input_tokens or 0,
        cache_write_5m_tokens=min(written_5m, written),
        # What the server does not break down is booked at the dearer rate.
        cache_write_1h_tokens=max(written - written_5m, 0),
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
    )


def _with_delta(usage: Usage, delta: Any) -> Usage:
    """Apply `message_delta`'s cumulative counts; those it leaves out stay."""
    written = delta.cache_creation_input_tokens
    known_5m = usage.cache_write_5m_tokens
    if written is None:
        written = known_5m + usage.cache_write_1h_tokens
    read = delta.cache_read_input_tokens
    return replace(
        usage,
        input_tokens=usage.input_tokens if delta.input_tokens is None else delta.input_tokens,
        cache_write_5m_tokens=min(known_5m, written),
        cache_write_1h_tokens=max(written - known_5m, 0),
        cache_read_tokens=usage.cache_read_tokens if read is None else read,
        output_tokens=delta.output_tokens or 0,
    )


def _stop_reason_of(word: str) -> StopReason:
    try:
        return StopReason(word)
    except ValueError:
        return StopReason.UNKNOWN


def _is_json(pieces: list[str]) -> bool:
    text = "".join(pieces)
    if not text:
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
