"""Who gets which task, and when: order, tags, declared writes, pausing, waiting and giving up."""

from __future__ import annotations

import asyncio

import pytest
from store_kit import (
    ANYBODY,
    LEASE_MS,
    NIGHT_MS,
    TESTER,
    HandClock,
    claim,
    land,
    load,
    open_store,
    spec,
    start_claim,
    states,
    task_of,
)

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import Role, worker_of
from agentcoord.store.place_in_line import PASSED_OVER_MS, PRIORITY_LEVEL_MS


async def test_higher_priority_goes_first_and_equal_ones_in_plan_order(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("b", priority=3), spec("a", priority=3), spec("urgent", priority=5))
        order = [(await claim(store)).task.id for _ in range(3)]
        assert order == ["urgent", "b", "a"]


async def test_order_holds_across_routes(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(
            store,
            spec("low", priority=1, tags=["docs"]),
            spec("mid", priority=3, tags=["testing"]),
            spec("high", priority=5, tags=["backend"]),
            spec("none", priority=4, tags=[]),
        )
        order = [(await claim(store)).task.id for _ in range(4)]
        assert order == ["high", "none", "mid", "low"]


async def test_a_task_that_waited_an_hour_longer_overtakes_one_level_of_priority(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("old", priority=3), spec("younger", priority=3))
        clock.time_ms += PRIORITY_LEVEL_MS // 2
        await load(store, spec("fresh", priority=4))
        assert (await claim(store)).task.id == "fresh"
        clock.time_ms += PRIORITY_LEVEL_MS
        await load(store, spec("late", priority=4))
        assert [(await claim(store)).task.id for _ in range(3)] == ["old", "younger", "late"]


async def test_a_worker_needs_all_tags_of_a_task(valkey_url: str, project_id: ProjectId) -> None:
    both = worker_of("Both", Role.ARCHITECT, ("backend", "testing"))
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t", tags=["backend", "testing"]))
        async with asyncio.TaskGroup() as group:
            first_in_line = group.create_task(store.queue.claim(TESTER))
            covers = group.create_task(store.queue.claim(both))
            assert (await covers).task.id == "t"
            assert not first_in_line.done()
            first_in_line.cancel()


async def test_a_claim_tells_all_about_its_task(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t", writes=["src/a.py"]))
        clock.time_ms += 5
        held = await claim(store)
        assert held.task == await task_of(store, "t")
        assert held.task.spec == spec("t", writes=["src/a.py"])
        assert held.task.state is TaskState.RUNNING
        assert (held.task.worker, held.task.attempt, held.token) == ("Anybody", 1, held.task.token)
        assert (held.task.queued_at_ms, held.task.started_at_ms) == (NIGHT_MS, NIGHT_MS + 5)
        assert held.lease_deadline_ms == NIGHT_MS + 5 + LEASE_MS


async def test_tokens_grow_with_every_claim(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, *(spec(f"t{i}") for i in range(5)))
        tokens = [(await claim(store)).token for _ in range(5)]
        assert tokens == sorted(set(tokens))


async def test_a_task_whose_writes_somebody_declares_lets_others_go_first(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(
            store,
            spec("first", priority=5, writes=["src/app.py"]),
            spec("same-file", priority=4, writes=["src/app.py"]),
            spec("glob", priority=4, writes=["src/**"]),
            spec("elsewhere", priority=2, writes=["docs/**"]),
        )
        first = await claim(store)
        assert [first.task.id, (await claim(store)).task.id] == ["first", "elsewhere"]
        # Preferred only: with nothing better left, it goes all the same.
        assert (await claim(store)).task.id == "same-file"
        await land(store, first)


@pytest.mark.parametrize("writes", ["src/app.py", "src/**"])
async def test_a_task_whose_writes_somebody_has_locked_lets_others_go_first(
    valkey_url: str, project_id: ProjectId, writes: str
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("declares-nothing"))
        held = await claim(store)
        await store.locks.acquire("src/app.py", held, timeout_s=5)
        await load(store, spec("waits", priority=4, writes=[writes]), spec("other"), spec("last"))
        assert (await claim(store)).task.id == "other"
        # The lock is not let go, but ends with the lease.
        await store.queue.requeue(held, why="", counts_attempt=True, delay_ms=9)
        assert (await claim(store)).task.id == "waits"


async def test_a_task_whose_writes_are_never_free_is_not_passed_over_for_ever(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("holds", writes=["src/app.py"]))
        await claim(store)
        await load(store, spec("glob", writes=["src/**"]), spec("other"))
        assert (await claim(store)).task.id == "other"
        clock.time_ms += PASSED_OVER_MS + 10  # Ranks are a little ahead of the clock.
        await load(store, spec("too-late"), spec("more-so"))
        assert (await claim(store)).task.id == "glob"


@pytest.mark.parametrize("how", ["landed", "requeued", "parked", "cancelled"])
async def test_declared_writes_are_free_again_when_the_claim_ends(
    valkey_url: str, project_id: ProjectId, how: str
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("first", priority=5, writes=["a.py"]))
        held = await claim(store)
        await load(store, spec("again", priority=4, writes=["a.py"]), spec("other", priority=2))
        match how:
            case "landed":
                await land(store, held, "a.py")
            case "requeued":
                await store.queue.requeue(held, why="", counts_attempt=True, delay_ms=9)
            case "parked":
                await store.queue.park(held, why="")
            case _:
                await store.queue.cancel(held.task.id, why="")
        assert (await claim(store)).task.id == "again"


async def test_tasks_handed_out_in_one_call_avoid_each_others_writes(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(store.queue.claim(ANYBODY)) for _ in range(2)]
            await load(
                store, spec("a", writes=["x.py"]), spec("b", writes=["x.py"]), spec("c", writes=["y.py"])
            )
        assert {(await w).task.id for w in waiting} == {"a", "c"}


async def test_many_waiters_each_get_a_task_of_their_own(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(store.queue.claim(ANYBODY)) for _ in range(60)]
            await load(store, *(spec(f"t{i}", tags=[("backend", "docs")[i % 2]]) for i in range(60)))
        claims = [await w for w in waiting]
        assert len({c.task.id for c in claims}) == 60
        assert len({c.token for c in claims}) == 60


async def test_nothing_is_claimed_while_paused_and_waiters_wake_on_resuming(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await store.queue.set_paused(True)
        await load(store, spec("t"))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(store.queue.claim(ANYBODY))
            await store.ping()
            assert (await task_of(store, "t")).state is TaskState.QUEUED
            assert not waiting.done()
            await store.queue.set_paused(False)
        assert (await waiting).task.id == "t"


async def test_pausing_outlives_the_store_and_binds_a_second_one(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as unaware:
        async with open_store(valkey_url, project_id, clock) as store:
            await store.queue.set_paused(True)
            await load(store, spec("t"))
        async with open_store(valkey_url, project_id, clock) as store:
            assert store.queue.paused
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await unaware.queue.claim(ANYBODY)


async def test_finishing_goes_on_while_paused(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        held = await claim(store)
        await store.queue.set_paused(True)
        await land(store, held)
        assert (await task_of(store, "t")).state is TaskState.DONE


@pytest.mark.parametrize("wake", ["load", "requeue", "complete", "retry", "reap"])
async def test_whatever_makes_a_task_ready_wakes_who_waits(
    valkey_url: str, project_id: ProjectId, wake: str
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("first", tags=["testing"]), spec("second", "first"))
        held = await claim(store, TESTER)
        async with asyncio.TaskGroup() as group:
            waiting = await start_claim(store, group, ANYBODY)
            match wake:
                case "load":
                    await load(store, spec("new"))
                case "requeue":
                    await store.queue.requeue(held, why="later", counts_attempt=False)
                case "complete":
                    await land(store, held)
                case "retry":
                    await store.queue.cancel(TaskId("first"), why="no")
                    assert await store.queue.retry(TaskId("first"))
                case "reap":
                    clock.time_ms += LEASE_MS
                    assert await store.queue.reap() == ("first",)
        expected = {"load": "new", "complete": "second"}.get(wake, "first")
        assert (await waiting).task.id == expected


@pytest.mark.parametrize("spins", [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48])
async def test_a_claim_cancelled_at_any_moment_leaves_no_task_behind(
    valkey_url: str, project_id: ProjectId, spins: int
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(store.queue.claim(ANYBODY))
            for _ in range(spins):
                await asyncio.sleep(0)
            cancelled.cancel()
        if cancelled.cancelled():
            held = await claim(store)
            assert (held.task.id, held.task.attempt) == ("t", 1)
        else:
            assert (await cancelled).task.id == "t"


async def test_a_claim_cancelled_while_its_answer_is_on_the_way_is_given_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(store.queue.claim(ANYBODY))
            while (await task_of(store, "t")).state is TaskState.QUEUED:
                pass
            was_done = cancelled.done()
            cancelled.cancel()
        if not was_done:
            assert (await claim(store)).task.attempt == 1


async def test_a_claim_cancelled_between_its_answer_and_its_next_step_is_given_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        async with asyncio.TaskGroup() as group:
            cancelled = group.create_task(store.queue.claim(ANYBODY))
            await asyncio.sleep(0)
            (waiter,) = store.queue.dispatcher.hand_outs.gathered.waiters
            while not waiter.answer.done():  # noqa: ASYNC110 - the very next step of the loop is the point
                await asyncio.sleep(0)
            cancelled.cancel()
        assert cancelled.cancelled()
        assert (await claim(store)).task.attempt == 1


async def test_closing_the_store_gives_back_what_a_cancelled_claim_was_handed(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    claims: list[asyncio.Task[Claim]] = []
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        async with asyncio.TaskGroup() as group:
            claims.append(group.create_task(store.queue.claim(ANYBODY)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            claims[0].cancel()
    async with open_store(valkey_url, project_id, clock) as store:
        assert await states(store) == {"t": TaskState.QUEUED}
