"""A done task that a person rejects: it is back in line, and what needs it waits for it again."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from redis import Redis
from store_kit import HandClock, claim, land, load, open_store, spec, spend, states, task_of
from store_observer import assert_every_task_is_in_its_place

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Claim, OnNeedFailed, TaskSpec
from agentcoord.errors import StoreError
from agentcoord.store import Store
from agentcoord.store.rejecting import MOST_DEPENDENTS, reject

_S = TaskState
A = TaskId("a")


def assert_sound(url: str, store: Store) -> None:
    with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape") as client:
        assert_every_task_is_in_its_place(client, store.keys.prefix)


async def test_it_begins_anew_and_keeps_cost_place_and_history(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a", writes=["a.py"]), spec("later"))
        held = await claim(store)
        await spend(store, held.task.id, 7)
        await store.queue.count_turn(held)
        await land(store, held, "a.py")
        await store.queue.set_review(A, ReviewState.ACCEPTED)
        assert await store.queue.reject(A, why="rejected: too short") == ""
        task = await task_of(store, "a")
        assert (task.state, task.review, task.files, task.attempt) == (_S.QUEUED, "unreviewed", (), 0)
        assert (task.cost_usd_micros, task.turns, task.ended_at_ms) == (7, 1, None)
        (line,) = await store.queue.history(A)
        assert (line.setback, line.why, line.to) == ("asked", "rejected: too short", "queued")
        again = await claim(store)
        assert (again.task.id, again.task.attempt) == ("a", 1), "at its old place, before what came later"
        assert_sound(valkey_url, store)
        await land(store, again, "a.py")
        assert_sound(valkey_url, store)


async def test_what_needs_it_waits_again_unless_it_went_on_already(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(
            store,
            spec("a", priority=5),
            spec("landed", "a", priority=5),
            spec("held", "a", priority=4),
            spec("parked", "a", priority=3),
            spec("waits", "a", priority=2),
            spec("waits-for-two", "a", "waits", priority=1),
        )
        await land(store, await claim(store))
        await land(store, await claim(store))
        held = await claim(store)
        await store.queue.park(await claim(store), why="a cap")
        assert await store.queue.reject(A, why="no") == ""
        assert await states(store) == {
            "a": _S.QUEUED,
            "landed": _S.DONE,
            "held": _S.RUNNING,
            "parked": _S.PARKED,
            "waits": _S.BLOCKED,
            "waits-for-two": _S.BLOCKED,
        }
        assert_sound(valkey_url, store)
        await store.queue.requeue(held, why="stopped", counts_attempt=False)
        assert await store.queue.retry(TaskId("parked"))
        after = await states(store)
        assert (after["held"], after["parked"]) == (_S.BLOCKED, _S.BLOCKED), "nothing is under them now"
        assert_sound(valkey_url, store)
        await land(store, await claim(store))
        after = await states(store)
        assert {after[name] for name in ("held", "parked", "waits")} == {_S.QUEUED}
        assert after["waits-for-two"] is _S.BLOCKED
        assert_sound(valkey_url, store)


@pytest.mark.parametrize("rule", [OnNeedFailed.FAIL, OnNeedFailed.RUN])
async def test_what_waited_for_a_time_waits_only_for_its_need_then(
    valkey_url: str, project_id: ProjectId, rule: OnNeedFailed
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), replace(spec("b", "a"), on_need_failed=rule))
        a = await claim(store)
        if rule is OnNeedFailed.RUN:
            await store.queue.fail(a, why="red")
        else:
            await land(store, a)
        await store.queue.requeue(await claim(store), why="crowded", counts_attempt=False, delay_ms=60_000)
        assert (await task_of(store, "b")).due_at_ms is not None
        if rule is OnNeedFailed.RUN:
            assert await store.queue.retry(A)
        else:
            assert await store.queue.reject(A, why="no") == ""
        await land(store, await claim(store))
        b = await task_of(store, "b")
        assert (b.state, b.due_at_ms) == (_S.QUEUED, None)
        assert_sound(valkey_url, store)
        assert (await claim(store)).task.id == "b"


async def test_both_of_a_chain_can_be_rejected_from_the_top_and_from_below(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        for first, second in (("a", "b"), ("b", "a")):
            await land(store, await claim(store))
            await land(store, await claim(store))
            assert await store.queue.reject(TaskId(first), why="no") == ""
            assert await store.queue.reject(TaskId(second), why="no") == ""
            assert await states(store) == {"a": _S.QUEUED, "b": _S.BLOCKED}
            assert_sound(valkey_url, store)


async def test_what_cannot_come_back_says_why(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        assert await store.queue.reject(A, why="no") == "it is queued"
        assert await store.queue.reject(TaskId("x"), why="no") == "there is no such task"
        await land(store, await claim(store))
        await land(store, await claim(store))
        assert await store.queue.reject(A, why="no") == ""
        await store.queue.fail(await claim(store), why="red")
        why_not = await store.queue.reject(TaskId("b"), why="no")
        assert why_not == "it needs a, which has ended without a result"
        assert (await states(store))["b"] is _S.DONE
        assert_sound(valkey_url, store)


async def test_a_plan_that_was_loaded_meanwhile_is_looked_at_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await land(store, await claim(store))
        seen = await store.queue.all()
        await load(store, spec("other"), spec("new", "a", "other"))
        queue = store.queue
        assert await reject(queue.scripts, queue.spreader, seen, A, "no") is None
        assert (await states(store))["a"] is _S.DONE
        assert await queue.reject(A, why="no") == ""
        assert_sound(valkey_url, store)


async def test_more_dependents_than_one_script_may_tell_are_refused(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        *_, one = await store.queue.all()
        many = [one] * (MOST_DEPENDENTS + 1)
        held = await task_of(store, "a")
        with pytest.raises(StoreError, match="more than 5000 tasks need a"):
            await reject(store.queue.scripts, store.queue.spreader, [replace(held), *many], A, "no")


async def test_what_was_loaded_after_its_need_was_done_waits_for_it_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await land(store, await claim(store))
        await load(store, spec("b", "a"))
        assert (await task_of(store, "b")).spec.needs == ("a",)
        assert await store.queue.reject(TaskId("a"), why="no") == ""
        assert await states(store) == {"a": _S.QUEUED, "b": _S.BLOCKED}
        await land(store, await claim(store))
        assert (await claim(store)).task.id == "b"


async def _held_while_its_need_is_done_again(store: Store, *dependents: TaskSpec) -> tuple[Claim, Claim]:
    """Load "a" and what needs it; return the claims of "b", which needs it, and of "a", rejected since."""
    await load(store, spec("a"), *dependents)
    await land(store, await claim(store))
    b = await claim(store)
    assert await store.queue.reject(A, why="no") == ""
    return b, await claim(store)


async def test_what_comes_back_when_its_need_has_ended_since_does_not_wait_for_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        b, a = await _held_while_its_need_is_done_again(store, spec("b", "a"), spec("c", "b"))
        await store.queue.fail(a, why="red")
        assert (await states(store))["b"] is _S.RUNNING
        await store.queue.requeue(b, why="stopped", counts_attempt=False, delay_ms=5)
        assert await states(store) == {"a": _S.FAILED, "b": _S.FAILED, "c": _S.FAILED}
        assert [(await task_of(store, name)).why for name in "bc"] == [
            "needs a, which failed",
            "needs b, which failed",
        ]
        assert_sound(valkey_url, store)
        assert await store.queue.retry(A)
        assert await states(store) == {"a": _S.QUEUED, "b": _S.BLOCKED, "c": _S.BLOCKED}
        assert_sound(valkey_url, store)


async def test_what_comes_back_after_its_need_ended_goes_by_its_own_rule(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        rules = {"b": OnNeedFailed.SKIP, "c": OnNeedFailed.RUN}
        dependents = [replace(spec(name, "a"), on_need_failed=rule) for name, rule in rules.items()]
        _, a = await _held_while_its_need_is_done_again(store, *dependents)
        await store.queue.cancel(A, why="no")
        clock.time_ms = a.lease_deadline_ms + 1
        await store.queue.reap()
        assert await states(store) == {"a": _S.CANCELLED, "b": _S.CANCELLED, "c": _S.QUEUED}
        assert (await task_of(store, "b")).why == "skipped: needs a, which was cancelled"
        assert_sound(valkey_url, store)


async def test_what_nobody_wants_any_more_hears_that_its_need_has_ended(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        b, a = await _held_while_its_need_is_done_again(store, spec("b", "a"))
        await store.queue.fail(a, why="red")
        store.queue.dispatcher.hand_outs.gathered.give_back(b.task.id, b.token)
        async with asyncio.timeout(5):
            while (await states(store))["b"] is not _S.FAILED:
                pass
        assert_sound(valkey_url, store)
