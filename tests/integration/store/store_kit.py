"""What the store's tests share: a clock moved by hand, and short ways to say what is meant."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import RedisCluster

from agentcoord.domain.files import FileVersion, LandedFile
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task, TaskSpec
from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros
from agentcoord.domain.worker import Role, WorkerSpec, worker_of
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Caps, Store

_T = TypeVar("_T")
NIGHT_MS = 1_790_000_000_000
LEASE_MS = 60_000


@dataclass(slots=True)
class HandClock:
    """Stands still until a test moves it; sleeping moves it."""

    time_ms: int = NIGHT_MS

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic(self) -> float:
        return self.time_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.time_ms += round(seconds * 1000)
        await asyncio.sleep(0)


ANYBODY = worker_of("Anybody", Role.BACKEND_ENGINEER, ("backend", "docs", "testing"))
TESTER = worker_of("Tester", Role.TESTING_ENGINEER)


def open_store(url: str, project: ProjectId, clock: HandClock) -> AbstractAsyncContextManager[Store]:
    return Store.open(url, project, clock=clock, lease_ms=LEASE_MS)


def spec(
    name: str,
    *needs: str,
    priority: int = 3,
    tags: Sequence[str] = ("backend",),
    writes: Sequence[str] = (),
    title: str = "",
) -> TaskSpec:
    return TaskSpec(
        id=TaskId(name),
        title=title or f"Do {name}",
        description="What and why",
        priority=priority,
        tags=tuple(tags),
        needs=tuple(TaskId(need) for need in needs),
        writes=tuple(writes),
    )


async def load(store: Store, *specs: TaskSpec) -> None:
    await store.queue.load(specs)


async def claim(store: Store, worker: WorkerSpec = ANYBODY) -> Claim:
    """Claim a task that must be there."""
    async with asyncio.timeout(5):
        return await store.queue.claim(worker)


async def spend(store: Store, task: TaskId, micros: int, usage: Usage = NO_USAGE) -> None:
    """Book a call on a task."""
    call, amount = uuid.uuid4().hex, UsdMicros(micros)
    await store.ledger.reserve(call, run="r", task=task, day="d", amount=amount, caps=Caps())
    await store.ledger.settle(call, actual=amount, usage=usage, model="m")


async def land(store: Store, held: Claim, *paths: str) -> None:
    """Walk a running task to done."""
    await store.queue.move(held, TaskState.RUNNING, TaskState.CHECKING)
    await store.queue.move(held, TaskState.CHECKING, TaskState.LANDING)
    await store.queue.complete(held, [landed(path) for path in paths])


async def task_of(store: Store, name: str) -> Task:
    task = await store.queue.get(TaskId(name))
    assert task is not None
    return task


async def states(store: Store) -> dict[str, TaskState]:
    return {task.id: task.state for task in await store.queue.all()}


def landed(path: str) -> LandedFile:
    return LandedFile(path, None, FileVersion("0" * 64, 1, 0o644), lines_added=3, lines_removed=1)


async def evalsha_calls(store: Store) -> int:
    """How many scripts the server has run so far."""
    return await calls_of(store, "evalsha")


async def calls_of(store: Store, command: str) -> int:
    """How often the server has carried out a command so far, those of scripts included."""
    client: object = store.client
    if not isinstance(client, RedisCluster):
        return _calls_of(command, await store.client.info("commandstats"))
    nodes = await client.info("commandstats", target_nodes=RedisCluster.PRIMARIES)
    return sum(_calls_of(command, stats) for stats in nodes.values())


def _calls_of(command: str, stats: dict[str, Any]) -> int:
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def start_claim(store: Store, group: asyncio.TaskGroup, worker: WorkerSpec) -> asyncio.Task[Claim]:
    """Begin a claim for which there is nothing yet, and return when the server has said so."""
    before = await evalsha_calls(store)
    waiting = group.create_task(store.queue.claim(worker))
    async with asyncio.timeout(5):
        while await evalsha_calls(store) == before:
            pass
    return waiting


async def in_the_end(call: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat a call until it is answered: a connection that was cut, or leads to an old master, refuses."""
    async with asyncio.timeout(40):
        while True:
            with suppress(StoreUnavailableError):
                return await call()
            await asyncio.sleep(0)
