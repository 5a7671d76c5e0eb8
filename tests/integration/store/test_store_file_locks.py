"""File locks: one holder, a fair line, no deadlock, and nothing held by the dead."""

from __future__ import annotations

import asyncio

import pytest
from store_kit import LEASE_MS, NIGHT_MS, HandClock, claim, land, load, open_store, spec

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.task import Claim
from agentcoord.store import HeldLock, LockAnswer, LockOutcome, Store

_O = LockOutcome


async def _claims(store: Store, *priorities: int) -> list[Claim]:
    """Claims on tasks a, b, c ... with these priorities, in that order."""
    names = [chr(ord("a") + i) for i in range(len(priorities))]
    await load(store, *(spec(name, priority=p) for name, p in zip(names, priorities, strict=True)))
    claims = [await claim(store) for _ in names]
    return sorted(claims, key=lambda c: c.task.id)


async def _in_line(store: Store, path: str, count: int) -> None:
    """Wait until `count` tasks stand in line for `path`."""
    async with asyncio.timeout(5):
        while not any(
            lock.path == path and len(lock.waiters) == count for lock in await store.locks.holders()
        ):
            pass


async def test_a_free_lock_is_taken_and_taken_again_by_its_task(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        (a,) = await _claims(store, 3)
        assert await store.locks.acquire("x.py", a, timeout_s=1) == LockAnswer(_O.TAKEN, a.task.id, 0)
        assert (await store.locks.acquire("x.py", a, timeout_s=1)).outcome is _O.ALREADY_HELD
        assert await store.locks.holders() == [HeldLock("x.py", a.task.id, a.token, NIGHT_MS, ())]


async def test_a_held_lock_is_waited_for_within_the_bound(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        answer = await store.locks.acquire("x.py", b, timeout_s=0.05)
        assert (answer.outcome, answer.holder) == (_O.TIMED_OUT, "a")
        assert (await store.locks.acquire("y.py", b, timeout_s=0.5)).outcome is _O.TAKEN


async def test_no_time_at_all_is_a_question_that_never_waits(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        assert (await store.locks.acquire("x.py", b, timeout_s=0)).outcome is _O.TIMED_OUT


async def test_a_release_wakes_the_first_in_line_and_tells_how_long_it_waited(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("y.py", a, timeout_s=1)
        await store.locks.acquire("x.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.locks.acquire("x.py", b, timeout_s=5))
            await _in_line(store, "x.py", 1)
            clock.time_ms += 250
            assert await store.locks.release_all(a.task.id) == ("x.py", "y.py")
        assert await waiting == LockAnswer(_O.TAKEN, b.task.id, 250)
        assert [(lock.path, lock.task) for lock in await store.locks.holders()] == [("x.py", "b")]


async def test_the_line_goes_by_priority_then_arrival(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c, d = await _claims(store, 3, 3, 3, 5)
        await store.locks.acquire("x.py", a, timeout_s=1)
        order: list[str] = []

        async def take(one: Claim) -> None:
            answer = await store.locks.acquire("x.py", one, timeout_s=5)
            assert answer.outcome is _O.TAKEN
            order.append(one.task.id)
            await store.locks.release_all(one.task.id)

        async with asyncio.TaskGroup() as group:
            for i, one in enumerate((b, c, d)):
                group.create_task(take(one))
                await _in_line(store, "x.py", i + 1)
            (lock,) = await store.locks.holders()
            assert lock.waiters == ("d", "b", "c")
            await store.locks.release_all(a.task.id)
        assert order == ["d", "b", "c"]


async def test_a_newcomer_does_not_jump_the_line(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with (
        open_store(valkey_url, project_id, clock) as store,
        open_store(valkey_url, project_id, clock) as elsewhere,
    ):
        a, b, c = await _claims(store, 3, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(store.locks.acquire("x.py", b, timeout_s=5))
            await _in_line(store, "x.py", 1)
            # The lock is free now, but the first in line does not know it yet.
            await elsewhere.locks.release_all(a.task.id)
            newcomer = await store.locks.acquire("x.py", c, timeout_s=0.05)
            assert (newcomer.outcome, newcomer.holder) == (_O.TIMED_OUT, "b")
            assert (await first).outcome is _O.TAKEN


async def test_a_lock_granted_as_the_time_ran_out_is_not_taken_for_an_old_one(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        (a,) = await _claims(store, 3)
        for i in range(20):
            answer = await store.locks.acquire(f"{i}.py", a, timeout_s=0)
            assert answer.outcome in {_O.TAKEN, _O.TIMED_OUT}


async def test_who_took_the_lock_meanwhile_counts_when_a_circle_is_looked_for(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        await store.locks.acquire("c.py", c, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            second = group.create_task(store.locks.acquire("x.py", b, timeout_s=5))
            await _in_line(store, "x.py", 1)
            third = group.create_task(store.locks.acquire("x.py", c, timeout_s=5))
            await _in_line(store, "x.py", 2)
            await store.locks.release_all(a.task.id)
            assert (await second).outcome is _O.TAKEN
            answer = await store.locks.acquire("c.py", b, timeout_s=5)
            assert (answer.outcome, answer.holder) == (_O.WOULD_DEADLOCK, "c")
            await store.locks.release_all(b.task.id)
            assert (await third).outcome is _O.TAKEN


async def test_a_wait_that_would_close_a_circle_is_refused_at_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        for path, holder in (("a.py", a), ("b.py", b), ("c.py", c)):
            await store.locks.acquire(path, holder, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(store.locks.acquire("b.py", a, timeout_s=5))
            second = group.create_task(store.locks.acquire("c.py", b, timeout_s=5))
            await _in_line(store, "b.py", 1)
            await _in_line(store, "c.py", 1)
            answer = await store.locks.acquire("a.py", c, timeout_s=5)
            assert (answer.outcome, answer.holder) == (_O.WOULD_DEADLOCK, "a")
            await store.locks.release_all(c.task.id)
            assert (await second).outcome is _O.TAKEN
            await store.locks.release_all(b.task.id)
            assert (await first).outcome is _O.TAKEN


async def test_two_that_ask_at_once_do_not_both_wait_for_each_other(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("a.py", a, timeout_s=1)
        await store.locks.acquire("b.py", b, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(store.locks.acquire("b.py", a, timeout_s=5)),
                group.create_task(store.locks.acquire("a.py", b, timeout_s=5)),
            ]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            refused = done.pop()
            assert (await refused).outcome is _O.WOULD_DEADLOCK
            await store.locks.release_all(a.task.id if refused is asked[0] else b.task.id)
        assert {(await one).outcome for one in asked} == {_O.TAKEN, _O.WOULD_DEADLOCK}


@pytest.mark.parametrize("how", ["cancelled", "landed", "expired"])
async def test_the_lock_of_a_holder_whose_lease_ended_goes_to_who_waits(
    valkey_url: str, project_id: ProjectId, how: str
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        a, b = await _claims(store, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.locks.acquire("x.py", b, timeout_s=5))
            await _in_line(store, "x.py", 1)
            match how:
                case "cancelled":
                    await store.queue.cancel(a.task.id, why="")
                case "landed":
                    await land(store, a)
                case _:
                    clock.time_ms += LEASE_MS - 1
                    await store.queue.heartbeat([b])
                    clock.time_ms += 1
                    assert await store.queue.reap() == ("a",)
        assert (await waiting).outcome is _O.TAKEN
        # The old holder's release takes nothing away from the new one.
        assert await store.locks.release_all(a.task.id) == ()
        assert [(lock.task, lock.token) for lock in await store.locks.holders()] == [("b", b.token)]


async def test_a_resumed_task_goes_on_with_its_locks_under_its_new_token(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        (a,) = await _claims(store, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        await store.queue.requeue(a, why="", counts_attempt=False)
        again = await claim(store)
        assert (await store.locks.acquire("x.py", again, timeout_s=1)).outcome is _O.ALREADY_HELD
        assert [lock.token for lock in await store.locks.holders()] == [again.token]


@pytest.mark.parametrize("spins", range(0, 24, 2))
async def test_a_wait_cancelled_at_any_moment_leaves_the_line_moving(
    valkey_url: str, project_id: ProjectId, spins: int
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        a, b, c = await _claims(store, 3, 3, 3)
        await store.locks.acquire("x.py", a, timeout_s=1)
        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(store.locks.acquire("x.py", b, timeout_s=5))
            await _in_line(store, "x.py", 1)
            waiting = group.create_task(store.locks.acquire("x.py", c, timeout_s=5))
            await _in_line(store, "x.py", 2)
            await store.locks.release_all(a.task.id)
            for _ in range(spins):
                await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            await store.locks.release_all(TaskId("b"))
            assert (await waiting).outcome is _O.TAKEN
        assert store.locks.lines.is_empty
