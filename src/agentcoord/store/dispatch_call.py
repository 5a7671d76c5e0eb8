"""One call of `dispatch.lua` as data: who asks for what, and the form in which the script is told.

Separate from the dispatcher, which decides when to call and who hears what.
Deliberately absent: reading the answer; only the dispatcher knows who still waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import HELD_STATES, TaskState, advance
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.store.task_records import landed_totals


@dataclass(eq=False, slots=True)
class Waiter:
    """A worker that wants a task."""

    worker: WorkerSpec
    answer: asyncio.Future[Claim]
    hungry: bool = True
    """Whether a task may have become ready for it since it was last looked after."""


@dataclass(eq=False, slots=True)
class Move:
    """A held task that goes from one held state to another."""

    claim: Claim
    current: TaskState
    to: TaskState
    why: str
    answer: asyncio.Future[str]
    """The state it was in; empty when the token is stale."""


@dataclass(eq=False, slots=True)
class Finished:
    """A task that has landed, or (`current` is earlier) had nothing to check or land."""

    claim: Claim
    landed: Sequence[LandedFile]
    current: TaskState
    answer: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Call:
    """What one script call settles."""

    number: int
    moves: tuple[Move, ...]
    finished: tuple[Finished, ...]
    given_back: tuple[tuple[TaskId, FencingToken], ...]
    waiters: tuple[Waiter, ...]

    def arguments(self) -> list[str | int]:
        """Return the call as `dispatch.lua` takes it, from its seventh argument on."""
        args: list[str | int] = [advance(TaskState.LANDING, TaskState.DONE), TaskState.BLOCKED]
        args += [TaskState.QUEUED, advance(TaskState.QUEUED, TaskState.RUNNING)]
        args += [",".join(sorted(HELD_STATES)), len(self.moves)]
        for move in self.moves:
            args += [move.claim.task.id, move.claim.token, move.current, move.to, move.why]
        args.append(len(self.finished))
        for finished in self.finished:
            totals = landed_totals(finished.landed)
            args += [finished.claim.task.id, finished.claim.token, finished.current]
            args += [totals.files_json, totals.lines_added, totals.lines_removed]
        args.append(len(self.given_back))
        for task, token in self.given_back:
            args += [task, token]
        args.append(len(self.waiters))
        for waiter in self.waiters:
            args += [waiter.worker.name, ",".join(sorted(waiter.worker.tags))]
        return args
