"""The hub: numbered once, in order, to everybody, whatever the store and the readers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemon_fakes import HandClock, MemoryLog

from agentcoord.daemon.event_hub import QUEUE_EVENTS, EventHub
from agentcoord.domain.events import EventKind


@asynccontextmanager
async def running(log: MemoryLog) -> AsyncIterator[EventHub]:
    hub = EventHub(log, HandClock())  # type: ignore[arg-type]  # a fake of the same contract
    await hub.load_recent()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hub.run())
        yield hub
        task.cancel()


async def test_events_come_numbered_and_in_order_to_every_subscriber() -> None:
    async with running(MemoryLog()) as hub:
        with hub.subscribed() as one, hub.subscribed() as other:
            for number in range(1_200):
                hub.emit(EventKind.ERROR, number=number)
            await hub.flushed()
            taken = one.take_all()
            assert [event.seq for event in taken] == list(range(1, 1_201))
            assert [event.data["number"] for event in taken] == list(range(1_200))
            assert other.take_all() == taken
            assert one.take_all() == []


async def test_events_wait_for_a_store_that_is_away_and_keep_their_order() -> None:
    log = MemoryLog()
    async with running(log) as hub:
        log.away = True
        hub.emit(EventKind.ERROR, number=1)
        for _ in range(10):
            await asyncio.sleep(0)
        hub.emit(EventKind.ERROR, number=2)
        log.away = False
        await hub.flushed()
    assert [event.data["number"] for event in log.stored] == [1, 2]


async def test_what_is_told_while_others_are_stored_is_flushed_too() -> None:
    log = MemoryLog()
    async with running(log) as hub:
        hub.emit(EventKind.ERROR, number=1)
        await asyncio.sleep(0)
        hub.emit(EventKind.ERROR, number=2)
        await hub.flushed()
        assert len(log.stored) == 2


async def test_a_reader_that_never_takes_is_bounded_and_marked() -> None:
    async with running(MemoryLog()) as hub:
        with hub.subscribed() as slow:
            for _ in range(QUEUE_EVENTS + 10):
                hub.emit(EventKind.ERROR)
            await hub.flushed()
            assert slow.lagged
            assert len(slow.queue) == 10


async def test_a_log_that_begins_anew_marks_everybody_and_forgets_the_old_numbers() -> None:
    log = MemoryLog()
    async with running(log) as hub:
        for _ in range(5):
            hub.emit(EventKind.ERROR)
        await hub.flushed()
        with hub.subscribed() as reader:
            log.lose_everything()
            hub.emit(EventKind.ERROR, number="new")
            await hub.flushed()
            assert reader.lagged
            assert (hub.epoch, hub.seq) == ("second", 1)
            assert [event.data for event in hub.recent] == [{"number": "new"}]
