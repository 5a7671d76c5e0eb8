"""Answers that are lost, or that come after those of later calls: what is believed in memory stays true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy, Trap, Way, fault_proxy, lost_answer
from msgspec import structs
from server_kit import private_folder
from store_kit import ANYBODY, NIGHT_MS, HandClock, claim, load, open_store, spec, start_claim, task_of

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import OnNeedFailed
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.domain.worker import Role, worker_of
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Caps, Store
from agentcoord.store.scripts import load_sources

BACKEND = worker_of("Backend", Role.BACKEND_ENGINEER, ("backend",))


@pytest.fixture
def folder() -> Iterator[Path]:
    with private_folder() as folder:
        yield folder


@pytest.fixture
async def proxied(
    valkey_url: str, project_id: ProjectId, folder: Path
) -> AsyncIterator[tuple[Store, FaultProxy]]:
    """A store whose server knows the scripts, and what can lose its answers."""
    async with (
        fault_proxy(valkey_url, folder) as (url, proxy),
        open_store(url, project_id, HandClock()) as store,
    ):
        for source in (await load_sources()).values():
            await store.client.script_load(source)
        yield store, proxy


async def test_a_retry_whose_answer_is_lost_wakes_who_waits(proxied: tuple[Store, FaultProxy]) -> None:
    store, proxy = proxied
    await load(store, spec("a"))
    await store.queue.park(await claim(store), why="a question")
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        waiting = await start_claim(store, group, ANYBODY)
        proxy.trap = lost_answer()
        with pytest.raises(StoreUnavailableError):
            await store.queue.retry(TaskId("a"))
        assert (await waiting).task.id == "a"


async def test_an_end_whose_answer_is_lost_wakes_who_waits_for_what_runs_then(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    after = structs.replace(spec("b", "a"), on_need_failed=OnNeedFailed.RUN)
    await load(store, spec("a", tags=["testing"]), after)
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        waiting = await start_claim(store, group, BACKEND)
        proxy.trap = lost_answer()
        with pytest.raises(StoreUnavailableError):
            await store.queue.cancel(TaskId("a"), why="for a test")
        assert (await waiting).task.id == "b"


async def test_who_asks_for_another_try_and_goes_away_leaves_nobody_waiting(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    await load(store, spec("a"))
    await store.queue.park(await claim(store), why="a question")
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        waiting = await start_claim(store, group, ANYBODY)
        proxy.trap = trap = Trap(Fault.DELAY, Way.ANSWER)
        asking = group.create_task(store.queue.retry(TaskId("a")))
        await trap.sprung.wait()
        asking.cancel()
        trap.let_go.set()
        assert (await waiting).task.id == "a"


async def test_what_ran_long_after_it_was_given_up_is_handed_out_at_the_next_reaping(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    await load(store, spec("a"))
    await store.queue.park(await claim(store), why="a question")
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        waiting = await start_claim(store, group, ANYBODY)
        proxy.trap = trap = Trap(Fault.DELAY, Way.QUESTION)
        asking = group.create_task(store.queue.retry(TaskId("a")))
        await trap.sprung.wait()
        asking.cancel()
        await asyncio.wait({asking})
        await task_of(store, "a")  # By then those who wait have been looked after, in vain.
        trap.let_go.set()
        while (await task_of(store, "a")).state is TaskState.PARKED:
            pass
        await store.queue.reap()
        assert (await waiting).task.id == "a"


async def test_money_booked_by_a_settlement_whose_answer_is_lost_is_known_when_it_is_repeated(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    await _reserve(store, "a")
    proxy.trap = lost_answer()
    with pytest.raises(StoreUnavailableError):
        await _settle(store, "a")
    await _settle(store, "a")
    assert set(store.ledger.mirror.spent.values()) == {7}
    assert set(store.ledger.mirror.tokens_spent.values()) == {15}
    assert len(store.ledger.mirror.spent) == 3


async def test_money_booked_for_a_call_that_nobody_settles_is_known(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    await _reserve(store, "a")
    await store.ledger.mark_started("a")
    proxy.trap = lost_answer()
    with pytest.raises(StoreUnavailableError):
        await store.ledger.end(["a"])
    await store.ledger.end(["a"])
    assert (store.ledger.mirror.open, set(store.ledger.mirror.spent.values())) == ({}, {10})


async def test_a_reservation_whose_answer_is_lost_is_known_until_it_is_closed(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    mirror = store.ledger.mirror
    for close in (
        store.ledger.release,
        lambda name: store.ledger.end([name]),
        lambda name: _settle(store, name),
    ):
        proxy.trap = lost_answer()
        with pytest.raises(StoreUnavailableError):
            await _reserve(store, "a")
        assert list(await store.ledger.open_reservations()) == list(mirror.unclosed) == ["a"]
        assert not mirror.open, "a server that has lost its memory decides anew"
        await close("a")
        assert not mirror.unclosed
    proxy.trap = lost_answer()
    with pytest.raises(StoreUnavailableError):
        await _reserve(store, "b")
    await _reserve(store, "b")
    assert (list(mirror.open), mirror.doubtful) == (["b"], {})


async def _reserve(store: Store, name: str) -> None:
    amount = UsdMicros(10)
    await store.ledger.reserve(name, run="r", task=TaskId("t"), day="d", amount=amount, caps=Caps())


async def _settle(store: Store, name: str) -> None:
    await store.ledger.settle(name, actual=UsdMicros(7), usage=Usage(1, 2, 3, 4, 5), model="m")


async def test_the_last_word_about_a_pause_is_believed_whichever_answer_comes_first(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    proxy.trap = trap = Trap(Fault.DELAY, Way.ANSWER)
    async with asyncio.TaskGroup() as group, asyncio.timeout(5):
        pausing = group.create_task(store.queue.set_paused(True))
        await trap.sprung.wait()
        resuming = group.create_task(store.queue.set_paused(False))
        await asyncio.wait({resuming}, timeout=0.2)
        trap.let_go.set()
        await asyncio.wait({pausing, resuming})
    assert not store.queue.paused
    assert await store.get_setting("paused") == "0"


async def test_a_pause_whose_answer_is_lost_is_known_after_the_next_reaping(
    proxied: tuple[Store, FaultProxy],
) -> None:
    store, proxy = proxied
    for paused in (True, False):
        proxy.trap = lost_answer()
        with pytest.raises(StoreUnavailableError):
            await store.queue.set_paused(paused)
        await store.queue.reap()
        assert store.queue.paused is paused


def _events(count: int) -> list[Event]:
    return [Event(EventKind.TASK_TURN, NIGHT_MS + i, task="t", worker="w") for i in range(count)]


async def test_a_number_that_was_told_is_given_to_no_other_event_after_a_fail_over(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        kept = [store.keys.of("events"), store.keys.of("events:last")]
        first = await store.events.append(_events(3))
        for key in kept:
            await store.client.copy(key, f"{key}:replica")
        told = await store.events.append(_events(2))
        for key in kept:  # The replica had not heard of these two when it took over.
            await store.client.rename(f"{key}:replica", key)
        epoch = store.events.epoch
        after = await store.events.append(_events(2)) + await store.events.append(_events(1))
        assert [event.seq for event in (*told, *after)] == [4, 5, 6, 7, 8]
        assert store.events.epoch == epoch
        assert await store.events.read(after=0) == [*first, *after]
        assert await store.events.read(after=told[-1].seq) == after
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert [event.seq for event in await store.events.append(_events(1))] == [9]
