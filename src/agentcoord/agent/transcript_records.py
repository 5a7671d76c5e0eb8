"""How a transcript's records are shaped and made durable.

Separate from the transcript, which knows what they mean: this is JSON and one file, and awaits nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agentcoord.domain.usage import Usage
from agentcoord.llm.api import Block, Message, StopReason, Turn

_THINKING = frozenset({"thinking", "redacted_thinking"})


def sendable_content(turn: Turn) -> list[Block]:
    """Return the blocks of a turn that the service accepts back; empty: the turn must be void.

    Left out are blank text blocks, and in a turn cut by its token limit the unsigned thinking at its
    end: both are refused with 400. A turn of nothing but thinking is refused too.
    """
    blocks = [b for b in turn.content if b.get("type") != "text" or str(b.get("text", "")).strip()]
    if turn.stop_reason in {StopReason.MAX_TOKENS, StopReason.CONTEXT_WINDOW}:
        while blocks and blocks[-1].get("type") == "thinking" and not blocks[-1].get("signature"):
            blocks.pop()
    if all(b.get("type") in _THINKING for b in blocks):
        return []
    return blocks


def text_message(text: str) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    return {
        "content": list(turn.content),
        "stop_reason": str(turn.stop_reason),
        "usage": turn.usage.to_dict(),
        "model": turn.model,
        "request_id": turn.request_id,
    }


def turn_from_dict(raw: dict[str, Any]) -> Turn:
    return Turn(
        content=tuple(raw["content"]),
        stop_reason=StopReason(raw["stop_reason"]),
        usage=Usage.from_dict(raw["usage"]),
        model=raw["model"],
        request_id=raw["request_id"],
    )


def append_durably(path: Path, line: bytes) -> None:
    """Write one whole line and fsync it; a new file's folder is synced too."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
