"""The event log: numbers without holes, in the order of appending, across restarts."""

from __future__ import annotations

import asyncio

from store_kit import NIGHT_MS, HandClock, open_store

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.store.event_log import KEPT_EVENTS


def _events(count: int) -> list[Event]:
    return [
        Event(EventKind.TASK_TURN, NIGHT_MS + i, task="t", worker="w", data={"turn": i, "text": "ü\n"})
        for i in range(count)
    ]


async def test_events_come_back_as_they_went_in_with_numbers(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert await store.events.last_seq() == 0
        assert await store.events.read(after=0) == []
        stored = await store.events.append(_events(3))
        assert [e.seq for e in stored] == [1, 2, 3]
        assert await store.events.append([]) == []
        assert await store.events.read(after=0) == stored
        assert await store.events.read(after=1, limit=1) == stored[1:2]
        assert await store.events.read(after=3) == []
        assert await store.events.last_seq() == 3


async def test_the_numbers_and_the_epoch_go_on_after_a_restart(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        epoch = store.events.epoch
        await store.events.append(_events(2))
    async with open_store(valkey_url, project_id, HandClock()) as store:
        assert store.events.epoch == epoch
        assert [e.seq for e in await store.events.append(_events(1))] == [3]


async def test_appending_at_once_leaves_no_hole_and_no_duplicate(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(store.events.append(_events(5)))
        assert [e.seq for e in await store.events.read(after=0)] == list(range(1, 101))


async def test_more_than_a_batch_is_numbered_through(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        stored = await store.events.append(_events(2300))
        assert [e.seq for e in stored] == list(range(1, 2301))
        assert (await store.events.read(after=2298))[0].data["turn"] == 2298


async def test_the_log_is_bounded(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await store.events.append(_events(1))
        await store.client.xtrim(store.keys.of("events"), maxlen=0, approximate=False)
        assert [e.seq for e in await store.events.append(_events(1))] == [2]
        assert [e.seq for e in await store.events.read(after=0)] == [2]
        assert KEPT_EVENTS == 100_000
