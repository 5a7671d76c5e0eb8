"""A task that is added while somebody waits for such a one: one script, all as by loading and claiming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from fault_proxy import Fault, FaultProxy, Trap, Way, fault_proxy
from hiredis import pack_command
from msgspec.structs import replace
from redis.asyncio import RedisCluster
from store_kit import (
    ANYBODY,
    HandClock,
    claim,
    evalsha_calls,
    in_the_end,
    load,
    open_store,
    spec,
    start_claim,
    states,
    task_of,
)

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed, TaskSpec
from agentcoord.domain.worker import Role, worker_of
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Store
from agentcoord.store.dispatch_call import Ahead, Call, OneTask, Waiter
from agentcoord.store.handing_over import HandOver
from agentcoord.store.scripts import ScriptName

_S = TaskState
PAINTER = worker_of("Painter", Role.BACKEND_ENGINEER, ("paint",))


async def know_usual_route(store: Store) -> None:
    """Have a task of the usual route done, by which the dispatcher hears of it."""
    await load(store, spec("first"))
    await store.queue.complete(await claim(store), (), current=_S.RUNNING)


async def waiting_for_more(store: Store, group: asyncio.TaskGroup) -> asyncio.Task[Any]:
    """Have somebody wait who has had a task of the usual route."""
    await know_usual_route(store)
    return await start_claim(store, group, ANYBODY)


def rousing(store: Store) -> int:
    """How many calls, that nobody waits for, go before one that hands over."""
    return 0 if isinstance(cast("object", store.client), RedisCluster) else 1


@asynccontextmanager
async def waiting_behind_proxy(
    valkey_url: str, project: ProjectId, folder: Path
) -> AsyncIterator[tuple[Store, FaultProxy, asyncio.Task[Any]]]:
    """The same, on a connection that the test may cut."""
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project, HandClock()) as store,
        asyncio.TaskGroup() as group,
    ):
        yield store, proxy, await waiting_for_more(store, group)


async def everything(store: Store) -> dict[str, Any]:
    """All that the server keeps of this project, but the memory of calls and the name of the log."""
    client = store.client
    found: dict[str, Any] = {}
    for key in sorted(await client.keys(f"{store.keys.prefix}*")):
        name = str(key).removeprefix(store.keys.prefix)
        kind = await client.type(key)
        if name.startswith("reply:") or name == "epoch":
            continue
        if kind == "hash":
            found[name] = await client.hgetall(key)
        elif kind == "zset":
            found[name] = await client.zrange(key, 0, -1, withscores=True)
        elif kind == "set":
            found[name] = sorted(await client.smembers(key))
        else:
            found[name] = await client.get(key)
    return found


@pytest.mark.one_server
async def test_it_takes_one_script_and_leaves_what_loading_and_claiming_leave(
    valkey_url: str, project_id: ProjectId
) -> None:
    left: list[dict[str, Any]] = []
    for at_once in (True, False):
        project = ProjectId(f"{project_id}-{at_once}")
        async with open_store(valkey_url, project, HandClock()) as store, asyncio.TaskGroup() as group:
            waiting = await waiting_for_more(store, group)
            if not at_once:
                waiting.cancel()
                await asyncio.wait({waiting})
            before = await evalsha_calls(store)
            await load(store, spec("next", priority=5, title="Ünlaut"))
            held = await (waiting if at_once else store.queue.claim(ANYBODY))
            assert await evalsha_calls(store) - before == (rousing(store) + 1 if at_once else 2)
            assert held.task == await task_of(store, "next")
            await store.queue.verify(held)
            left.append(await everything(store))
            memories = await store.client.keys(store.keys.prefix + "reply:*")
            assert memories
            assert all([await store.client.ttl(memory) > 0 for memory in memories])
    assert left[0] == left[1]


async def _one_that_is_paused_by_another(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    await other.queue.set_paused(True)
    return spec("next"), []


async def _one_behind_what_another_loaded(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    await load(other, spec("before"))
    return spec("next"), ["before"]


async def _one_more_urgent_than_what_another_loaded(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    await load(other, spec("before"))
    return spec("next", priority=5), ["next"]


async def _one_beside_declared_writes(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    await load(other, spec("writer", tags=["nobody"], writes=["a.py"]))
    return spec("next"), ["next"]


async def _one_that_declares_writes(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return spec("next", writes=["a.py"]), ["next"]


async def _one_that_is_there(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return spec("first"), []


async def _one_that_needs_another(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return spec("next", "first"), ["next"]


async def _one_with_a_rule(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return replace(spec("next"), on_need_failed=OnNeedFailed.RUN), ["next"]


async def _one_of_a_new_route(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return spec("next", tags=["backend", "docs"]), ["next"]


async def _one_when_another_added_a_route(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    await load(other, spec("before", tags=["docs"]))
    return spec("next"), ["before"]


async def _one_that_nobody_covers(store: Store, other: Store) -> tuple[TaskSpec, list[str]]:
    return spec("next", tags=["nobody"]), []


@pytest.mark.parametrize(
    "case",
    [
        _one_that_is_paused_by_another,
        _one_behind_what_another_loaded,
        _one_more_urgent_than_what_another_loaded,
        _one_beside_declared_writes,
        _one_that_declares_writes,
        _one_that_is_there,
        _one_that_needs_another,
        _one_with_a_rule,
        _one_of_a_new_route,
        _one_when_another_added_a_route,
        _one_that_nobody_covers,
    ],
)
async def test_where_anything_else_might_be_done_both_scripts_run(
    valkey_url: str, project_id: ProjectId, case: Any
) -> None:
    async with (
        open_store(valkey_url, project_id, HandClock()) as store,
        open_store(valkey_url, project_id, HandClock()) as other,
        asyncio.TaskGroup() as group,
    ):
        waiting = await waiting_for_more(store, group)
        task, handed_out = await case(store, other)
        outcome = await store.queue.load([task])
        if task.id == "first":
            assert outcome.unchanged == ("first",)
            assert await states(store) == {"first": _S.DONE}
        else:
            assert outcome.added == (task.id,)
        async with asyncio.timeout(5):
            for name in handed_out:
                assert (await waiting).task.id == name
        await store.ping()
        running = [name for name, state in (await states(store)).items() if state is _S.RUNNING]
        assert running == handed_out
        waiting.cancel()


@pytest.mark.parametrize("hears_by_an_event", [False, True])
async def test_who_hears_of_the_routes_while_another_pauses_hands_nothing_over(
    valkey_url: str, project_id: ProjectId, hears_by_an_event: bool
) -> None:
    async with (
        open_store(valkey_url, project_id, HandClock()) as store,
        open_store(valkey_url, project_id, HandClock()) as other,
        asyncio.TaskGroup() as group,
    ):
        waiting = await waiting_for_more(store, group)
        await other.queue.set_paused(True)
        if hears_by_an_event:
            await store.events.append([Event(EventKind.CLEANED, 1)])
        else:
            waiting.cancel()
            waiting = await start_claim(store, group, ANYBODY)
        await load(store, spec("next"))
        await store.ping()
        assert await states(store) == {"first": _S.DONE, "next": _S.QUEUED}
        await other.queue.set_paused(False)
        store.queue.dispatcher.wake()
        assert (await waiting).task.id == "next"
        waiting = await start_claim(store, group, ANYBODY)
        before = await evalsha_calls(store)
        await load(store, spec("after"))
        assert (await waiting).task.id == "after"
        assert await evalsha_calls(store) - before == rousing(store) + 1


async def test_of_those_who_wait_the_first_who_covers_it_takes_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        await load(store, spec("first"), spec("colour", tags=["paint"]))
        await claim(store)
        await claim(store, PAINTER)
        painter = await start_claim(store, group, PAINTER)
        anybody = [await start_claim(store, group, ANYBODY) for _ in range(2)]
        before = await evalsha_calls(store)
        await load(store, spec("next"))
        assert (await anybody[0]).task.id == "next"
        await load(store, spec("wall", tags=["paint"]))
        assert (await painter).task.id == "wall"
        assert await evalsha_calls(store) == before + 2 * (rousing(store) + 1)
        assert not anybody[1].done()
        await load(store, spec("last"))
        assert (await anybody[1]).task.id == "last"


async def test_what_is_loaded_behind_one_that_was_not_handed_over_finds_it(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with (
        open_store(valkey_url, project_id, HandClock()) as store,
        open_store(valkey_url, project_id, HandClock()) as other,
        asyncio.TaskGroup() as group,
    ):
        waiting = await waiting_for_more(store, group)
        await load(other, spec("before"))
        loads = [group.create_task(load(store, one)) for one in (spec("a"), spec("b", "a"), spec("c", "b"))]
        await asyncio.wait(loads)
        assert (await waiting).task.id == "before"
        assert [(await claim(store)).task.id] == ["a"]
        assert {(await task_of(store, name)).state for name in "bc"} == {_S.BLOCKED}


async def test_whoever_waits_no_longer_gives_it_back(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        waiting = await waiting_for_more(store, group)
        loading = group.create_task(load(store, spec("next")))
        await asyncio.sleep(0)  # It is on its way.
        waiting.cancel()
        await loading
        held = await claim(store)
        assert (held.task.id, held.task.attempt) == ("next", 1)


async def test_a_server_that_forgot_its_scripts_hands_it_over_when_it_was_told(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
        waiting = await waiting_for_more(store, group)
        await store.client.script_flush()
        assert (await store.queue.load([spec("next")])).added == ("next",)
        assert (await waiting).task.id == "next"


@pytest.mark.one_server
async def test_rousing_runs_the_script_which_changes_nothing_and_nobody_hears_its_answer(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with waiting_behind_proxy(valkey_url, project_id, folder) as (store, proxy, waiting):
        before, calls, answered = (
            await everything(store),
            await evalsha_calls(store),
            proxy.passed[Way.ANSWER],
        )
        proxy.trap = trap = Trap(Fault.DELAY, Way.ANSWER)
        store.queue.dispatcher.rouse()
        async with asyncio.timeout(5):
            await trap.sprung.wait()
        assert proxy.passed[Way.ANSWER] == answered
        trap.let_go.set()
        assert await everything(store) == before
        assert await evalsha_calls(store) == calls + rousing(store)
        store.queue.dispatcher.rouse()
        store.queue.dispatcher.rouse()
        await load(store, spec("next"))
        assert (await waiting).task.id == "next"


@pytest.mark.one_server
async def test_a_lost_answer_is_told_to_who_loaded_and_the_task_is_handed_out_once(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with waiting_behind_proxy(valkey_url, project_id, folder) as (store, proxy, waiting):
        proxy.trap = trap = Trap(Fault.CUT, Way.ANSWER, len(b"*0\r\n") + 1)
        with pytest.raises(StoreUnavailableError):
            await load(store, spec("next"))
        assert trap.sprung.is_set()
        held = await waiting
        assert (held.task.id, held.task.attempt) == ("next", 1)
        assert held.task == await task_of(store, "next")
        await store.queue.verify(held)
        assert int(await store.client.get(store.keys.of("fence")) or 0) == held.token


@pytest.mark.one_server
async def test_a_lost_question_is_told_to_who_loaded_and_who_waits_goes_on_waiting(
    valkey_url: str, project_id: ProjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p")
    async with waiting_behind_proxy(valkey_url, project_id, folder) as (store, proxy, waiting):
        rousing = len(pack_command(cast("tuple[Any]", ("EVALSHA", "0" * 40, 1, store.keys.prefix))))
        proxy.trap = trap = Trap(Fault.CUT, Way.QUESTION, rousing + 1)
        with pytest.raises(StoreUnavailableError):
            await load(store, spec("next"))
        assert trap.sprung.is_set()
        assert await in_the_end(lambda: states(store)) == {"first": _S.DONE}
        await in_the_end(lambda: load(store, spec("next")))
        assert (await waiting).task.id == "next"


async def made_by_hand(store: Store) -> HandOver:
    """One as the dispatcher makes it, when it knows the usual route and no other."""
    await know_usual_route(store)
    loop = asyncio.get_running_loop()
    body = b'["next","","",3,["backend"],[],"",null]'

    def nothing() -> Sequence[str]:
        return ()

    call = Call(1_000, (), (), (), (Waiter(ANYBODY, loop.create_future()),), ())
    one = OneTask(spec("next"), 0, "backend", body)
    ahead = Ahead(ScriptName.LOAD, nothing, loop.create_future(), one)
    version = str(await store.client.get(store.keys.of("routes:version")))
    return HandOver(ahead, one, call, 0, "\nbackend", version)


async def test_one_that_arrives_after_the_repetition_of_its_call_does_nothing(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        dispatch, over = store.queue.dispatcher.hand_outs, await made_by_hand(store)
        repeated = dispatch.arguments_of(over.call, repeated=True)
        await store.queue.scripts.run(ScriptName.DISPATCH, *repeated)
        late = await store.queue.scripts.run(ScriptName.HAND_OVER, *dispatch.arguments_of_hand_over(over))
        assert late == []
        assert await states(store) == {"first": _S.DONE}


async def test_one_that_is_sent_again_knows_no_more_than_when_it_was_made(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        dispatch, over = store.queue.dispatcher.hand_outs, await made_by_hand(store)
        await load(store, spec("urgent", tags=["docs"]))
        assert (await claim(store)).task.id == "urgent"  # By which the dispatcher hears of the new route.
        await load(store, spec("urgent too", tags=["docs"]))
        again = await store.queue.scripts.run(ScriptName.HAND_OVER, *dispatch.arguments_of_hand_over(over))
        assert again == []
        await store.queue.scripts.run(ScriptName.HAND_OVER)  # Nor does rousing do anything.
        assert (await claim(store)).task.id == "urgent too"
