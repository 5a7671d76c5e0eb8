"""A task's way through its states: loading, moving under a claim, ending, and coming back."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from store_kit import (
    LEASE_MS,
    NIGHT_MS,
    TESTER,
    HandClock,
    calls_of,
    claim,
    evalsha_calls,
    land,
    landed,
    load,
    open_store,
    spec,
    spend,
    states,
    task_of,
)

from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import Usage
from agentcoord.errors import IllegalMoveError, LeaseLostError, PlanError, StoreError
from agentcoord.store import LoadOutcome, Store
from agentcoord.store.scripts import ScriptName

_S = TaskState
DAY_MS = 86_400_000


async def test_loading_twice_changes_nothing(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        plan = [spec("b"), spec("a", "b")]
        assert await store.queue.load(plan) == LoadOutcome(added=(TaskId("b"), TaskId("a")))
        before = await store.queue.all()
        assert await store.queue.load(plan) == LoadOutcome(unchanged=(TaskId("b"), TaskId("a")))
        assert await store.queue.all() == before
        assert [t.id for t in before] == ["b", "a"]


async def test_an_edited_task_is_replaced_until_somebody_works_on_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("held", priority=5), spec("waiting"), spec("blocked", "waiting"))
        await claim(store)
        outcome = await store.queue.load(
            [
                spec("held", priority=5, title="New"),
                replace(spec("waiting", tags=["testing"]), description="More", check="true"),
                spec("blocked", "waiting", title="New", priority=1),
            ]
        )
        assert outcome == LoadOutcome(
            unchanged=(TaskId("held"),), changed=(TaskId("waiting"), TaskId("blocked"))
        )
        assert (await task_of(store, "held")).spec.title == "Do held"
        moved = await claim(store, TESTER)
        assert (moved.task.id, moved.task.spec.description) == ("waiting", "More")
        assert (await task_of(store, "blocked")).spec == spec("blocked", "waiting", title="New", priority=1)


async def test_an_edited_priority_changes_the_place_in_line(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"))
        await load(store, spec("b", priority=4))
        assert (await claim(store)).task.id == "b"


async def test_an_edited_task_that_is_not_in_line_does_not_slip_in(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("parked", priority=5), spec("delayed", priority=4), spec("below"))
        await store.queue.park(await claim(store), why="the task's cap is reached")
        await store.queue.requeue(await claim(store), why="later", counts_attempt=True, delay_ms=9)
        await load(store, spec("blocked", "below"))
        edited = [spec(name, priority=5, title="New") for name in ("parked", "delayed", "blocked")]
        assert (await store.queue.load(edited)).changed == ("parked", "delayed", "blocked")
        assert await states(store) == {
            "parked": _S.PARKED,
            "delayed": _S.QUEUED,
            "below": _S.QUEUED,
            "blocked": _S.BLOCKED,
        }
        assert (await claim(store)).task.id == "below"
        assert await store.queue.retry(TaskId("parked"))
        assert (await claim(store)).task.spec.title == "New"


async def test_a_plan_with_problems_is_refused_whole(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        with pytest.raises(PlanError) as unknown:
            await load(store, spec("a"), spec("b", "nobody"), spec("c", "nothing"))
        assert list(unknown.value.problems) == [
            "task b needs nobody, which is unknown",
            "task c needs nothing, which is unknown",
        ]
        with pytest.raises(PlanError, match="cycle"):
            await load(store, spec("a", "b"), spec("b", "a"))
        with pytest.raises(PlanError, match="cycle"):
            await load(store, spec("a", "a"))
        with pytest.raises(PlanError, match="twice"):
            await load(store, spec("a"), spec("a"))
        assert await store.queue.all() == []
        assert set((await store.queue.counts()).values()) == {0}


async def test_a_plan_in_several_pieces_keeps_its_order_and_needs(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        plan = [spec(f"t{i}", *([f"t{i + 1}"] if i < 2499 else [])) for i in range(2500)]
        outcome = await store.queue.load(plan)
        assert outcome.added == tuple(s.id for s in plan)
        assert [t.id for t in await store.queue.all()] == [s.id for s in plan]
        counts = await store.queue.counts()
        assert (counts[_S.QUEUED], counts[_S.BLOCKED]) == (1, 2499)
        assert (await claim(store)).task.id == "t2499"


async def test_needs_done_before_the_load_are_met(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await land(store, await claim(store))
        await load(store, spec("b", "a"))
        assert (await claim(store)).task.id == "b"


async def test_a_task_loaded_upon_a_failed_need_fails_with_the_cause(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await store.queue.fail(await claim(store), why="red")
        await load(store, spec("b", "a"), spec("c", "b"))
        assert await states(store) == {"a": _S.FAILED, "b": _S.FAILED, "c": _S.FAILED}
        assert (await task_of(store, "b")).why == "needs a, which failed or was cancelled"
        assert await store.queue.retry(TaskId("a"))
        assert await states(store) == {"a": _S.QUEUED, "b": _S.BLOCKED, "c": _S.BLOCKED}


async def test_a_task_is_released_when_the_last_of_its_needs_is_done(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"), spec("top", "a", "b", "a"), spec("roof", "top"))
        assert (await task_of(store, "top")).open_needs == 2
        first, second = await claim(store), await claim(store)
        await land(store, first)
        assert (await states(store))["top"] is _S.BLOCKED
        await land(store, second)
        assert (await states(store))["top"] is _S.QUEUED
        assert (await states(store))["roof"] is _S.BLOCKED
        await land(store, await claim(store))
        assert (await claim(store)).task.id == "roof"


async def test_completing_stores_what_landed(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        clock.time_ms += 9
        await land(store, held, "src/a.py", "docs/ü\udc80.md")
        task = await task_of(store, "t")
        assert (task.state, task.files) == (_S.DONE, ("src/a.py", "docs/ü\udc80.md"))
        assert (task.lines_added, task.lines_removed) == (6, 2)
        assert task.ended_at_ms == NIGHT_MS + 9
        assert (await store.queue.counts())[_S.DONE] == 1


async def test_completing_twice_is_the_same_as_once(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"), spec("c", "a"))
        held = await claim(store)
        await land(store, held, "x")
        await store.queue.complete(held, [landed("x")])
        assert (await store.queue.counts())[_S.DONE] == 1
        assert (await task_of(store, "b")).open_needs == 0


async def test_completing_is_refused_before_landing(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        held = await claim(store)
        with pytest.raises(LeaseLostError):
            await store.queue.complete(held, [])
        assert (await task_of(store, "t")).state is _S.RUNNING


async def test_a_move_compares_before_it_sets(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        held = await claim(store)
        with pytest.raises(IllegalMoveError, match="is running, not checking"):
            await store.queue.move(held, _S.CHECKING, _S.LANDING)
        with pytest.raises(IllegalMoveError):
            await store.queue.move(held, _S.RUNNING, _S.LANDING)
        with pytest.raises(IllegalMoveError, match="method of its own"):
            await store.queue.move(held, _S.RUNNING, _S.PARKED)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING, why="its checks run")
        task = await task_of(store, "t")
        assert (task.state, task.why) == (_S.CHECKING, "its checks run")
        await store.queue.complete(held, [], current=_S.CHECKING)
        task = await task_of(store, "t")
        assert (task.state, task.why) == (_S.DONE, ""), "what a move said does not outlive the claim"


async def test_landings_of_one_call_are_told_apart(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, *(spec(f"t{i}") for i in range(4)))
        held = [await claim(store) for _ in range(4)]
        before = await evalsha_calls(store)
        async with asyncio.TaskGroup() as group:
            for i, each in enumerate(held):
                files = [landed(f"{n} of {i}") for n in range(i % 3)]
                group.create_task(store.queue.complete(each, files, current=_S.RUNNING))
        assert await evalsha_calls(store) == before + 1
        files_of = {task.id: task.files for task in await store.queue.all()}
        assert files_of == {"t0": (), "t1": ("0 of 1",), "t2": ("0 of 2", "1 of 2"), "t3": ()}


async def _every_use(store: Store, held: Claim) -> None:
    """Each operation that needs a live claim must refuse this one."""
    uses = [
        store.queue.verify(held),
        store.queue.move(held, _S.RUNNING, _S.CHECKING),
        store.queue.complete(held, []),
        store.queue.requeue(held, why="", counts_attempt=True),
        store.queue.park(held, why=""),
        store.queue.fail(held, why=""),
        store.locks.acquire("a.py", held, timeout_s=1),
    ]
    for use in uses:
        with pytest.raises(LeaseLostError):
            await use


@pytest.mark.parametrize("how", ["reaped", "cancelled", "released", "requeued", "retaken", "done"])
async def test_a_holder_that_lost_its_lease_can_do_nothing_more(
    valkey_url: str, project_id: ProjectId, how: str
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        match how:
            case "cancelled":
                assert await store.queue.cancel(TaskId("t"), why="not tonight")
            case "released":
                assert await store.queue.release_all_leases(why="restart") == ("t",)
            case "requeued":
                await store.queue.requeue(held, why="", counts_attempt=True)
            case "done":
                await land(store, held)
                held = replace(held, token=FencingToken(held.token - 1))
            case _:
                clock.time_ms += LEASE_MS
                assert await store.queue.reap() == ("t",)
        if how == "retaken":
            await claim(store)
        before = await task_of(store, "t")
        assert await store.queue.heartbeat([held]) == {"t"}
        await _every_use(store, held)
        assert await task_of(store, "t") == before


async def test_verify_refuses_an_expired_lease_and_a_heartbeat_mends_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        clock.time_ms += LEASE_MS - 1
        await store.queue.verify(held)
        clock.time_ms += 1
        with pytest.raises(LeaseLostError):
            await store.queue.verify(held)
        assert await store.queue.heartbeat([held]) == frozenset()
        await store.queue.verify(held)
        clock.time_ms += LEASE_MS
        await store.queue.renew(held)
        await store.queue.verify(held)
        assert await store.queue.reap() == ()
        clock.time_ms += LEASE_MS
        assert await store.queue.reap() == ("t",)
        with pytest.raises(LeaseLostError, match="has expired"):
            await store.queue.renew(held)


async def test_one_heartbeat_call_serves_all(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"), spec("b"), spec("c"))
        claims = [await claim(store) for _ in range(3)]
        await store.queue.cancel(TaskId("b"), why="")
        clock.time_ms += LEASE_MS // 2
        assert await store.queue.heartbeat(claims) == {"b"}
        assert await store.queue.next_due_ms() == clock.time_ms + LEASE_MS
        assert await store.queue.heartbeat([]) == frozenset()


async def test_a_requeued_task_keeps_its_place_and_counts_attempts_as_told(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"), spec("b"))
        first = await claim(store)
        clock.time_ms += 1000
        await store.queue.requeue(first, why="rate limited", counts_attempt=False)
        assert (await task_of(store, "a")).why == "rate limited"
        again = await claim(store)
        assert (again.task.id, again.task.attempt, again.task.why) == ("a", 1, "")
        assert again.task.started_at_ms == first.task.started_at_ms
        await store.queue.move(again, _S.RUNNING, _S.CHECKING)
        await store.queue.requeue(again, why="checks red", counts_attempt=True)
        assert (await claim(store)).task.attempt == 2


async def test_a_delayed_task_comes_back_when_it_is_due(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        assert await store.queue.next_due_ms() is None
        await load(store, spec("a", priority=5), spec("b"))
        await store.queue.requeue(await claim(store), why="later", counts_attempt=True, delay_ms=500)
        assert (await task_of(store, "a")).state is _S.QUEUED
        assert (await claim(store)).task.id == "b"
        assert await store.queue.next_due_ms() == NIGHT_MS + 500
        clock.time_ms += 499
        assert await store.queue.reap() == ()
        await load(store, spec("c"))
        assert (await claim(store)).task.id == "c"
        clock.time_ms += 1
        assert await store.queue.reap() == ()
        assert (await claim(store)).task.id == "a"


async def test_a_cancelled_delayed_task_does_not_come_back(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"))
        await store.queue.requeue(await claim(store), why="later", counts_attempt=True, delay_ms=500)
        assert await store.queue.cancel(TaskId("a"), why="no")
        assert await store.queue.next_due_ms() is None
        clock.time_ms += 500
        await store.queue.reap()
        assert (await task_of(store, "a")).state is _S.CANCELLED


async def test_an_expired_lease_is_requeued_and_counts_as_an_attempt(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"), spec("b"))
        await claim(store)
        clock.time_ms += 10
        await claim(store)
        clock.time_ms += LEASE_MS - 10
        assert await store.queue.reap() == ("a",)
        assert (await task_of(store, "a")).why == "lease expired"
        again = await claim(store)
        assert (again.task.id, again.task.attempt) == ("a", 2)


async def test_a_new_daemon_takes_every_held_task_back_at_no_cost(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"), spec("b"), spec("c"))
        held = await claim(store)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING)
        await claim(store)
    async with open_store(valkey_url, project_id, clock) as store:
        assert await store.queue.release_all_leases(why="the daemon restarted") == ("a", "b")
        assert await store.queue.next_due_ms() is None
        order = [await claim(store) for _ in range(3)]
        assert [(c.task.id, c.task.attempt) for c in order] == [("a", 1), ("b", 1), ("c", 1)]


async def test_a_failure_takes_down_what_needs_it_and_says_why(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"), spec("c", "b"), spec("d", "c", "a"), spec("free"))
        fallen = await store.queue.fail(await claim(store), why="attempts spent")
        assert set(fallen) == {"b", "c", "d"}
        assert (await task_of(store, "a")).why == "attempts spent"
        assert (await task_of(store, "b")).why == "needs a, which failed"
        assert (await task_of(store, "c")).why == "needs b, which failed"
        assert (await states(store))["free"] is _S.QUEUED
        counts = await store.queue.counts()
        assert (counts[_S.FAILED], counts[_S.BLOCKED], counts[_S.QUEUED]) == (4, 0, 1)


async def test_a_long_chain_falls_whole(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t0"), *(spec(f"t{i}", f"t{i - 1}") for i in range(1, 2200)))
        fallen = await store.queue.fail(await claim(store), why="red")
        assert len(fallen) == 2199
        assert (await store.queue.counts())[_S.FAILED] == 2200


@pytest.mark.parametrize("state", ["blocked", "queued", "running", "parked"])
async def test_cancelling_ends_any_task_that_has_not_ended(
    valkey_url: str, project_id: ProjectId, state: str
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        if state == "blocked":
            await load(store, spec("other", priority=1), spec("t", "other"))
        else:
            await load(store, spec("t"))
        await load(store, spec("above", "t"))
        if state in {"running", "parked"}:
            held = await claim(store)
            if state == "parked":
                await store.queue.park(held, why="a question")
        assert (await task_of(store, "t")).state == state
        assert await store.queue.cancel(TaskId("t"), why="not tonight")
        assert not await store.queue.cancel(TaskId("t"), why="again")
        task, above = await task_of(store, "t"), await task_of(store, "above")
        assert (task.state, task.why) == (_S.CANCELLED, "not tonight")
        assert (above.state, above.why) == (_S.FAILED, "needs t, which was cancelled")
        assert await store.queue.next_due_ms() is None


async def test_done_and_unknown_tasks_are_not_cancelled(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        await land(store, await claim(store))
        assert not await store.queue.cancel(TaskId("t"), why="")
        assert not await store.queue.cancel(TaskId("nobody"), why="")
        assert await store.queue.get(TaskId("nobody")) is None


async def test_a_retried_task_starts_anew_and_brings_back_what_fell_with_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"), spec("c", "b"), spec("later"))
        await store.queue.fail(await claim(store), why="red")
        assert not await store.queue.retry(TaskId("c"))
        assert await store.queue.retry(TaskId("a"))
        assert await states(store) == {
            "a": _S.QUEUED,
            "b": _S.BLOCKED,
            "c": _S.BLOCKED,
            "later": _S.QUEUED,
        }
        again = await claim(store)
        assert (again.task.id, again.task.attempt, again.task.ended_at_ms) == ("a", 1, None)
        await land(store, again)
        assert (await states(store))["b"] is _S.QUEUED
        assert not await store.queue.retry(TaskId("a"))


async def test_what_failed_for_two_reasons_comes_back_only_after_both(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"), spec("top", "a", "b"), spec("roof", "top"))
        await store.queue.fail(await claim(store), why="red")
        await store.queue.fail(await claim(store), why="red")
        assert await store.queue.retry(TaskId("a"))
        assert (await states(store))["top"] is _S.FAILED
        assert (await task_of(store, "top")).why == "needs b, which failed or was cancelled"
        assert await store.queue.retry(TaskId("b"))
        assert (await states(store))["roof"] is _S.BLOCKED
        await land(store, await claim(store))
        await land(store, await claim(store))
        assert (await claim(store)).task.id == "top"


async def test_a_need_done_while_its_dependent_lay_failed_still_counts(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"), spec("top", "a", "b"))
        await store.queue.fail(await claim(store), why="red")
        await land(store, await claim(store))
        assert await store.queue.retry(TaskId("a"))
        assert (await task_of(store, "top")).open_needs == 1
        await land(store, await claim(store))
        assert (await claim(store)).task.id == "top"


async def test_a_cancelled_dependent_is_not_brought_back_with_its_need(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        await store.queue.cancel(TaskId("b"), why="never")
        await store.queue.fail(await claim(store), why="red")
        assert await store.queue.retry(TaskId("a"))
        assert (await task_of(store, "b")).state is _S.CANCELLED
        assert await store.queue.retry(TaskId("b"))
        assert (await task_of(store, "b")).state is _S.BLOCKED


async def test_a_cancelled_dependent_stays_so_when_its_needs_are_done(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        await store.queue.cancel(TaskId("b"), why="never")
        await land(store, await claim(store))
        assert (await task_of(store, "b")).state is _S.CANCELLED
        assert await store.queue.retry(TaskId("b"))
        assert (await claim(store)).task.id == "b"


async def test_what_was_spent_is_booked_even_after_the_claim_ended(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        held = await claim(store)
        usage = Usage(input_tokens=1, cache_write_5m_tokens=2, cache_read_tokens=4, output_tokens=5)
        await spend(store, held.task.id, 70, usage)
        await store.queue.count_turn(held)
        await store.queue.cancel(TaskId("t"), why="")
        await spend(store, held.task.id, 30, usage)
        await store.queue.count_turn(held)
        await spend(store, TaskId("never loaded"), 5, usage)
        task = await task_of(store, "t")
        assert (task.usage, task.cost_usd_micros, task.turns) == (usage + usage, 100, 2)


async def test_only_a_done_task_is_reviewed(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        with pytest.raises(StoreError, match="t is queued"):
            await store.queue.set_review(TaskId("t"), ReviewState.ACCEPTED)
        with pytest.raises(StoreError, match="nobody is unknown"):
            await store.queue.set_review(TaskId("nobody"), ReviewState.ACCEPTED)
        await land(store, await claim(store))
        await store.queue.set_review(TaskId("t"), ReviewState.UNDONE)
        assert (await task_of(store, "t")).review is ReviewState.UNDONE


async def test_a_lease_of_a_clock_that_was_set_back_ends_when_one_of_now_would(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        clock.time_ms += DAY_MS
        await claim(store)
        clock.time_ms -= DAY_MS
        assert await store.queue.reap() == ()
        clock.time_ms += LEASE_MS - 1
        assert await store.queue.reap() == ()
        clock.time_ms += 1
        assert await store.queue.reap() == ("t",)


async def test_nobody_waits_for_a_time_that_a_clock_set_back_has_moved_away(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        clock.time_ms += DAY_MS
        await store.queue.requeue(await claim(store), why="later", counts_attempt=True, delay_ms=5_000)
        clock.time_ms -= 900
        await store.queue.reap()
        assert (await store.queue.next_due_ms()) == clock.time_ms + 5_900, "clocks are corrected all the time"
        clock.time_ms -= DAY_MS
        await store.queue.reap()
        assert (await task_of(store, "t")).due_at_ms is None, "nor is it said to wait"
        assert (await claim(store)).task.id == "t"


async def test_of_many_that_wait_those_of_the_old_time_are_looked_at_first(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, *(spec(f"t{i}") for i in range(4)))
        held = [await claim(store) for _ in range(4)]
        clock.time_ms += DAY_MS
        await store.queue.requeue(held[0], why="later", counts_attempt=True, delay_ms=5_000)
        clock.time_ms -= DAY_MS
        for each in held[1:]:
            await store.queue.requeue(each, why="later", counts_attempt=True, delay_ms=60_000)
        at_a_time = 2
        await store.queue.scripts.run(ScriptName.REAP, clock.time_ms, at_a_time, 0, LEASE_MS)
        assert await store.client.zcard(store.keys.of("delay")) == 3, "the others wait for their time"
        assert (await claim(store)).task.id == "t0"
        assert await store.queue.next_due_ms() == clock.time_ms + LEASE_MS


async def test_delayed_tasks_are_looked_at_only_when_the_clock_was_set_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, *(spec(f"t{i}") for i in range(3)))
        held = [await claim(store) for _ in range(3)]
        for each in held[:2]:
            await store.queue.requeue(each, why="later", counts_attempt=True, delay_ms=5_000)

        async def looked_at() -> int:
            before = await calls_of(store, "hget")
            await store.queue.reap()
            return await calls_of(store, "hget") - before

        assert await looked_at() == 0
        clock.time_ms -= DAY_MS
        assert await looked_at() == 2
        assert (await store.queue.counts())[_S.QUEUED] == 2
        assert await looked_at() == 0, "once is enough"
        await store.queue.requeue(held[2], why="later", counts_attempt=True, delay_ms=5_000)
        clock.time_ms -= DAY_MS
        assert await looked_at() == 1, "and again when it goes back further"
        assert (await claim(store)).task.id == "t0"
