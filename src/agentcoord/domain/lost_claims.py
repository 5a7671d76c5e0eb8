"""How a claim ended that somebody still tries to use, and how that is said.

Pure: the store reads the facts at the moment of the refusal. Separate because a worker whose lease ran
out, one that was overtaken, and one whose task a person cancelled are refused alike, and people who
read a log must be able to tell them apart.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.values import dataclass


class ClaimEnd(StrEnum):
    """How it ended."""

    TAKEN_OVER = "taken_over"
    """A newer claim holds the task, or held it."""
    EXPIRED = "expired"
    """Its lease ran out."""
    DONE = "done"
    CANCELLED = "cancelled"
    PARKED = "parked"
    FAILED = "failed"
    HANDED_BACK = "handed_back"
    """The task was put back in line, by a worker, a restart or a person."""
    UNKNOWN_TASK = "unknown_task"
    NOT_ENDED = "not_ended"
    """The claim holds: only what was asked does not fit the task's state."""


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """What the store knows of a task at the moment of the refusal."""

    state: TaskState | None
    """None: there is no such task."""
    newest_token: FencingToken | None
    lease_deadline_ms: int | None
    """Of the claim in question; None when it is leased no more."""
    last_setback: str
    """The newest of the task, or nothing."""
    now_ms: int


def end_of_claim(token: FencingToken, facts: ClaimFacts) -> ClaimEnd:
    """Say how the claim with `token` ended."""
    if facts.state is None:
        return ClaimEnd.UNKNOWN_TASK
    if facts.newest_token != token:
        return ClaimEnd.TAKEN_OVER
    if facts.lease_deadline_ms is not None:
        return ClaimEnd.NOT_ENDED if facts.lease_deadline_ms > facts.now_ms else ClaimEnd.EXPIRED
    if facts.state in HELD_STATES:
        return ClaimEnd.EXPIRED
    ended = {
        TaskState.DONE: ClaimEnd.DONE,
        TaskState.CANCELLED: ClaimEnd.CANCELLED,
        TaskState.PARKED: ClaimEnd.PARKED,
        TaskState.FAILED: ClaimEnd.FAILED,
    }.get(facts.state, ClaimEnd.HANDED_BACK)
    if ended is not ClaimEnd.DONE and facts.last_setback in (Setback.LEASE_EXPIRED, Setback.ABSENT):
        return ClaimEnd.EXPIRED
    return ended


def refusal_words(task: TaskId, token: FencingToken, end: ClaimEnd, facts: ClaimFacts) -> str:
    """Say in a sentence why the claim is refused."""
    claim = f"the claim on {task} (token {token})"
    match end:
        case ClaimEnd.TAKEN_OVER:
            return f"{claim} was taken over by a newer one (token {facts.newest_token})"
        case ClaimEnd.EXPIRED:
            return f"{claim} has expired: its lease ran out"
        case ClaimEnd.DONE:
            return f"{claim} has ended: the task is done"
        case ClaimEnd.CANCELLED:
            return f"{claim} has ended: the task was cancelled"
        case ClaimEnd.PARKED:
            return f"{claim} has ended: the task is parked"
        case ClaimEnd.FAILED:
            return f"{claim} has ended: the task failed"
        case ClaimEnd.HANDED_BACK:
            return f"{claim} has ended: the task was put back in line"
        case ClaimEnd.UNKNOWN_TASK:
            return f"{claim} is of a task that is not there"
        case ClaimEnd.NOT_ENDED:
            return f"{claim} holds, but the task is {facts.state}"
        case _:
            assert_never(end)
