"""Setbacks as the store keeps them: counters, history, limits at the reaper, refusals in words, and age."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace
from store_kit import (
    LEASE_MS,
    NIGHT_MS,
    HandClock,
    claim,
    evalsha_calls,
    land,
    load,
    open_store,
    spec,
    states,
    task_of,
)

from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.lost_claims import ClaimEnd
from agentcoord.domain.retries import RetryPolicy, Verdict
from agentcoord.domain.setbacks import AttemptEnd, Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, Task
from agentcoord.errors import LeaseLostError
from agentcoord.store import Store

_S = TaskState
HOUR_MS = 3_600_000


def by(policy: RetryPolicy) -> Callable[[Task, Setback], Verdict]:
    return lambda task, setback: policy.decide(task, setback, random=lambda: 0.0)


async def test_a_task_that_succeeds_at_once_has_no_counter_and_no_history(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("first", priority=5), spec("t"))
        await land(store, await claim(store))  # From here on the server knows every script.
        before = await evalsha_calls(store)
        await store.queue.complete(await claim(store), [], current=_S.RUNNING)
        assert await evalsha_calls(store) == before + 2
        fields = await store.client.hgetall(store.keys.task("t"))
        kept = "state route score queued_at token worker attempt started_at ended_at"
        assert set(fields) == set(kept.split())
        assert await store.client.exists(store.keys.history("t")) == 0
        task = await task_of(store, "t")
        assert (task.all_setbacks, task.setback) == ({}, "")


async def test_each_way_back_is_counted_and_written_down(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        first = await claim(store)
        await store.queue.count(first, Setback.CHECKS_RED)
        clock.time_ms += 5
        await store.queue.requeue(
            first,
            why="rate limited",
            counts_attempt=False,
            setback=Setback.OVERLOADED,
            model="m1",
            delay_ms=40,
        )
        assert (await task_of(store, "t")).due_at_ms == NIGHT_MS + 45
        clock.time_ms += 40
        await store.queue.reap()
        second = await claim(store)
        assert second.task.setbacks == {"checks_red": 1, "overloaded": 1}
        await store.queue.requeue(
            second,
            why="red",
            counts_attempt=True,
            setback=Setback.UNPROVEN,
            model="m1",
            also=Setback.NEXT_MODEL,
        )
        third = await claim(store)
        clock.time_ms += LEASE_MS
        assert await store.queue.reap(model_of=lambda task: f"m{task.attempt}") == ("t",)
        fourth = await claim(store)
        await store.queue.fail(fourth, why="60 turns", setback=Setback.GAVE_UP, model="m3")
        task = await task_of(store, "t")
        assert (task.state, task.setback, task.why) == (_S.FAILED, "gave_up", "60 turns")
        counted = {
            "checks_red": 1,
            "overloaded": 1,
            "unproven": 1,
            "next_model": 1,
            "lease_expired": 1,
            "gave_up": 1,
        }
        assert task.setbacks == counted
        at, expired = NIGHT_MS, NIGHT_MS + 45 + LEASE_MS
        why = "lease expired"
        assert await store.queue.history(TaskId("t")) == (
            AttemptEnd(at + 5, "overloaded", "rate limited", "queued", 1, "Anybody", first.token, "m1"),
            AttemptEnd(at + 45, "unproven", "red", "queued", 1, "Anybody", second.token, "m1"),
            AttemptEnd(expired, "lease_expired", why, "queued", 2, "Anybody", third.token, "m2"),
            AttemptEnd(expired, "gave_up", "60 turns", "failed", 3, "Anybody", fourth.token, "m3"),
        )


async def test_what_is_brought_back_keeps_its_history_and_counts_anew(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        for _ in range(2):
            await store.queue.fail(await claim(store), why="red\udc80", setback=Setback.UNPROVEN, model="m")
            assert await store.queue.retry(TaskId("t"))
        task = await task_of(store, "t")
        assert (task.state, task.attempt, task.why, task.setback) == (_S.QUEUED, 0, "", "")
        assert task.setbacks == {}
        assert task.all_setbacks == {"asked": 2, "unproven": 2}
        history = await store.queue.history(TaskId("t"))
        assert [each.setback for each in history] == ["unproven", "asked"] * 2
        assert history[0].why == "red\udc80"


async def test_a_history_is_bounded_and_keeps_the_newest(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("t"))
        for number in range(60):
            await store.queue.requeue(await claim(store), why=f"{number}", counts_attempt=False)
        history = await store.queue.history(TaskId("t"))
        assert [each.why for each in history] == [f"{number}" for number in range(10, 60)]
        assert (await task_of(store, "t")).setbacks == {"stopped": 60}


async def test_a_lease_that_always_expires_ends_in_the_dead_letter_with_its_dependents(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"), spec("above", "t"))
        for _ in range(3):
            await claim(store)
            clock.time_ms += LEASE_MS
            assert await store.queue.reap(by(RetryPolicy(attempts=3))) == ("t",)
        task = await task_of(store, "t")
        assert (task.state, task.setback, task.attempt) == (_S.FAILED, "lease_expired", 3)
        assert (await states(store))["above"] is _S.FAILED
        assert await store.queue.next_due_ms() is None


async def test_leases_that_nobody_could_renew_cost_no_attempt(valkey_url: str, project_id: ProjectId) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("slept"), spec("hung"))
        await claim(store)
        clock.time_ms += 10
        await claim(store)
        clock.time_ms += LEASE_MS
        excused = clock.time_ms - 10
        policy = by(RetryPolicy(attempts=1))
        assert set(await store.queue.reap(policy, excused_until_ms=excused)) == {"slept", "hung"}
        slept, hung = await task_of(store, "slept"), await task_of(store, "hung")
        assert (slept.state, slept.attempt, slept.setback) == (_S.QUEUED, 0, "absent")
        assert (hung.state, hung.attempt, hung.setback) == (_S.FAILED, 1, "lease_expired")


async def test_a_task_under_which_every_daemon_dies_is_parked_at_last(
    valkey_url: str, project_id: ProjectId
) -> None:
    policy = by(RetryPolicy(limits={Setback.RESTARTED: 3}))
    for number in range(3):
        async with open_store(valkey_url, project_id, HandClock()) as store:
            await load(store, spec("t"))
            await claim(store)
            await store.queue.release_all_leases(why="the daemon was restarted", decide=policy)
            task = await task_of(store, "t")
            assert task.state is (_S.PARKED if number == 2 else _S.QUEUED)
    assert task.why == ("the daemon was restarted (for the 3rd time; the limit is retries.restarted)")


async def test_a_lease_renewed_since_it_was_looked_at_is_left_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        clock.time_ms += LEASE_MS

        def decide(task: Task, setback: Setback) -> Verdict:
            clock.time_ms = held.lease_deadline_ms - 1  # As if its deadline had been moved on.
            return RetryPolicy().decide(task, setback, random=lambda: 0.0)

        assert await store.queue.reap(decide) == ()
        await store.queue.verify(held)


async def _reaped(store: Store, held: Claim, clock: HandClock) -> None:
    clock.time_ms += LEASE_MS
    assert await store.queue.reap() == ("t",)


async def _lapsed(store: Store, held: Claim, clock: HandClock) -> None:
    clock.time_ms += LEASE_MS


async def _overtaken(store: Store, held: Claim, clock: HandClock) -> None:
    await _reaped(store, held, clock)
    await claim(store)


async def _cancelled(store: Store, held: Claim, clock: HandClock) -> None:
    assert await store.queue.cancel(TaskId("t"), why="not tonight")


async def _done(store: Store, held: Claim, clock: HandClock) -> None:
    await land(store, held)


async def _parked(store: Store, held: Claim, clock: HandClock) -> None:
    await store.queue.park(held, why="a cap")


async def _failed(store: Store, held: Claim, clock: HandClock) -> None:
    await store.queue.fail(held, why="red")


async def _handed_back(store: Store, held: Claim, clock: HandClock) -> None:
    await store.queue.requeue(held, why="stopped", counts_attempt=False)


@pytest.mark.parametrize(
    ("lose", "end", "words"),
    [
        (_reaped, ClaimEnd.EXPIRED, "has expired: its lease ran out"),
        (_overtaken, ClaimEnd.TAKEN_OVER, "was taken over by a newer one (token 2)"),
        (_cancelled, ClaimEnd.CANCELLED, "the task was cancelled"),
        (_done, ClaimEnd.DONE, "the task is done"),
        (_parked, ClaimEnd.PARKED, "the task is parked"),
        (_failed, ClaimEnd.FAILED, "the task failed"),
        (_handed_back, ClaimEnd.HANDED_BACK, "was put back in line"),
    ],
)
async def test_a_lost_claim_is_refused_everywhere_and_told_how_it_ended(
    valkey_url: str,
    project_id: ProjectId,
    lose: Callable[[Store, Claim, HandClock], Awaitable[None]],
    end: ClaimEnd,
    words: str,
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        await lose(store, held, clock)
        before, queue = await task_of(store, "t"), store.queue
        uses: dict[str, Callable[[], Awaitable[object]]] = {
            "land": lambda: queue.verify(held),
            "move": lambda: queue.move(held, _S.CHECKING, _S.LANDING),
            "fail": lambda: queue.fail(held, why=""),
            "park": lambda: queue.park(held, why=""),
            "hand back": lambda: queue.requeue(held, why="", counts_attempt=True),
        }
        if end is not ClaimEnd.DONE:  # Completing what is done by this very token is the same again.
            uses["complete"] = lambda: queue.complete(held, [])
        for use in uses.values():
            with pytest.raises(LeaseLostError) as refused:
                await use()
            assert refused.value.how == end
            assert words in refused.value.message
        assert await queue.heartbeat([held]) == {"t"}
        assert await queue.end_of(held) is end
        assert await task_of(store, "t") == before


async def test_an_expired_lease_that_nobody_took_is_told_from_one_that_lasts(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("t"))
        held = await claim(store)
        with pytest.raises(LeaseLostError, match="holds, but the task is running"):
            await store.queue.complete(held, [])
        with pytest.raises(LeaseLostError, match="a newer one"):
            await store.queue.verify(replace(held, token=FencingToken(held.token - 1)))
        await _lapsed(store, held, clock)
        with pytest.raises(LeaseLostError, match="its lease ran out"):
            await store.queue.verify(held)


async def test_an_old_task_of_low_priority_is_served_under_a_constant_stream_of_urgent_ones(
    valkey_url: str, project_id: ProjectId
) -> None:
    """Idle against critical is four levels: after four hours it goes before whatever came since."""
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("old", priority=1))
        served: list[str] = []
        for quarter in range(1, 40):
            clock.time_ms += HOUR_MS // 4
            await load(
                store, spec(f"urgent-{quarter}-a", priority=5), spec(f"urgent-{quarter}-b", priority=5)
            )
            held = await claim(store)
            served.append(held.task.id)
            await land(store, held)
            if held.task.id == "old":
                break
        assert served[-1] == "old"
        assert clock.time_ms - NIGHT_MS > 4 * HOUR_MS
        waiting = [task for task, state in (await states(store)).items() if state is _S.QUEUED]
        assert len(waiting) > len(served), "urgent ones were waiting all the time"
