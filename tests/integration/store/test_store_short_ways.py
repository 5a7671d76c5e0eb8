"""What a claim and a finish do not look up, and when they must."""

from __future__ import annotations

import asyncio

from store_kit import ANYBODY, HandClock, claim, load, open_store, spec, states

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.store import Store

_S = TaskState


async def _stored_body(store: Store, task: str) -> str:
    return str(await store.client.get(store.keys.body(task)))


async def test_a_first_claim_is_told_when_it_was_queued_and_what_it_needs_by_the_body_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with open_store(valkey_url, project_id, clock) as store:
        await load(store, spec("a"), spec("b", "a"))
        queued_at_ms = clock.now_ms()
        first = await claim(store)
        clock.time_ms += 5_000
        await store.queue.complete(first, (), current=_S.RUNNING)
        of_b = store.keys.task("b")
        await store.client.hset(of_b, items=["needs", "1", "queued_at", "1"])
        got = await claim(store)
        assert (got.task.spec.needs, got.task.queued_at_ms) == (("a",), queued_at_ms)
        await store.client.hset(of_b, items=["needs", "a", "queued_at", str(queued_at_ms)])
        assert got.task == await store.queue.get(TaskId("b"))


async def test_a_task_that_was_put_back_or_stored_without_the_line_is_looked_up(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        whole = await _stored_body(store, "a")
        held = await claim(store)
        await store.queue.requeue(held, why="red", counts_attempt=True)
        bare = await _stored_body(store, "a")
        assert whole.partition("\n")[2] == bare
        again = await claim(store)
        assert (again.task.attempt, again.task.setbacks) == (2, {"unproven": 1})
        await store.queue.complete(again, (), current=_S.RUNNING)

        await load(store, spec("b"))
        await store.client.set(store.keys.body("b"), (await _stored_body(store, "b")).partition("\n")[2])
        assert (await claim(store)).task == await store.queue.get(TaskId("b"))


async def test_one_claim_finished_twice_in_one_call_is_done_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        held = await claim(store)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(store.queue.complete(held, (), current=_S.RUNNING))
        assert await states(store) == {"a": _S.DONE, "b": _S.QUEUED}
        counts = await store.queue.counts()
        assert {state: count for state, count in counts.items() if count} == {_S.DONE: 1, _S.QUEUED: 1}


async def test_a_finish_looks_the_state_up_where_no_move_is_noted(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        held = await claim(store, ANYBODY)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING)
        await store.client.delete(store.keys.of("held"))  # As an earlier version left it.
        await store.queue.complete(held, (), current=_S.CHECKING)
        assert await states(store) == {"a": _S.DONE}


async def test_what_was_noted_of_a_move_goes_with_the_claim(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        held = await claim(store)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING)
        await store.queue.requeue(held, why="", counts_attempt=False)
        assert not await store.client.exists(store.keys.of("held"))
        again = await claim(store)
        await store.queue.move(again, _S.RUNNING, _S.CHECKING)
        await store.queue.complete(again, (), current=_S.CHECKING)
        assert not await store.client.exists(store.keys.of("held"))
