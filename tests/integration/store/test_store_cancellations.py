"""Every operation of the store, cancelled at each of its awaits, leaves nothing behind."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
from cancelling import Moment, Outcome, cancel_at
from store_kit import ANYBODY, NIGHT_MS, HandClock, claim, landed, load, open_store, spec
from store_observer import assert_every_task_is_in_its_place, observer
from store_watch import Watch

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.files import FileLines
from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.domain.worker import Role, worker_of
from agentcoord.store import (
    BudgetLedger,
    Caps,
    EventLog,
    FileLocks,
    LockOutcome,
    QuestionBook,
    Store,
    TaskQueue,
)
from agentcoord.store.client import CONNECTIONS

_S = TaskState
FREE = CONNECTIONS - 1
"""Connections for calls of all kinds; the dispatcher keeps one."""
WRITER = worker_of("Writer", Role.ARCHITECT, ("docs",))


@dataclass
class Scene:
    """Two held tasks, one of which has a lock and a reservation, one waiting, one parked, one done."""

    store: Store
    watch: Watch
    clock: HandClock
    held: Claim
    other: Claim

    @property
    def task(self) -> TaskId:
        return self.held.task.id


Operation = Callable[[Scene], Coroutine[Any, Any, object]]
EVENTS = [Event(EventKind.TASK_TURN, NIGHT_MS)]


async def _reserve(s: Scene) -> object:
    return await s.store.ledger.reserve(
        "new", run="r", task=s.task, day="d", amount=UsdMicros(5), caps=Caps()
    )


async def _finish_and_claim(s: Scene) -> Claim:
    return await s.store.queue.complete_and_claim(s.held, (), ANYBODY, current=_S.RUNNING)


OPERATIONS: dict[str, Operation] = {
    "Store.ping": lambda s: s.store.ping(),
    "Store.get_setting": lambda s: s.store.get_setting("run"),
    "Store.set_setting": lambda s: s.store.set_setting("run", "r"),
    "Store.cleanup": lambda s: s.store.cleanup(everything=False),
    "Store.cleanup everything": lambda s: s.store.cleanup(everything=True),
    "Store.raise_fence": lambda s: s.store.raise_fence(FencingToken(s.other.token + 7)),
    "TaskQueue.load": lambda s: s.store.queue.load([spec("new"), spec("above", "new")]),
    "TaskQueue.claim": lambda s: s.store.queue.claim(ANYBODY),
    "TaskQueue.heartbeat": lambda s: s.store.queue.heartbeat([s.held]),
    "TaskQueue.move": lambda s: s.store.queue.move(s.held, _S.RUNNING, _S.CHECKING),
    "TaskQueue.renew": lambda s: s.store.queue.renew(s.held),
    "TaskQueue.count_turn": lambda s: s.store.queue.count_turn(s.held),
    "TaskQueue.verify": lambda s: s.store.queue.verify(s.held),
    "TaskQueue.complete": lambda s: s.store.queue.complete(s.held, [landed("x")], current=_S.RUNNING),
    "TaskQueue.complete_and_claim": _finish_and_claim,
    "TaskQueue.requeue": lambda s: s.store.queue.requeue(s.held, why="", counts_attempt=False),
    "TaskQueue.park": lambda s: s.store.queue.park(s.held, why=""),
    "TaskQueue.fail": lambda s: s.store.queue.fail(s.held, why=""),
    "TaskQueue.cancel": lambda s: s.store.queue.cancel(s.task, why=""),
    "TaskQueue.count": lambda s: s.store.queue.count(s.held, Setback.OVERLOADED),
    "TaskQueue.history": lambda s: s.store.queue.history(s.task),
    "TaskQueue.histories": lambda s: s.store.queue.histories([s.task, s.other.task.id]),
    "TaskQueue.end_of": lambda s: s.store.queue.end_of(s.held),
    "TaskQueue.retry": lambda s: s.store.queue.retry(TaskId("parked")),
    "TaskQueue.reject": lambda s: s.store.queue.reject(TaskId("done"), why=""),
    "TaskQueue.set_review": lambda s: s.store.queue.set_review(TaskId("done"), ReviewState.ACCEPTED),
    "TaskQueue.set_landed": lambda s: s.store.queue.set_landed(TaskId("done"), [FileLines("x.py", 1, 0)]),
    "TaskQueue.reap": lambda s: s.store.queue.reap(),
    "TaskQueue.release_all_leases": lambda s: s.store.queue.release_all_leases(why="restart"),
    "TaskQueue.next_due_ms": lambda s: s.store.queue.next_due_ms(),
    "TaskQueue.get": lambda s: s.store.queue.get(s.task),
    "TaskQueue.all": lambda s: s.store.queue.all(),
    "TaskQueue.counts": lambda s: s.store.queue.counts(),
    "TaskQueue.set_paused": lambda s: s.store.queue.set_paused(False),
    "FileLocks.acquire": lambda s: s.store.locks.acquire("free.py", s.held, timeout_s=5),
    "FileLocks.acquire held": lambda s: s.store.locks.acquire("x.py", s.other, timeout_s=5),
    "FileLocks.acquire timed out": lambda s: s.store.locks.acquire("x.py", s.other, timeout_s=0),
    "FileLocks.acquire_all": lambda s: s.store.locks.acquire_all(("also.py", "free.py"), s.held, timeout_s=5),
    "FileLocks.acquire_all held": lambda s: s.store.locks.acquire_all(
        ("free.py", "x.py"), s.other, timeout_s=5
    ),
    "FileLocks.acquire_all timed out": lambda s: s.store.locks.acquire_all(
        ("free.py", "x.py"), s.other, timeout_s=0
    ),
    "FileLocks.release_all": lambda s: s.store.locks.release_all(s.task),
    "FileLocks.release_dead": lambda s: s.store.locks.release_dead(),
    "FileLocks.holders": lambda s: s.store.locks.holders(),
    "BudgetLedger.reserve": _reserve,
    "BudgetLedger.settle": lambda s: s.store.ledger.settle(
        "r", actual=UsdMicros(1), usage=NO_USAGE, model="m"
    ),
    "BudgetLedger.mark_started": lambda s: s.store.ledger.mark_started("r"),
    "BudgetLedger.release": lambda s: s.store.ledger.release("r"),
    "BudgetLedger.open_reservations": lambda s: s.store.ledger.open_reservations(),
    "BudgetLedger.reconcile": lambda s: s.store.ledger.reconcile([]),
    "BudgetLedger.end": lambda s: s.store.ledger.end(["r", "never"]),
    "BudgetLedger.task_spent": lambda s: s.store.ledger.task_spent(TaskId("a")),
    "BudgetLedger.by_task": lambda s: s.store.ledger.by_task("r"),
    "BudgetLedger.spenders": lambda s: s.store.ledger.spenders("r", [s.task]),
    "BudgetLedger.totals": lambda s: s.store.ledger.totals(run="r", day="d"),
    "EventLog.append": lambda s: s.store.events.append(EVENTS),
    "EventLog.read": lambda s: s.store.events.read(after=0),
    "EventLog.last_seq": lambda s: s.store.events.last_seq(),
    "QuestionBook.ask": lambda s: s.store.questions.ask(s.task, "Which?", "a", NIGHT_MS),
    "QuestionBook.answer": lambda s: s.store.questions.answer(s.task, "b"),
    "QuestionBook.answers": lambda s: s.store.questions.answers(s.task, told=1),
    "QuestionBook.open": lambda s: s.store.questions.open(),
}
MEANWHILE: dict[str, Callable[[Scene], Awaitable[object]]] = {
    "TaskQueue.claim": lambda s: s.store.queue.load([spec("late")]),
    "TaskQueue.complete_and_claim": lambda s: s.store.queue.load([spec("late")]),
    "FileLocks.acquire held": lambda s: s.store.locks.release_all(s.task),
    "FileLocks.acquire_all held": lambda s: s.store.locks.release_all(s.task),
}
"""What lets an operation go on that waits for somebody else."""
ON_NEW_FREE = ("TaskQueue.load", "TaskQueue.all", "TaskQueue.claim", "FileLocks.acquire", "Store.ping")


def test_no_operation_is_left_out() -> None:
    every = {
        f"{room.__name__}.{name}"
        for room in (Store, TaskQueue, FileLocks, BudgetLedger, EventLog, QuestionBook)
        for name, method in inspect.getmembers(room, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert {name.partition(" ")[0] for name in OPERATIONS} == every, "add it to OPERATIONS"


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_cancelled_at_any_await_leaves_nothing_behind(
    valkey_url: str, project_id: ProjectId, name: str, moment: Moment
) -> None:
    await _cancel_everywhere(valkey_url, project_id, name, moment, on_new_connections=False)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("name", ON_NEW_FREE)
async def test_an_operation_cancelled_while_it_connects_leaves_nothing_behind(
    valkey_url: str, project_id: ProjectId, name: str, moment: Moment
) -> None:
    await _cancel_everywhere(valkey_url, project_id, name, moment, on_new_connections=True)


async def _cancel_everywhere(
    url: str, project: ProjectId, name: str, moment: Moment, *, on_new_connections: bool
) -> None:
    clock = HandClock()
    with observer(url) as client:
        async with open_store(url, project, clock) as store:
            k, outcome = 0, Outcome(was_cancelled=True)
            while outcome.was_cancelled:
                k += 1
                scene = await _set(store, Watch(client, store.keys.prefix), clock)
                if on_new_connections:
                    await store.client.connection_pool.disconnect(inuse_connections=False)
                meanwhile = partial(MEANWHILE[name], scene) if name in MEANWHILE else None
                outcome = await cancel_at(OPERATIONS[name](scene), k, moment, meanwhile=meanwhile)
                await _nothing_is_left(scene, outcome)
                await store.cleanup(everything=True)
            assert k > 1, "it never waited"
            await _no_connection_is_lost(store)


async def _set(store: Store, watch: Watch, clock: HandClock) -> Scene:
    await load(store, *(spec(name, priority=5) for name in ("done", "parked", "held", "other")))
    await load(store, spec("above", "held"))
    done, parked, held, other = [await claim(store) for _ in range(4)]
    await store.queue.complete(done, (), current=_S.RUNNING)
    await store.queue.park(parked, why="")
    assert (await store.locks.acquire("x.py", held, timeout_s=5)).outcome is LockOutcome.TAKEN
    await store.ledger.reserve("r", run="r", task=held.task.id, day="d", amount=UsdMicros(5), caps=Caps())
    await store.questions.ask(held.task.id, "Which?", "a", NIGHT_MS)
    watch.look()
    return Scene(store, watch, clock, held, other)


async def _nothing_is_left(scene: Scene, outcome: Outcome) -> None:
    """No task with nobody, nobody in a line, nothing half done; and everything goes on."""
    store = scene.store
    known = {scene.held.token, scene.other.token}
    if isinstance(outcome.result, Claim):
        known.add(outcome.result.token)
    scene.clock.time_ms += 1
    await load(store, spec("next", priority=5, tags=["docs"]))
    following = await claim(store, WRITER)
    assert following.task.id == "next"
    known.add(following.token)
    if await store.queue.get(scene.task) is None:  # Everything was removed; but no token comes again.
        scene.watch.forget_all_but("fence")
    seen = scene.watch.look()
    nobodys = {lease for lease in seen.zsets["lease"] if int(lease.partition(":")[0]) not in known}
    assert nobodys == set(), "handed to nobody"
    for task in (scene.held.task.id, scene.other.task.id):
        await store.locks.release_all(task)
    for path in ("x.py", "free.py", "also.py"):
        answer = await store.locks.acquire(path, following, timeout_s=5)
        assert answer.outcome is LockOutcome.TAKEN
    assert all(lock.waiters == () for lock in await store.locks.holders())
    await store.queue.complete(following, (), current=_S.RUNNING)
    assert scene.watch.look().states["next"] == _S.DONE


async def _no_connection_is_lost(store: Store) -> None:
    """As many calls as there may be connections wait at once, and each hears its own answer."""
    pool = store.keys.of("pool:")
    with observer(store.client.connection_pool.connection_kwargs["path"]) as client:
        async with asyncio.TaskGroup() as group, asyncio.timeout(10):
            waiting = [group.create_task(_pop(store, f"{pool}{i}")) for i in range(FREE)]
            await _until(lambda: client.info("clients")["blocked_clients"] == FREE)
            for i in range(FREE):
                client.rpush(f"{pool}{i}", i)
        assert [await one for one in waiting] == [str(i) for i in range(FREE)]


@pytest.mark.parametrize("moment", Moment)
async def test_opening_and_closing_cancelled_at_any_await_leave_no_connection_and_no_task(
    valkey_url: str, project_id: ProjectId, moment: Moment
) -> None:
    async def live() -> None:
        async with open_store(valkey_url, project_id, HandClock()) as store:
            await store.queue.release_all_leases(why="the one before was cancelled")
            await load(store, spec("a"))
            held = await claim(store)
            await store.queue.requeue(held, why="", counts_attempt=False)

    with observer(valkey_url) as client:
        k, outcome, around = 0, Outcome(was_cancelled=True), asyncio.all_tasks()
        while outcome.was_cancelled:
            k += 1
            outcome = await cancel_at(live(), k, moment)
            assert asyncio.all_tasks() == around
            await _until(lambda: not [row for row in client.client_list() if row["name"] == "agentcoord"])
        assert k > 10
        async with open_store(valkey_url, project_id, HandClock()) as store:
            await store.queue.release_all_leases(why="restart")
            assert (await claim(store)).task.id == "a"
            assert_every_task_is_in_its_place(client, store.keys.prefix)


@pytest.mark.parametrize("moment", Moment)
async def test_a_call_cancelled_as_it_gets_the_last_connection_hands_it_on(
    valkey_url: str, project_id: ProjectId, moment: Moment
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        with observer(valkey_url) as client:
            k, outcome = 0, Outcome(was_cancelled=True)
            while outcome.was_cancelled:
                k += 1
                async with asyncio.TaskGroup() as group:
                    for _ in range(FREE):
                        group.create_task(_pop(store, store.keys.of("pool")))
                    await _until(lambda: client.info("clients")["blocked_clients"] == FREE)

                    async def give_back_one(behind: asyncio.TaskGroup = group) -> None:
                        behind.create_task(store.ping())
                        client.rpush(store.keys.of("pool"), 1)

                    outcome = await cancel_at(store.ping(), k, moment, meanwhile=give_back_one)
                    async with asyncio.timeout(5):
                        await store.ping()
                    client.rpush(store.keys.of("pool"), *range(FREE))
                client.delete(store.keys.of("pool"))
            await _no_connection_is_lost(store)


async def _pop(store: Store, key: str) -> str:
    """Hold a connection until something is put into the list at `key`."""
    _, value = cast("tuple[str, str]", await store.client.blpop([key], 10))
    return value


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the server is asked, which no event tells of.
            await asyncio.sleep(0)
