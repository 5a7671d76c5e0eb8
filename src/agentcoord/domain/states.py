"""The life of a task: states, the table of legal moves, and one `advance()`.

Theory of operation. A task is in exactly one state. The store compares and sets the
states that it is handed; it spells none itself. Every move that happens goes through
`advance()` first, so that this table is the only place that knows the shape of the machine.
The drawing in `docs/architecture.md` is generated from it.
"""

from __future__ import annotations

from enum import StrEnum

from agentcoord.errors import IllegalMoveError


class TaskState(StrEnum):
    """Where a task is in its life."""

    BLOCKED = "blocked"
    """Some of its `needs` are not done."""
    QUEUED = "queued"
    """Any worker with its tags may claim it."""
    RUNNING = "running"
    """A worker converses with the model."""
    CHECKING = "checking"
    """The daemon runs the checks on the tree as it would be."""
    LANDING = "landing"
    """Files are being swapped into the user's tree."""
    DONE = "done"
    """Landed, its checks green."""
    PARKED = "parked"
    """Waits for a person: a conflict, a cap, or something that was refused."""
    FAILED = "failed"
    """Ended without a result; the cause is stored."""
    CANCELLED = "cancelled"
    """Ended at a person's word, or skipped by its own rule because of a need."""


class ReviewState(StrEnum):
    """What the person said about a done task."""

    UNREVIEWED = "unreviewed"
    ACCEPTED = "accepted"
    UNDONE = "undone"


_S = TaskState
LEGAL_MOVES: dict[TaskState, frozenset[TaskState]] = {
    _S.BLOCKED: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.BLOCKED, _S.FAILED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.CHECKING, _S.QUEUED, _S.PARKED, _S.FAILED, _S.CANCELLED}),
    _S.CHECKING: frozenset({_S.RUNNING, _S.LANDING, _S.QUEUED, _S.PARKED, _S.FAILED, _S.CANCELLED}),
    _S.LANDING: frozenset({_S.DONE, _S.CHECKING, _S.QUEUED, _S.PARKED, _S.FAILED, _S.CANCELLED}),
    _S.PARKED: frozenset({_S.QUEUED, _S.FAILED, _S.CANCELLED}),
    _S.DONE: frozenset({_S.QUEUED, _S.BLOCKED}),
    _S.FAILED: frozenset({_S.QUEUED, _S.BLOCKED}),
    _S.CANCELLED: frozenset({_S.QUEUED, _S.BLOCKED}),
}
"""Where a task may go from each state. FAILED and CANCELLED leave only by a person's `retry`, DONE only by a
person's `reject`."""

HELD_STATES = frozenset({_S.RUNNING, _S.CHECKING, _S.LANDING})
"""States in which a worker holds the task under a lease."""
ENDED_STATES = frozenset({_S.DONE, _S.FAILED, _S.CANCELLED})
"""States that need nobody any more."""
SETTLED_STATES = ENDED_STATES | {_S.PARKED}
"""States in which the daemon has nothing left to do by itself."""


def advance(current: TaskState, to: TaskState) -> TaskState:
    """Return `to` if a task in `current` may move there.

    Raises IllegalMoveError otherwise.
    """
    if to not in LEGAL_MOVES[current]:
        raise IllegalMoveError(f"a {current} task cannot become {to}")
    return to
