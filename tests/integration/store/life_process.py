"""A client's whole life on one project, step after step, for tests that kill it at every step.

`life_process.py` reads lines `URL PROJECT` and answers each with `pid N`; the child of that number then
lives, and tells each fact that the store has confirmed to it as a line; `over` is the last one. Children
are forked, so that hundreds of real processes cost little. Nothing happens at once with something else: the
questions to the server come in the same order each time.
"""

from __future__ import annotations

import asyncio
import os
import sys

from store_kit import ANYBODY, LEASE_MS, HandClock, landed, open_store, spec

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.store import Caps, Store

_S = TaskState
PLAN = [
    spec("a", priority=5, writes=["x.py"]),
    spec("b", "a", priority=5),
    spec("c", priority=4),
    spec("d", priority=3),
    spec("e", "d"),
    spec("f", "b", "e"),
]
LATER = [spec("g", "f"), spec("h", priority=1), spec("c", priority=5, title="Do c, edited")]
CAPS = Caps(run=UsdMicros(100), task=UsdMicros(60), day=UsdMicros(100))


def tell(*fact: object) -> None:
    os.write(1, (" ".join(map(str, fact)) + "\n").encode())


async def live(url: str, project: ProjectId) -> None:
    """Go once through everything that a daemon asks of its store."""
    clock = HandClock()
    async with open_store(url, project, clock) as store:
        queue = store.queue
        await store.set_setting("run", "r")
        await queue.load(PLAN)
        tell("loaded", *(one.id for one in PLAN))
        a = await _claim(store)
        await queue.heartbeat([a])
        await _spend(store, a, "r1", 30)
        number = await store.questions.ask(a.task.id, "Which?", "the first", 1)
        tell("asked", number)
        await store.questions.answer(a.task.id, "the second")
        await store.questions.answers(a.task.id)
        await store.questions.answers(a.task.id, told=1)
        await store.locks.acquire("x.py", a, timeout_s=1)
        await _finish(store, a)
        await store.locks.release_all(a.task.id)

        b = await _claim(store)
        await store.locks.acquire("x.py", b, timeout_s=1)
        await store.ledger.reserve("r2", run="r", task=b.task.id, day="d", amount=UsdMicros(20), caps=CAPS)
        await store.ledger.release("r2")
        await queue.requeue(b, why="later", counts_attempt=True, delay_ms=500)
        clock.time_ms += 500
        await queue.reap()
        await queue.load(LATER)
        tell("loaded", "g", "h")

        b = await _claim(store)
        await queue.move(b, _S.RUNNING, _S.CHECKING)
        c = await queue.complete_and_claim(b, (), ANYBODY, current=_S.CHECKING)
        tell("done", b.task.id)
        await queue.park(c, why="a question")
        tell("parked", "c")
        await queue.retry(TaskId("c"))
        c = await _claim(store)
        await store.ledger.reserve("r3", run="r", task=c.task.id, day="d", amount=UsdMicros(20), caps=CAPS)
        await store.ledger.mark_started("r3")
        clock.time_ms += LEASE_MS
        await store.cleanup(everything=False)
        tell("spent", 20)

        c, d = await _claim(store), await _claim(store)
        await queue.fail(d, why="red")
        tell("fell", "d", "e", "f", "g")
        await queue.retry(TaskId("d"))
        await queue.set_paused(True)
        await queue.set_paused(False)
        await _finish(store, c)
        await queue.cancel(TaskId("h"), why="not tonight")
        tell("cancelled", "h")
        for _ in "defg":
            await _finish(store, await _claim(store))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_claim(store))
            await _has_got_nothing(store)
            await queue.load([spec("i")])
            tell("loaded", "i")
            i = await waiting
        await _finish(store, i)
        await queue.set_review(TaskId("a"), ReviewState.ACCEPTED)
        tell("reviewed")
        await queue.release_all_leases(why="the end")
        await queue.counts()
    tell("end")


async def _has_got_nothing(store: Store) -> None:
    """Wait until the one who waits has been told that there is nothing yet."""
    waiters = store.queue.dispatcher.hand_outs.gathered.waiters
    for _ in range(1_000_000):
        if any(not waiter.hungry and not waiter.asked for waiter in waiters):
            return
        await asyncio.sleep(0)
    raise TimeoutError("nobody waits")


async def _claim(store: Store) -> Claim:
    claim = await store.queue.claim(ANYBODY)
    await store.events.append([_event(EventKind.TASK_CLAIMED, claim)])
    return claim


async def _spend(store: Store, claim: Claim, reservation: str, amount: int) -> None:
    await store.ledger.reserve(
        reservation, run="r", task=claim.task.id, day="d", amount=UsdMicros(amount + 10), caps=CAPS
    )
    await store.ledger.mark_started(reservation)
    await store.ledger.settle(reservation, actual=UsdMicros(amount), usage=Usage(1), model="m")
    tell("spent", amount)
    await store.queue.count_turn(claim)


async def _finish(store: Store, claim: Claim) -> None:
    await store.queue.move(claim, _S.RUNNING, _S.CHECKING)
    await store.queue.move(claim, _S.CHECKING, _S.LANDING)
    await store.queue.verify(claim)
    await store.queue.complete(claim, [landed("x.py")])
    tell("done", claim.task.id)
    [event] = await store.events.append([_event(EventKind.TASK_DONE, claim)])
    tell("logged", event.seq)


def _event(kind: EventKind, claim: Claim) -> Event:
    return Event(kind, 1, task=claim.task.id, data={"token": claim.token})


def main() -> None:
    for line in sys.stdin:
        url, project = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(live(url, ProjectId(project)))
            os._exit(0)
        tell("pid", child)
        os.waitpid(child, 0)
        tell("over")


if __name__ == "__main__":
    main()
