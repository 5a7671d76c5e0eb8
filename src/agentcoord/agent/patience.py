"""The loop's counters: how often in a row something went wrong, and what the model may spend.

They are written into the transcript with each record, so that a restart does not grant a fresh
supply. Pure: deciding what to say is the loop's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentcoord.agent.outcomes import GaveUp, GiveUpKind, LoopLimits


class Patience:
    """Counters of one conversation."""

    def __init__(self, limits: LoopLimits, stored: Mapping[str, Any] | None = None) -> None:
        """`stored` is what `to_dict` gave an earlier process; empty or None: a new conversation."""
        stored = stored or {}
        self._limits = limits
        self._in_row: dict[str, int] = dict(stored.get("in_row", {}))
        self._growth: int = stored.get("growth", 0)
        self._last_call: str = stored.get("last_call", "")
        self._repeats: int = stored.get("repeats", 0)
        self._idle_turns: int = stored.get("idle_turns", 0)
        self._changes: str = stored.get("changes", "")
        self._wrote: bool = stored.get("wrote", False)

    def to_dict(self) -> dict[str, Any]:
        """Return the counters as JSON."""
        return {
            "in_row": self._in_row,
            "growth": self._growth,
            "last_call": self._last_call,
            "repeats": self._repeats,
            "idle_turns": self._idle_turns,
            "changes": self._changes,
            "wrote": self._wrote,
        }

    @property
    def max_tokens(self) -> int:
        """The output allowance of the next turn."""
        limits = self._limits
        return min(limits.max_tokens << self._growth, max(limits.max_tokens_grown, limits.max_tokens))

    @property
    def idle_turns(self) -> int:
        return self._idle_turns

    def count(self, kind: GiveUpKind) -> int:
        """Count one more in a row, and return how many there are."""
        self._in_row[kind] = self._in_row.get(kind, 0) + 1
        return self._in_row[kind]

    def spend(self, kind: GiveUpKind, limit: int, why: str) -> GaveUp | None:
        """Count one more in a row; at `limit` return how the attempt ends."""
        return GaveUp(why, kind) if self.count(kind) >= limit else None

    def count_cut(self) -> GaveUp | None:
        """Count a turn that reached its output limit, and allow the next ones twice as much."""
        why = f"the model's turns reach their output limit of {self.max_tokens} tokens"
        if self.max_tokens < self._limits.max_tokens_grown:
            self._growth += 1
        return self.spend(GiveUpKind.CUT_TURN, self._limits.cut_limit, why)

    def is_spent(self, kind: GiveUpKind, limit: int) -> bool:
        """Whether the count in a row has reached `limit`."""
        return self._in_row.get(kind, 0) >= limit

    def forget(self, *kinds: GiveUpKind) -> None:
        """Something went right: these rows begin anew."""
        for kind in kinds:
            self._in_row.pop(kind, None)

    def count_call(self, tool: str, arguments: object) -> int:
        """Return how many times in a row this very call was made, this time included."""
        call = json.dumps([tool, arguments], sort_keys=True)
        if call == self._last_call:
            self._repeats += 1
        else:
            self._last_call, self._repeats = call, 1
        return self._repeats

    def note_change(self) -> None:
        """A file changed for certain, in a turn that is still being answered."""
        self._wrote = True
        self._idle_turns = 0
        self.forget(GiveUpKind.IDLE, GiveUpKind.NO_CHANGE)

    def end_turn_with_change(self) -> bool:
        """The turn's calls are all answered; return whether one of them changed a file."""
        wrote, self._wrote = self._wrote, False
        return wrote

    def note_idle_turn(self) -> bool:
        """A turn ended without a change that we know of. Returns whether it is time to look closer."""
        self._idle_turns += 1
        return self._idle_turns >= self._limits.idle_turn_limit

    def note_changes(self, fingerprint: str) -> bool:
        """Compare what differs now with what differed at the last look; True: nothing new.

        Either way the next look is a full limit away.
        """
        is_idle = fingerprint == self._changes
        self._changes = fingerprint
        self._idle_turns = 0
        if not is_idle:
            self.forget(GiveUpKind.IDLE, GiveUpKind.NO_CHANGE)
        return is_idle

    def note_verdict(self) -> None:
        """The checks said something new: patience with idling and repeating starts over."""
        self._idle_turns = 0
        self._last_call, self._repeats = "", 0
        self.forget(GiveUpKind.IDLE, GiveUpKind.NO_CHANGE)
