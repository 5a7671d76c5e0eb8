"""What can go against a task: why it went back, was put aside, or ended without a result.

Separate from the states, which say where a task is: a task goes back along the same few edges for many
reasons, and each is counted apart, so that nothing goes round for ever unseen. The store keeps a counter
for each and the history of attempts; `retries` decides what follows.
"""

from __future__ import annotations

from enum import StrEnum

from agentcoord.values import dataclass


class Setback(StrEnum):
    """One reason a counter and a line of a task's history stand for."""

    UNPROVEN = "unproven"
    """Its checks stayed red, or nothing in the scope had changed."""
    GAVE_UP = "gave_up"
    """The conversation came to one of its bounds: turns, repetitions, refusals."""
    REFUSED = "refused"
    """The model's server refused a request as wrong."""
    BROKEN = "broken"
    """The private copy, the transcript or a check could not be had."""
    CRASHED = "crashed"
    """The worker failed by a fault of ours."""
    LEASE_EXPIRED = "lease_expired"
    """Its worker let the lease run out while others renewed theirs."""

    OVERLOADED = "overloaded"
    """The model's server asked for fewer calls (429, 529)."""
    UNREACHABLE = "unreachable"
    """The model's server could not be reached, or failed."""
    STORE_AWAY = "store_away"
    """Redis went away under it."""
    ABSENT = "absent"
    """Nobody could renew any lease: the machine slept, or Redis was away for longer than a lease."""
    MACHINE = "machine"
    """A full disk, a repository that is gone: the whole run is paused."""
    RESTARTED = "restarted"
    """The daemon died while it was worked on."""

    STOPPED = "stopped"
    """The daemon, or its worker, was stopped in order."""
    PARKED = "parked"
    """It needs a person: a cap, a conflict, a flagged change, no sandbox."""
    CANCELLED = "cancelled"
    """Cancelled by a person."""
    ASKED = "asked"
    """Brought back by a person's `retry`, or by a rejection."""

    NEXT_MODEL = "next_model"
    """The next attempt began with another model of the ladder."""
    CHECKS_RED = "checks_red"
    """Red checks went back to the worker, within an attempt."""
    TREE_MOVED = "tree_moved"
    """The tree changed at the moment of landing: back to the checks, within an attempt."""


OWN_FAULTS = frozenset(
    {
        Setback.UNPROVEN,
        Setback.GAVE_UP,
        Setback.REFUSED,
        Setback.BROKEN,
        Setback.CRASHED,
        Setback.LEASE_EXPIRED,
    }
)
"""These end an attempt that counts."""
ENVIRONMENT_FAULTS = frozenset(
    {
        Setback.OVERLOADED,
        Setback.UNREACHABLE,
        Setback.STORE_AWAY,
        Setback.ABSENT,
        Setback.MACHINE,
        Setback.RESTARTED,
    }
)
"""These cost no attempt, and are counted on their own."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """One line of a task's history: how it left a worker's hands, or came back by a person's word."""

    at_ms: int
    setback: str
    """A Setback, or one that a newer version wrote."""
    why: str
    to: str
    """The state that it went to."""
    attempt: int
    worker: str
    """Empty when nobody held it."""
    token: int | None
    model: str
    """Empty when it is not known."""
