"""The conversation of one attempt, on disk: append-only JSON lines, a record a step, each fsynced.

Theory of operation. A record is written before anything acts on it: a turn before its tools run, a
result before the next call. Loading replays the records through the same code that made them, so a
resumed conversation is re-sent byte for byte. A torn or unreadable last line (power loss, `kill -9`
in mid-write) is dropped; anything unreadable before it is corruption and is refused.

A *void* turn is paid for and kept on disk, but not part of the conversation: the service refuses to
be sent it back (nothing in it but a cut thought, or nothing at all), or says not to (a refusal).

Records: `opening`, `turn`, `results`, `user`, and `stop` (the daemon ended in order: of the calls
without a result none has begun). Each may carry the loop's `patience`, so that counters
survive a restart.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcoord.domain.usage import NO_USAGE, ZERO_USD, Usage, UsdMicros
from agentcoord.errors import AgentError
from agentcoord.llm.api import Block, Message, StopReason, Turn

FORMAT_VERSION = 1

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


class Transcript:
    """One conversation in memory and on disk; the file is made by the first record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.system: list[Block] = []
        """The system blocks of the opening."""
        self.messages: list[Message] = []
        """What the next request sends."""
        self.prompt_hash = ""
        self.turns = 0
        """Paid turns, void ones included."""
        self.usage: Usage = NO_USAGE
        self.cost_usd_micros: UsdMicros = ZERO_USD
        self.pending_turn: Turn | None = None
        """The last turn, as long as no `results` or `user` record has fully answered it."""
        self.stopped_in_order = False
        """The last record is a `stop`: no unanswered call has begun, so all may still run."""
        self.patience: Mapping[str, Any] = {}
        """The loop's counters as last written."""

    @classmethod
    def open(cls, path: Path) -> Transcript:
        """Load what is there; a missing file is an empty transcript. Blocking: one read.

        A torn last line is cut off the file, so that later records do not run into it. Raises
        AgentError when an earlier record cannot be read.
        """
        transcript = cls(path)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return transcript
        lines = raw.split(b"\n")
        torn = lines.pop()
        good_bytes = len(raw) - len(torn)
        for number, line in enumerate(lines, start=1):
            try:
                transcript._apply(json.loads(line))
            except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                if number < len(lines):
                    raise AgentError(
                        f"the transcript {path} cannot be read at line {number}: {error}",
                        mend="retry the task: a new attempt begins a new transcript",
                    ) from error
                good_bytes -= len(line) + 1
        if good_bytes < len(raw):
            os.truncate(path, good_bytes)
        return transcript

    async def add_opening(self, system: Sequence[Block], first_message: Message, prompt_hash: str) -> None:
        """Begin the conversation; only an empty transcript can be opened."""
        assert not self.messages, "a conversation has one opening"
        record = {
            "kind": "opening",
            "version": FORMAT_VERSION,
            "prompt_hash": prompt_hash,
            "system": list(system),
            "message": first_message,
        }
        await self._append(record)

    async def add_turn(
        self,
        turn: Turn,
        cost: UsdMicros,
        *,
        usage: Usage | None = None,
        void: bool = False,
        reply: str = "",
        patience: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a paid turn, before its tools run.

        `usage` is that of all tries, by default the turn's own. `void` keeps the turn out of the
        conversation; `reply` is then what the user says instead (empty: nothing, the same is asked
        again).
        """
        assert void or sendable_content(turn), "a turn that cannot be sent back is void"
        record: dict[str, Any] = {
            "kind": "turn",
            "turn": _turn_to_dict(turn),
            "cost_usd_micros": cost,
            "usage": (turn.usage if usage is None else usage).to_dict(),
        }
        if void:
            record |= {"void": True, "reply": reply}
        await self._append(record, patience)

    async def add_results(self, blocks: Sequence[Block], patience: Mapping[str, Any] | None = None) -> None:
        """Store `tool_result` blocks; results of one turn may come in pieces and form one message."""
        await self._append({"kind": "results", "blocks": list(blocks)}, patience)

    async def add_user(self, text: str, patience: Mapping[str, Any] | None = None) -> None:
        """Store a user message of plain text. `text` must not be blank."""
        assert text.strip(), "the service refuses blank text"
        await self._append({"kind": "user", "text": text}, patience)

    async def add_stop(self) -> None:
        """Note that the calls without a result have not begun: they may run when this is reopened."""
        await self._append({"kind": "stop"})

    def unanswered(self) -> list[Block]:
        """Return the `tool_use` blocks of the pending turn that have no result yet, in order."""
        if self.pending_turn is None:
            return []
        answered: set[str] = set()
        last = self.messages[-1]
        if last["role"] == "user":
            answered = {b["tool_use_id"] for b in last["content"] if b.get("type") == "tool_result"}
        return [
            b
            for b in self.pending_turn.content
            if b.get("type") == "tool_use" and b.get("id") not in answered
        ]

    async def _append(self, record: dict[str, Any], patience: Mapping[str, Any] | None = None) -> None:
        """Make a record durable, then part of the conversation.

        The write goes on in its thread when the caller is cancelled; the transcript in memory is then
        behind the file and must not be used again, only reopened.
        """
        if patience is not None:
            record["patience"] = dict(patience)
        line = json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"
        await asyncio.to_thread(_append_durably, self.path, line)
        # What is kept is what a reader of the file would get: no object is shared with the caller.
        self._apply(json.loads(line))

    def _apply(self, record: dict[str, Any]) -> None:
        """Fold one record into the state; the only place that knows what records mean."""
        match record["kind"]:
            case "opening":
                if record["version"] != FORMAT_VERSION:
                    raise ValueError(f"format version {record['version']} is not known")
                system, prompt_hash, message = record["system"], record["prompt_hash"], record["message"]
                self.system, self.prompt_hash, self.messages = system, prompt_hash, [message]
            case "turn":
                self._apply_turn(record)
            case "results":
                self._apply_results(record["blocks"])
            case "user":
                self.messages.append(_text_message(record["text"]))
                self.pending_turn = None
            case "stop":
                pass
            case other:
                raise ValueError(f"record kind {other!r} is not known")
        self.stopped_in_order = record["kind"] == "stop"
        if "patience" in record:
            self.patience = record["patience"]

    def _apply_turn(self, record: dict[str, Any]) -> None:
        # Everything is read before anything is changed: a record applies whole or not at all.
        turn = _turn_from_dict(record["turn"])
        usage = self.usage + Usage.from_dict(record["usage"])
        cost = UsdMicros(self.cost_usd_micros + int(record["cost_usd_micros"]))
        self.turns, self.usage, self.cost_usd_micros = self.turns + 1, usage, cost
        if record.get("void"):
            self.pending_turn = None
            if record["reply"]:
                self.messages.append(_text_message(record["reply"]))
            return
        self.messages.append({"role": "assistant", "content": sendable_content(turn)})
        self.pending_turn = turn

    def _apply_results(self, blocks: list[Block]) -> None:
        if self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].extend(blocks)
        else:
            self.messages.append({"role": "user", "content": list(blocks)})
        if not self.unanswered():
            self.pending_turn = None


def _text_message(text: str) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _turn_to_dict(turn: Turn) -> dict[str, Any]:
    return {
        "content": list(turn.content),
        "stop_reason": str(turn.stop_reason),
        "usage": turn.usage.to_dict(),
        "model": turn.model,
        "request_id": turn.request_id,
    }


def _turn_from_dict(raw: dict[str, Any]) -> Turn:
    return Turn(
        content=tuple(raw["content"]),
        stop_reason=StopReason(raw["stop_reason"]),
        usage=Usage.from_dict(raw["usage"]),
        model=raw["model"],
        request_id=raw["request_id"],
    )


def _append_durably(path: Path, line: bytes) -> None:
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
