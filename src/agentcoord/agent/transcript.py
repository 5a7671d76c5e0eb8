"""The conversation of one attempt, on disk: append-only JSON lines, a record a step, each fsynced.

Theory of operation. A record is written before anything acts on it: a turn before its tools run, a
result before the next call. Loading replays the records through the same code that made them, so a
resumed conversation is re-sent byte for byte. A torn or unreadable last line (power loss, `kill -9`
in mid-write) is dropped; anything unreadable before it is corruption and is refused.

A *void* turn is paid for and kept on disk, but not part of the conversation: the service refuses to
be sent it back (nothing in it but a cut thought, or nothing at all), or says not to (a refusal).

A call that may change something is marked as *begun* before it runs: of the calls that a dead process
left without a result, only those have an outcome that nobody knows; the others never ran.

What a long command prints is noted in parts while it runs, so that some of it is known should nobody live
to see its result; of all parts, head and tail are remembered.

A *compaction* ends the conversation and begins the next one in one record, with the summary that
the model gave (and was paid for) in it. What was said before stays in the file, and in `earlier`.

An answer may promise a *fresh copy*: the work that the private copy began with is gone. Until the next turn
the conversation goes on in no other one, whatever lies on the disk.

Records: `opening`, `turn`, `began`, `output`, `results`, `user`, `compaction`. Each may carry the loop's
`patience`, so that counters survive a restart.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentcoord.agent.transcript_records import (
    append_durably,
    sendable_content,
    text_message,
    turn_from_dict,
    turn_to_dict,
)
from agentcoord.domain.usage import NO_USAGE, ZERO_USD, Usage, UsdMicros
from agentcoord.errors import AgentError
from agentcoord.llm.api import Block, Message, PaidTurn, Turn

FORMAT_VERSION = 1
_CHARS_PER_TOKEN = 3
"""On the safe side for code and JSON."""

_PRINTED_CHARS = 24_000
_CUT = "\n[...]\n"


def _promise(fresh_copy: bool) -> dict[str, bool]:
    return {"fresh_copy": True} if fresh_copy else {}


def _head_and_tail(printed: str) -> str:
    """Keep the first third of what is kept, and the newest two."""
    if len(printed) <= _PRINTED_CHARS:
        return printed
    head, tail = _PRINTED_CHARS // 3, _PRINTED_CHARS * 2 // 3
    return printed[:head].removesuffix(_CUT) + _CUT + printed[-tail:]


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
        self.earlier: list[list[Message]] = []
        """The conversations that compactions ended, oldest first."""
        self.wants_fresh_copy = False
        """The model was told that its private copy is a new one, and has not said a word since."""
        self._opening: Message | None = None
        self._begun: set[str] = set()
        self.printed = ""
        """What the call under way had printed so far: head and tail."""
        self._measured_tokens = 0
        self._measured_messages = 0
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
            "turn": turn_to_dict(turn),
            "cost_usd_micros": cost,
            "usage": (turn.usage if usage is None else usage).to_dict(),
        }
        if void:
            record |= {"void": True, "reply": reply}
        await self._append(record, patience)

    async def add_results(
        self,
        blocks: Sequence[Block],
        patience: Mapping[str, Any] | None = None,
        *,
        fresh_copy: bool = False,
    ) -> None:
        """Store `tool_result` blocks; results of one turn may come in pieces and form one message."""
        await self._append({"kind": "results", "blocks": list(blocks), **_promise(fresh_copy)}, patience)

    async def add_user(
        self, text: str, patience: Mapping[str, Any] | None = None, *, fresh_copy: bool = False
    ) -> None:
        """Store a user message of plain text. `text` must not be blank."""
        assert text.strip(), "the service refuses blank text"
        await self._append({"kind": "user", "text": text, **_promise(fresh_copy)}, patience)

    async def add_began(self, tool_use_ids: Sequence[str]) -> None:
        """Note, before they run, that these calls of the pending turn may have an effect from now on."""
        await self._append({"kind": "began", "ids": list(tool_use_ids)})

    async def add_output(self, part: str) -> None:
        """Note what the call that runs has printed since the last part; `part` is bounded and not empty."""
        await self._append({"kind": "output", "text": part})

    async def add_compaction(
        self, first_message: Message, paid: PaidTurn | None, patience: Mapping[str, Any] | None = None
    ) -> None:
        """End the conversation, and begin the next one with `first_message`.

        `paid` is the turn that summarised, if there was one; it counts and is no part of either.
        """
        record: dict[str, Any] = {"kind": "compaction", "message": first_message}
        if paid is not None:
            record |= {
                "turn": turn_to_dict(paid.turn),
                "cost_usd_micros": paid.cost_usd_micros,
                "usage": paid.usage.to_dict(),
            }
        await self._append(record, patience)

    @property
    def opening(self) -> Message:
        """The very first message; there must be one."""
        assert self._opening is not None, "the conversation has not begun"
        return self._opening

    @property
    def replies(self) -> int:
        """How many turns of the model the conversation holds."""
        return sum(message["role"] == "assistant" for message in self.messages)

    def size_tokens(self) -> int:
        """Return about how many tokens the next request sends of the conversation.

        What the server counted for the newest turn, and an estimate for what came after it.
        """
        later = self.messages[self._measured_messages :]
        return self._measured_tokens + -(-len(json.dumps(later, ensure_ascii=False)) // _CHARS_PER_TOKEN)

    def outcome_unknown(self) -> bool:
        """Whether an unanswered call had begun: if no process runs it now, nobody knows what it did."""
        return any(block["id"] in self._begun for block in self.unanswered())

    def has_begun(self, tool_use_id: str) -> bool:
        return tool_use_id in self._begun

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
        await asyncio.to_thread(append_durably, self.path, line)
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
                self._opening = message
            case "turn":
                self._apply_turn(record)
            case "results":
                self._apply_results(record["blocks"])
            case "user":
                self.messages.append(text_message(record["text"]))
                self.pending_turn = None
            case "began":
                self._begun.update(record["ids"])
                self.printed = ""
            case "output":
                self.printed = _head_and_tail(self.printed + record["text"])
            case "compaction":
                self._apply_compaction(record)
            case other:
                raise ValueError(f"record kind {other!r} is not known")
        self.wants_fresh_copy = bool(record.get("fresh_copy", False))
        if "patience" in record:
            self.patience = record["patience"]

    def _apply_turn(self, record: dict[str, Any]) -> None:
        turn = turn_from_dict(record["turn"])
        self._count_turn(record)
        if record.get("void"):
            self.pending_turn = None
            if record["reply"]:
                self.messages.append(text_message(record["reply"]))
            return
        self.messages.append({"role": "assistant", "content": sendable_content(turn)})
        self.pending_turn = turn
        self._begun = set()
        if turn.usage.prompt_tokens:
            self._measured_tokens = turn.usage.prompt_tokens + turn.usage.output_tokens
            self._measured_messages = len(self.messages)

    def _apply_compaction(self, record: dict[str, Any]) -> None:
        message = record["message"]
        if "turn" in record:
            self._count_turn(record)
        self.earlier.append(self.messages)
        self.messages, self.pending_turn, self._begun = [message], None, set()
        self._measured_tokens = self._measured_messages = 0

    def _count_turn(self, record: dict[str, Any]) -> None:
        # Everything is read before anything is changed: a record applies whole or not at all.
        usage = self.usage + Usage.from_dict(record["usage"])
        cost = UsdMicros(self.cost_usd_micros + int(record["cost_usd_micros"]))
        self.turns, self.usage, self.cost_usd_micros = self.turns + 1, usage, cost

    def _apply_results(self, blocks: list[Block]) -> None:
        if self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].extend(blocks)
        else:
            self.messages.append({"role": "user", "content": list(blocks)})
        if not self.unanswered():
            self.pending_turn = None
