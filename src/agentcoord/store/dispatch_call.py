"""One call of `dispatch.lua` as data: who asks for what, and the form in which the script is told.

Separate from the dispatcher, which decides when to call and who hears what.
Deliberately absent: reading the answer; only the dispatcher knows who still waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import HELD_STATES, TaskState, advance
from agentcoord.domain.task import Claim, TaskSpec
from agentcoord.domain.worker import WorkerSpec
from agentcoord.store.place_in_line import HEADS_COMPARED, PASSED_OVER_MS
from agentcoord.store.scripts import ScriptName
from agentcoord.store.task_records import landed_fields
from agentcoord.values import dataclass

_STATE_LINES = "\n".join(
    (
        advance(TaskState.LANDING, TaskState.DONE),
        TaskState.BLOCKED,
        TaskState.QUEUED,
        advance(TaskState.QUEUED, TaskState.RUNNING),
        ",".join(sorted(HELD_STATES)),
    )
)
"""The states that the script is handed in every call."""
_PREFERRING = f"{HEADS_COMPARED}\n{PASSED_OVER_MS}"


@dataclass(eq=False, slots=True)
class Waiter:
    """A worker that wants a task."""

    worker: WorkerSpec
    answer: asyncio.Future[Claim]
    hungry: bool = True
    """Whether a task may have become ready for it since it was last looked after."""
    asked: bool = False
    """Whether it is in a call that is not settled yet; it must not be in a second one."""
    behind_own_finish: bool = False
    """Whether the task that it finished is still to be sent; it must not be handed the next before that."""


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
    answer: asyncio.Future[None] | None
    """None: nobody awaits it by itself, and `following` hears of a refusal."""
    following: Waiter | None = None
    """The same worker's wish for its next task, answered only after this is booked."""
    on_finished: Callable[[], None] | None = None
    """Called when it is booked, before `following` is answered."""


@dataclass(eq=False, slots=True)
class Appended:
    """Events to be numbered and stored, encoded together."""

    count: int
    encoded: bytes
    answer: asyncio.Future[tuple[str, int]]
    """The log's epoch, and the number of the first of them."""


def head_of(deadline_ms: int, dispatcher: str, number: int, *, repeated: bool, version: str) -> str:
    """Return what `dispatch.lua` takes as its second argument."""
    return (
        f"{deadline_ms}\n{_PREFERRING}\n{dispatcher}\n{number}\n{int(repeated)}\n{_STATE_LINES}\n{version}\n"
    )


class OneTask(Struct, frozen=True, eq=False):
    """A task that needs nothing and declares no writes, as the scripts take it."""

    spec: TaskSpec
    bonus_ms: int
    route: str
    body: bytes


class Ahead(Struct, eq=False):
    """A call of another script after which tasks may be ready: the next hand-out follows at its heels."""

    script: ScriptName
    arguments: Callable[[], Sequence[str | int | bytes]]
    answer: asyncio.Future[Any]
    one: OneTask | None = None
    """What it loads, if that may be handed over in the same breath."""


class Call(Struct, frozen=True, eq=False):
    """What one script call settles."""

    number: int
    moves: tuple[Move, ...]
    finished: tuple[Finished, ...]
    given_back: tuple[tuple[TaskId, FencingToken], ...]
    waiters: tuple[Waiter, ...]
    appended: tuple[Appended, ...]

    def arguments(self, routes: RoutesCovered) -> list[str | int | bytes]:
        """Return the call as `dispatch.lua` takes it, from its third argument on, without the log's."""
        args: list[str | int | bytes] = [len(self.moves)]
        for move in self.moves:
            args += (move.claim.task.spec.id, move.claim.token, move.current, move.to, move.why)
        args += _finished_arguments(self.finished)
        args.append("".join(f"{token}:{task}\n" for task, token in self.given_back))
        numbers: dict[frozenset[str], int] = {}
        lines = []
        for which, waiter in enumerate(self.waiters):
            worker = waiter.worker
            number = numbers.setdefault(worker.tags, len(numbers) + 1)
            lines.append(f"{which} {number} {worker.name}\n")
        args.append(len(numbers))
        for tags in numbers:
            args += routes.covered_by(tags)
        args += ("".join(lines), len(self.appended))
        for appended in self.appended:
            args += (appended.count, appended.encoded)
        return args


def _finished_arguments(finished: Sequence[Finished]) -> list[str | int | bytes]:
    """Return a line for each in one text, and then the words of their landings."""
    lines: list[str] = []
    words: list[str | int] = []
    for each in finished:
        fields = landed_fields(each.landed) if each.landed else ()
        lines.append(each.current + f" {len(fields)} {each.claim.token}:{each.claim.task.spec.id}\n")
        words += fields
    return ["".join(lines), *words]


class RoutesCovered:
    """Which routes each set of tags covers, as far as the script has told, so that it need not look.

    The script compares the version: when a route came up since, it looks for itself and tells them all.
    """

    def __init__(self) -> None:
        self.version = ""
        self._routes: list[str] = []
        self._covered: dict[frozenset[str], tuple[str, str]] = {}

    def learn(self, version: bytes, routes: Sequence[bytes]) -> None:
        """Keep what a call told; `routes` is empty when the version was the right one."""
        told = version.decode()
        if told == self.version:
            return
        self.version = told
        self._routes = [route.decode() for route in routes]
        self._covered.clear()

    def covered_by(self, tags: frozenset[str]) -> tuple[str, str]:
        """Tags as the script takes them, and the routes that a worker with them may serve.

        A line feed stands before each route, since one is empty.
        """
        covered = self._covered.get(tags)
        if covered is None:
            ours = (route for route in self._routes if tags.issuperset(route.split(",") if route else ()))
            covered = ",".join(sorted(tags)), "".join(f"\n{route}" for route in ours)
            self._covered[tags] = covered
        return covered
