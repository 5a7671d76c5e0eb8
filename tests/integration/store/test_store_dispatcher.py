"""The dispatcher: one script call for all of the moment, none when idle, and answers that get lost."""

from __future__ import annotations

import asyncio

import pytest
from fault_proxy import fault_proxy, lost_answer
from store_kit import (
    ANYBODY,
    HandClock,
    claim,
    evalsha_calls,
    land,
    landed,
    load,
    open_store,
    spec,
    states,
    task_of,
)

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.errors import IllegalMoveError, LeaseLostError, StoreUnavailableError
from agentcoord.store import Store

_S = TaskState


async def test_all_that_waits_at_one_moment_is_settled_in_one_call(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("first", priority=5), *(spec(f"t{i}") for i in range(60)))
        await claim(store)  # So that the server knows the script.
        before = await evalsha_calls(store)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(store.queue.claim(ANYBODY)) for _ in range(60)]
        assert await evalsha_calls(store) == before + 1
        assert {(await w).task.id for w in waiting} == {f"t{i}" for i in range(60)}


async def test_finished_tasks_and_claims_share_a_call_and_dependents_go_out_in_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"), spec("above", "a", "b"))
        held = [await claim(store), await claim(store)]
        for one in held:
            await store.queue.move(one, _S.RUNNING, _S.CHECKING)
            await store.queue.move(one, _S.CHECKING, _S.LANDING)
        before = await evalsha_calls(store)
        async with asyncio.TaskGroup() as group:
            for one in held:
                group.create_task(store.queue.complete(one, [landed("x")]))
            waiting = group.create_task(store.queue.claim(ANYBODY))
        assert (await waiting).task.id == "above"
        assert await evalsha_calls(store) == before + 1


async def test_workers_that_wait_for_nothing_cost_no_calls(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        await load(store, spec("t"))
        await claim(store)
        asked_once = await evalsha_calls(store) + 1
        waiting = [group.create_task(store.queue.claim(ANYBODY)) for _ in range(6)]
        while await evalsha_calls(store) < asked_once:
            pass
        for _ in range(20):
            await store.ping()
        assert await evalsha_calls(store) == asked_once
        for one in waiting:
            one.cancel()


async def test_a_server_that_forgot_its_scripts_is_told_again(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"))
        held = await claim(store)
        await store.client.script_flush()
        await land(store, held)
        await store.client.script_flush()
        assert (await claim(store)).task.id == "b"
        await store.client.script_flush()
        assert await store.locks.release_all((await task_of(store, "a")).id) == ()
        await store.client.script_flush()
        await load(store, spec("c"))
        assert (await claim(store)).task.id == "c"


@pytest.mark.one_server
async def test_a_claim_whose_answer_was_lost_is_answered_again_not_twice(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project_id, HandClock()) as store,
    ):
        await load(store, spec("a"), spec("b"))
        await claim(store)
        proxy.trap = trap = lost_answer()
        held = await claim(store)
        assert trap.sprung.is_set()
        assert (held.task.id, held.task.attempt) == ("b", 1)
        assert held.task == await task_of(store, "b")
        await store.queue.verify(held)
        assert int(await store.client.get(store.keys.of("fence")) or 0) == held.token


@pytest.mark.one_server
async def test_a_completion_whose_answer_was_lost_is_done_once(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project_id, HandClock()) as store,
    ):
        await load(store, spec("a"), spec("b", "a"))
        held = await claim(store)
        await store.queue.move(held, _S.RUNNING, _S.CHECKING)
        await store.queue.move(held, _S.CHECKING, _S.LANDING)
        proxy.trap = trap = lost_answer()
        await store.queue.complete(held, [landed("x")])
        assert trap.sprung.is_set()
        assert await states(store) == {"a": _S.DONE, "b": _S.QUEUED}
        assert (await task_of(store, "b")).open_needs == 0


@pytest.mark.one_server
async def test_a_server_that_stays_away_is_told_to_who_waits_and_loses_no_task(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project_id, HandClock()) as store,
    ):
        await load(store, spec("a"), spec("b"))
        held = await claim(store)
        proxy.trap = trap = lost_answer()  # This claim is granted, but nobody hears of it;
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_unavailable(store))
            await trap.sprung.wait()
            proxy.away = True  # and the server is gone when it is asked again.
            await waiting
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        proxy.away = False
        again = await claim(store)
        assert (again.task.id, again.task.attempt) == ("b", 1)
        await store.queue.verify(held)
        await store.queue.verify(again)


async def _unavailable(store: Store) -> None:
    with pytest.raises(StoreUnavailableError):
        await store.queue.claim(ANYBODY)


@pytest.mark.one_server
async def test_a_connection_that_the_server_cut_while_idle_is_replaced(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with (
        open_store(valkey_url, project_id, HandClock()) as store,
        open_store(valkey_url, project_id, HandClock()) as other,
    ):
        await load(store, spec("a"))
        await other.client.client_kill_filter(_type="normal", skipme=True)
        assert (await claim(store)).task.id == "a"
        await other.client.client_kill_filter(_type="normal", skipme=True)
        await load(store, spec("b"))
        assert (await claim(store)).task.id == "b"


async def test_a_store_that_closes_tells_who_waits(valkey_url: str, project_id: ProjectId) -> None:
    async with asyncio.TaskGroup() as group:
        async with open_store(valkey_url, project_id, HandClock()) as store:
            waiting = group.create_task(_unavailable(store))
            await store.ping()
        await waiting
    with pytest.raises(StoreUnavailableError, match="closing"):
        await store.queue.claim(ANYBODY)


async def test_what_was_handed_in_before_closing_is_still_booked(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = HandClock()
    async with asyncio.TaskGroup() as group:
        async with open_store(valkey_url, project_id, clock) as store:
            await load(store, spec("a"))
            held = await claim(store)
            await store.queue.move(held, _S.RUNNING, _S.CHECKING)
            await store.queue.move(held, _S.CHECKING, _S.LANDING)
            completing = group.create_task(store.queue.complete(held, []))
            await asyncio.sleep(0)
        await completing
    async with open_store(valkey_url, project_id, clock) as store:
        assert await states(store) == {"a": _S.DONE}


async def test_an_error_inside_the_store_leaves_it_as_it_was_raised(
    valkey_url: str, project_id: ProjectId
) -> None:
    with pytest.raises(KeyError):
        async with open_store(valkey_url, project_id, HandClock()):
            raise KeyError("mine")


async def test_a_cancelled_owner_is_cancelled_not_grouped(valkey_url: str, project_id: ProjectId) -> None:
    opened = asyncio.Event()

    async def own() -> None:
        async with open_store(valkey_url, project_id, HandClock()):
            opened.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        owner = group.create_task(own())
        await opened.wait()
        owner.cancel()
    assert owner.cancelled()


async def test_finishing_and_wanting_the_next_is_one_call(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        held = await claim(store)
        before = await evalsha_calls(store)
        told: list[bool] = []
        following = await store.queue.complete_and_claim(
            held, [landed("x")], ANYBODY, current=_S.RUNNING, on_completed=lambda: told.append(True)
        )
        assert (following.task.id, told) == ("b", [True])
        assert await evalsha_calls(store) == before + 1
        assert await states(store) == {"a": _S.DONE, "b": _S.RUNNING}


async def test_moves_of_one_moment_are_one_call(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"))
        held = [await claim(store), await claim(store)]
        before = await evalsha_calls(store)
        async with asyncio.TaskGroup() as group:
            for one in held:
                group.create_task(store.queue.move(one, _S.RUNNING, _S.CHECKING, why="to be proved"))
        assert await evalsha_calls(store) == before + 1
        assert await states(store) == {"a": _S.CHECKING, "b": _S.CHECKING}
        assert (await task_of(store, "b")).why == "to be proved"


async def test_a_refused_finish_leaves_no_task_claimed(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b"))
        held = await claim(store)
        await store.queue.cancel(held.task.id, why="no")
        with pytest.raises(LeaseLostError):
            await store.queue.complete_and_claim(held, [], ANYBODY, current=_S.RUNNING)
        again = await claim(store)
        assert (again.task.id, again.task.attempt) == ("b", 1)


async def test_a_finish_that_is_cancelled_while_its_next_task_comes_gives_that_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        for spins in range(0, 40, 2):
            await load(store, spec(f"a{spins}", priority=5), spec("next", priority=1))
            held = await claim(store)
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(
                    store.queue.complete_and_claim(held, [], ANYBODY, current=_S.RUNNING)
                )
                for _ in range(spins):
                    await asyncio.sleep(0)
                asking.cancel()
            following = await claim(store) if asking.cancelled() else asking.result()
            assert following.task.id in {"next", held.task.id}
            assert following.task.attempt <= 1 + (following.task.id == held.task.id)
            await store.queue.requeue(following, why="", counts_attempt=False)
            if following.task.id == held.task.id:
                await store.queue.cancel(held.task.id, why="")


@pytest.mark.one_server
async def test_a_move_whose_answer_was_lost_is_made_once(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project_id, HandClock()) as store,
    ):
        await load(store, spec("a"))
        held = await claim(store)
        proxy.trap = trap = lost_answer()
        await store.queue.move(held, _S.RUNNING, _S.CHECKING)
        assert trap.sprung.is_set()
        assert await states(store) == {"a": _S.CHECKING}


@pytest.mark.parametrize("current", [_S.QUEUED, _S.DONE, _S.PARKED])
async def test_only_a_held_task_passes_through_to_done(
    valkey_url: str, project_id: ProjectId, current: TaskState
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        held = await claim(store)
        with pytest.raises(IllegalMoveError):
            await store.queue.complete(held, [], current=current)
        with pytest.raises(LeaseLostError):
            await store.queue.complete(held, [], current=_S.CHECKING)
