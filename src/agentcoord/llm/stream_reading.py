"""What one stream has told so far: put together and counted while it runs, and judged when it ends.

Separate from the client because it touches events by their documented fields only and never
imports the SDK. We put the message together ourselves, for two reasons. The SDK gives up a stream
at the first piece of tool input that is no JSON, and never hears what the rest of it cost; we read on
to the end, so that the books are right. And it parses all the input again with every piece.
"""

from __future__ import annotations

import json
from dataclasses import field, replace
from typing import Any

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmRetryableError
from agentcoord.llm.api import Block, Progress, StopReason, Turn
from agentcoord.values import dataclass


@dataclass(slots=True)
class _Part:
    """One content block in the making; `block` is as its start told it."""

    block: Block
    pieces: dict[str, list[str]] = field(default_factory=dict)
    """What its deltas brought, by the block's key."""
    tool_json: list[str] = field(default_factory=list)
    citations: list[Block] = field(default_factory=list)

    def whole(self) -> Block | None:
        """Return the finished block; None when its tool input is not complete JSON."""
        block = dict(self.block)
        for key, pieces in self.pieces.items():
            block[key] = "".join([str(block.get(key) or ""), *pieces])
        if self.citations:
            block["citations"] = [*(block.get("citations") or []), *self.citations]
        if text := "".join(self.tool_json):
            try:
                block["input"] = json.loads(text)
            except ValueError:
                return None
        return block


@dataclass(slots=True)
class StreamReading:
    """One message in the making."""

    parts: dict[int, _Part] = field(default_factory=dict)
    """By block index, in the order in which they began."""
    model: str = ""
    stop_reason: str | None = None

    def note(self, event: Any, progress: Progress) -> bool:
        """Take an event in, and count it into `progress`; return whether the answer begins with it."""
        match event.type:
            case "message_start":
                self.model = str(event.message.model)
                progress.usage = _usage_of(event.message.usage)
                progress.started = True
                return True
            case "content_block_start":
                self.parts[event.index] = _Part(event.content_block.to_dict())
            case "content_block_delta":
                self._add(self.parts[event.index], event.delta, progress)
            case "message_delta":
                self.stop_reason = event.delta.stop_reason
                progress.usage = _with_delta(progress.usage, event.usage)
            case _:
                pass
        return False

    def _add(self, part: _Part, delta: Any, progress: Progress) -> None:
        match delta.type:
            case "text_delta":
                piece = delta.text
                part.pieces.setdefault("text", []).append(piece)
                if progress.on_text is not None and piece:
                    progress.on_text(piece)
            case "thinking_delta":
                piece = delta.thinking
                part.pieces.setdefault("thinking", []).append(piece)
            case "input_json_delta":
                piece = delta.partial_json
                part.tool_json.append(piece)
            case "signature_delta":
                part.block["signature"] = delta.signature
                return
            case "citations_delta":
                part.citations.append(delta.citation.to_dict())
                return
            case _:
                return
        progress.output_chars += len(piece)
        progress.output_bytes += len(piece.encode("utf-8", "surrogatepass"))

    def finish(self, progress: Progress, *, request_id: str) -> Turn:
        """Return the turn. Raises LlmRetryableError when the stream ended before its end."""
        if self.stop_reason is None:
            raise LlmRetryableError("the stream ended before the model's stop reason came")
        stop_reason = _stop_reason_of(self.stop_reason)
        content = []
        for part in self.parts.values():
            block = part.whole()
            if block is None:
                if stop_reason is StopReason.TOOL_USE:
                    raise LlmRetryableError("the stream held tool input that is not complete JSON")
                # Cut off by a limit: nobody runs this call, but it is part of what was said.
                block = {**part.block, "input": {}}
            content.append(block)
        return Turn(
            content=tuple(content),
            stop_reason=stop_reason,
            usage=progress.usage,
            model=self.model,
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
