"""From a scripted answer to a message of the API, and from a message to its stream of events.

Separate from the application because it is pure and deterministic: ids come from the task and
the turn, so that a conversation which is played twice is the same byte for byte. The order of
events and their fields follow the provider's documentation of streaming.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agentcoord.llm.rehearsal.faults import Fault, FaultKind
from agentcoord.llm.rehearsal.prefix_cache import PromptUsage, canonical, tokens_of
from agentcoord.llm.rehearsal.scripts import Answer, ToolCall
from agentcoord.values import dataclass

_PIECE_CHARS = 24
_MAX_PIECES = 64
"""Long blocks are cut into so many pieces, however long: clients parse tool input anew with each."""


@dataclass(frozen=True, slots=True)
class Part:
    """One content block and how it is streamed."""

    block: dict[str, Any]
    """As a client has it when the stream is over."""
    streamed: str = ""
    """Text, thinking or tool input as JSON: what comes in pieces."""

    @property
    def output_tokens(self) -> int:
        return tokens_of(self.streamed or canonical(self.block))


@dataclass(frozen=True, slots=True)
class Message:
    """What the model says in one turn."""

    id: str
    model: str
    parts: tuple[Part, ...]
    stop_reason: str
    has_unknown_event: bool = False

    @property
    def output_tokens(self) -> int:
        return max(1, sum(part.output_tokens for part in self.parts))

    @property
    def content(self) -> list[dict[str, Any]]:
        return [part.block for part in self.parts]

    def to_dict(self, prompt: PromptUsage) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        return {
            **_envelope(self),
            "content": self.content,
            "stop_reason": self.stop_reason,
            **_stop_details(self.stop_reason),
            "usage": usage_dict(prompt, self.output_tokens),
        }


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, and how much output has been sent with it."""

    name: str
    fields: dict[str, Any]
    output_tokens: int = 0
    """Of this event alone."""

    def encode(self) -> bytes:
        body = json.dumps({"type": self.name, **self.fields}, ensure_ascii=False, separators=(",", ":"))
        return f"event: {self.name}\ndata: {body}\n\n".encode("utf-8", "surrogatepass")


def compose(
    answer: Answer, *, task: str, turn: int, model: str, max_tokens: int, fault: Fault | None
) -> Message:
    """Return the message for a scripted answer, bent by a fault and cut at `max_tokens`."""
    kind = fault.kind if fault is not None else None
    parts = list(_parts(answer, f"{task}:{turn}"))
    stop_reason = answer.effective_stop_reason
    match kind:
        case FaultKind.UNKNOWN_BLOCK:
            future = {"type": "future_block", "payload": {"numbers": [1, 2.5], "words": "caf\u00e9"}}
            parts.insert(0, Part(future))
        case FaultKind.REFUSAL | FaultKind.PAUSE_TURN:
            parts = [part for part in parts if part.block["type"] != "tool_use"]
            stop_reason = str(kind)
        case FaultKind.CONTEXT_EXCEEDED:
            parts = [part for part in parts if part.block["type"] != "tool_use"]
            stop_reason = "model_context_window_exceeded"
        case FaultKind.EMPTY_END_TURN:
            parts, stop_reason = [], "end_turn"
        case FaultKind.MALFORMED_TOOL_JSON:
            parts = _with_tool_json(parts, '{"command": nonsense}')
        case FaultKind.CUT_TOOL_JSON:
            parts = _with_tool_json(parts, None)
        case FaultKind.MAX_TOKENS:
            whole = sum(part.output_tokens for part in parts)
            last = parts[-1].output_tokens if parts else 0
            parts, stop_reason = _cut(parts, max(1, whole - last // 2 - 1)), "max_tokens"
        case _:
            pass
    if sum(part.output_tokens for part in parts) > max_tokens:
        parts, stop_reason = _cut(parts, max_tokens), "max_tokens"
    name = f"msg_{_digest(f'{task}:{turn}:{model}')}"
    return Message(name, model, tuple(parts), stop_reason, kind is FaultKind.UNKNOWN_EVENT)


def events_of(message: Message, prompt: PromptUsage) -> list[Event]:
    """Return the whole stream of a message, in order."""
    start = {**_envelope(message), "content": [], "stop_reason": None, "usage": usage_dict(prompt, 1)}
    events = [Event("message_start", {"message": start}), Event("ping", {})]
    if message.has_unknown_event:
        events.append(Event("future_event", {"payload": {"is": "unknown"}}))
    for index, part in enumerate(message.parts):
        events += _block_events(index, part, unknown_delta=message.has_unknown_event)
        if index == 0:
            events.append(Event("ping", {}))
    delta = {"stop_reason": message.stop_reason, "stop_sequence": None, **_stop_details(message.stop_reason)}
    usage = {
        "input_tokens": prompt.input_tokens,
        "cache_creation_input_tokens": prompt.cache_write_5m_tokens + prompt.cache_write_1h_tokens,
        "cache_read_input_tokens": prompt.cache_read_tokens,
        "output_tokens": message.output_tokens,
    }
    return [*events, Event("message_delta", {"delta": delta, "usage": usage}), Event("message_stop", {})]


def usage_dict(prompt: PromptUsage, output_tokens: int) -> dict[str, Any]:
    """Return the service's usage object."""
    return {
        "input_tokens": prompt.input_tokens,
        "cache_creation_input_tokens": prompt.cache_write_5m_tokens + prompt.cache_write_1h_tokens,
        "cache_read_input_tokens": prompt.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": prompt.cache_write_1h_tokens,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _parts(answer: Answer, seed: str) -> Iterator[Part]:
    if answer.thinking:
        signature = base64.b64encode(hashlib.sha512(f"{seed}:{answer.thinking}".encode()).digest()).decode()
        block = {"type": "thinking", "thinking": answer.thinking, "signature": signature}
        yield Part(block, answer.thinking)
    for block_as_scripted in answer.blocks:
        yield Part(dict(block_as_scripted))
    if answer.text:
        yield Part({"type": "text", "text": answer.text}, answer.text)
    for n, tool in enumerate(answer.tools):
        yield _tool_part(tool, f"toolu_{_digest(f'{seed}:{n}')}")


def _tool_part(tool: ToolCall, tool_id: str) -> Part:
    arguments = dict(tool.input)
    block = {"type": "tool_use", "id": tool_id, "name": tool.name, "input": arguments}
    return Part(block, json.dumps(arguments, ensure_ascii=False))


def _with_tool_json(parts: list[Part], text: str | None) -> list[Part]:
    """Replace the first tool call's streamed input by `text`, or by its own first half."""
    bent = list(parts)
    for n, part in enumerate(parts):
        if part.block["type"] == "tool_use":
            half = part.streamed[: max(1, len(part.streamed) // 2)]
            bent[n] = replace(part, streamed=half if text is None else text)
            break
    return bent


def _cut(parts: list[Part], max_tokens: int) -> list[Part]:
    """Keep what fits into `max_tokens`; the block that is cut keeps its beginning."""
    kept: list[Part] = []
    left = max_tokens
    for part in parts:
        if part.output_tokens <= left:
            kept.append(part)
            left -= part.output_tokens
            continue
        beginning = part.streamed.encode("utf-8")[: left * 4].decode("utf-8", "ignore")
        if beginning and part.block["type"] == "text":
            kept.append(Part({**part.block, "text": beginning}, beginning))
        elif beginning and part.block["type"] == "tool_use":
            kept.append(Part({**part.block, "input": {}}, beginning))
        break
    return kept


def _block_events(index: int, part: Part, *, unknown_delta: bool) -> Iterator[Event]:
    kind = part.block["type"]
    opening: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    shown = {**part.block, **opening.get(kind, {})}
    whole = 0 if part.streamed else part.output_tokens
    yield Event("content_block_start", {"index": index, "content_block": shown}, whole)
    if unknown_delta:
        yield Event("content_block_delta", {"index": index, "delta": {"type": "future_delta", "x": 1}})
    sent = 0
    for end, piece in _pieces(part.streamed):
        match kind:
            case "text":
                delta = {"type": "text_delta", "text": piece}
            case "thinking":
                delta = {"type": "thinking_delta", "thinking": piece}
            case _:
                if end == len(piece):
                    empty = {"type": "input_json_delta", "partial_json": ""}
                    yield Event("content_block_delta", {"index": index, "delta": empty})
                delta = {"type": "input_json_delta", "partial_json": piece}
        tokens = tokens_of(part.streamed[:end]) - sent
        sent += tokens
        yield Event("content_block_delta", {"index": index, "delta": delta}, tokens)
    if kind == "thinking":
        delta = {"type": "signature_delta", "signature": part.block["signature"]}
        yield Event("content_block_delta", {"index": index, "delta": delta})
    yield Event("content_block_stop", {"index": index})


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each piece ends, and the piece."""
    size = max(_PIECE_CHARS, -(-len(text) // _MAX_PIECES))
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        yield start + len(piece), piece


def _envelope(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": "message",
        "role": "assistant",
        "model": message.model,
        "stop_sequence": None,
    }


def _stop_details(stop_reason: str) -> dict[str, Any]:
    if stop_reason != "refusal":
        return {}
    return {"stop_details": {"type": "refusal", "category": None, "explanation": "The script refuses."}}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
