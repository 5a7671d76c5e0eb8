"""Workers that do everything a daemon's workers ask of the store, and don't give up when it is disturbed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from store_kit import spec

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, TaskSpec
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.domain.worker import Role, worker_of
from agentcoord.errors import LeaseLostError, StoreUnavailableError
from agentcoord.store import Caps, Store

_T = TypeVar("_T")
Disturbance = Callable[["BusyNight"], Coroutine[Any, Any, None]]
MOST_TRIES = 400
PATHS = ("x.py", "y.py", "z.py")
AMOUNT = 10


def night_plan(count: int) -> list[TaskSpec]:
    """Tasks of which each fourth needs the one before, and some write the same file."""
    return [
        spec(f"t{i}", *([f"t{i - 1}"] if i % 4 == 3 else []), writes=[PATHS[i % 3]] if i % 5 == 0 else [])
        for i in range(count)
    ]


@dataclass(slots=True)
class BusyNight:
    """One night's work by several workers, by dice."""

    store: Store
    dice: random.Random
    count: int
    done: list[str] = field(default_factory=list)
    """Tasks whose completion the store has confirmed, in that order."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    over_may_come: asyncio.Event = field(default_factory=asyncio.Event)
    """Set; a disturbance that must be through before the end clears it first."""
    steps: int = 0
    """How many operations were tried."""
    spent: int = 0
    logged: int = 0
    """Events whose number the store has told."""

    async def work_off(self, workers: int, *disturbances: Disturbance) -> None:
        """Load a plan and work it off while `disturbances` run, which end when `over` is set."""
        await self.persist(lambda: self.store.queue.load(night_plan(self.count)))
        async with asyncio.TaskGroup() as group:
            for disturb in disturbances:
                group.create_task(disturb(self))
            chores = group.create_task(self._reap_now_and_then())
            working = [group.create_task(self._work(f"Worker-{i}")) for i in range(workers)]
            await self.over.wait()
            await self.over_may_come.wait()
            for one in (*working, chores):
                one.cancel()
        assert len(set(self.done)) == len(self.done), "a task was done twice"

    def __post_init__(self) -> None:
        self.over_may_come.set()

    async def after(self, count: int) -> None:
        """Wait until so many tasks are done."""
        while len(self.done) < count:  # noqa: ASYNC110 - the workers wait in the same way.
            await asyncio.sleep(0)

    async def persist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Make a call until it is answered, as whoever can wait does; it must bear repetition."""
        for _ in range(MOST_TRIES):
            self.steps += 1
            try:
                return await call()
            except StoreUnavailableError:
                await asyncio.sleep(0)
        raise AssertionError("the store never came back")

    async def _work(self, name: str) -> None:
        me, queue = worker_of(name, Role.BACKEND_ENGINEER), self.store.queue
        while True:
            claim = await self.persist(lambda: queue.claim(me))
            try:
                await self._one_task(claim)
            except LeaseLostError:
                continue

    async def _one_task(self, claim: Claim) -> None:
        store, task = self.store, claim.task.id
        call = f"{task}-{claim.token}"
        reserve = partial(store.ledger.reserve, call, run="r", task=task, day="d", caps=Caps())
        assert await self.persist(lambda: reserve(amount=UsdMicros(2 * AMOUNT))) is None
        await self.persist(lambda: store.ledger.mark_started(call))
        await self.persist(
            lambda: store.ledger.settle(call, actual=UsdMicros(AMOUNT), usage=NO_USAGE, model="m")
        )
        self.spent += AMOUNT
        await self.persist(lambda: store.locks.acquire(self.dice.choice(PATHS), claim, timeout_s=30))
        try:
            match self.dice.randrange(12):
                case 0:
                    await self.persist(lambda: store.queue.requeue(claim, why="", counts_attempt=False))
                case 1:
                    await self.persist(lambda: store.queue.park(claim, why=""))
                    await self.persist(lambda: store.queue.retry(task))
                case 2:
                    await self.persist(lambda: store.queue.heartbeat([claim]))
                    await self._finish(claim)
                case _:
                    await self._finish(claim)
        finally:
            await self.persist(lambda: store.locks.release_all(task))

    async def _finish(self, claim: Claim) -> None:
        queue, running = self.store.queue, TaskState.RUNNING
        await self.persist(lambda: queue.complete(claim, (), current=running))
        self.done.append(claim.task.id)
        event = Event(EventKind.TASK_DONE, 1, task=claim.task.id)
        self.logged = max(self.logged, (await self.persist(lambda: self.store.events.append([event])))[0].seq)
        if len(self.done) == self.count:
            self.over.set()

    async def _reap_now_and_then(self) -> None:
        """The daemon's chore: take back what has run out, retry what stays parked by a lost answer."""
        while True:
            for _ in range(200):
                await asyncio.sleep(0)
            await self.persist(self.store.queue.reap)
            await self.persist(self.store.locks.release_dead)
            for task in await self.persist(self.store.queue.all):
                if task.state is TaskState.PARKED:
                    await self.persist(partial(self.store.queue.retry, task.id))
