"""Setbacks as Redis keeps them: counters in a task's hash, a list of lines for its history, and the call
of `set_back.lua` as data.

Separate from the queue, which decides when. A task that never had a setback has none of these fields
and no list. Deliberately absent: which setback leads where; that is `domain.retries`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.setbacks import AttemptEnd, Setback
from agentcoord.domain.states import ENDED_STATES, HELD_STATES, LEGAL_MOVES, TaskState
from agentcoord.values import dataclass

HISTORY_LINES = 50
"""The most lines kept of a task's history; older ones go first."""
SETBACKS_FIELD = "back"
"""How many setbacks a task ever had; only there when it had one."""
SETBACK_PREFIX = "n:"
"""Before a kind of setback: how often it came since a person last brought the task back."""
EARLIER_SETBACK_PREFIX = "o:"
"""The same, of the time before."""
_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task leaves a worker's hands."""

    setback: Setback
    why: str
    model: str = ""
    """With which it was tried; empty when that is not known."""
    also: Setback | None = None
    """A further setback to count."""


@dataclass(frozen=True, slots=True)
class SetBack:
    """One task that is taken from whoever holds it."""

    task: TaskId
    token: FencingToken | None
    """None: whoever holds it, if anybody."""
    to: TaskState
    reason: Reason
    counts_attempt: bool = True
    due_ms: int = 0
    only_if_lapsed: bool = False
    """Leave it if its lease lasts by now."""

    def arguments(self) -> list[str | int]:
        """Return it as `set_back.lua` takes it."""
        states = HELD_STATES if self.token is not None else frozenset(TaskState)
        allowed = ",".join(sorted(state for state in states if self.to in LEGAL_MOVES[state]))
        reason = self.reason
        return [
            self.task,
            "" if self.token is None else self.token,
            allowed,
            self.to,
            reason.setback,
            reason.why,
            reason.model,
            int(self.counts_attempt),
            self.due_ms,
            int(self.only_if_lapsed),
            reason.also or "",
        ]


def set_back_args(orders: Iterable[SetBack]) -> list[str | int]:
    """Return the arguments of one call of `set_back.lua`, after those of `spreading.lua`."""
    args: list[str | int] = [",".join(sorted(ENDED_STATES)), HISTORY_LINES]
    for order in orders:
        args += order.arguments()
    return args


def setback_args(setback: Setback) -> list[str | int]:
    """Return the fields by which one more setback within an attempt is counted, as `book.lua` takes them."""
    return [SETBACKS_FIELD, 1, f"{SETBACK_PREFIX}{setback}", 1]


def setbacks_of(fields: Mapping[str, str], prefix: str) -> Mapping[str, int]:
    """Return the counters whose names in a task's hash begin with `prefix`."""
    if SETBACKS_FIELD not in fields:
        return _NONE
    cut = len(prefix)
    return {name[cut:]: int(count) for name, count in fields.items() if name.startswith(prefix)}


def decode_attempt_end(line: str) -> AttemptEnd:
    """Read a line of a task's history as `note_setback` of `prelude.lua` wrote it."""
    at_ms, setback, why, to, attempt, worker, token, model = json.loads(line)
    return AttemptEnd(
        at_ms=int(at_ms),
        setback=setback,
        why=why,
        to=to,
        attempt=int(attempt),
        worker=worker,
        token=int(token) if token else None,
        model=model,
    )
