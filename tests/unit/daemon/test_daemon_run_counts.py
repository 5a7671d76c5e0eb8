"""What happened in a run, counted from its events; and that a restart of the daemon forgets none of it."""

from __future__ import annotations

import asyncio
from typing import cast

from daemon_fakes import HandClock, MemoryLog

from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.run_counts import READ_AT_ONCE, RunCounter, RunCounts
from agentcoord.domain.events import Event, EventKind
from agentcoord.store.event_log import EventLog

LOADED = Event(EventKind.PLAN_LOADED, 1, None, None, {"run": "r1"})
NIGHT = (
    LOADED,
    Event(EventKind.TASK_CLAIMED, 2, "a", "w"),
    Event(EventKind.TASK_CLAIMED, 2, "b", "v"),
    Event(EventKind.TASK_TOOL, 3, "a", "w", {"tool": "bash"}),
    Event(EventKind.TASK_CHECKED, 4, "a", "w", {"ms": 900}),
    Event(EventKind.TASK_DONE, 5, "a", "w", {"merged": ["x", "y"]}),
    Event(EventKind.TASK_CLAIMED, 6, "c", "w"),
)


def counted(*events: Event) -> RunCounts:
    counts = RunCounts()
    for event in events:
        counts.add(event)
    return counts


def test_a_run_is_counted_with_who_worked_at_once() -> None:
    counts = counted(*NIGHT)
    assert counts.kinds[EventKind.TASK_TOOL] == 1
    assert (counts.kinds[EventKind.TASK_CHECKED], counts.check_ms) == (1, 900)
    assert (counts.kinds[EventKind.TASK_DONE], counts.merges) == (1, 2)
    assert counts.max_parallel == 2


def test_a_worker_that_takes_its_next_task_before_its_last_one_is_told_done_is_one_worker() -> None:
    taken = [Event(EventKind.TASK_CLAIMED, 2, task, "w") for task in ("a", "b")]
    assert counted(*taken, Event(EventKind.TASK_DONE, 3, "a", "w")).max_parallel == 1


def test_another_plan_of_the_same_run_goes_on_counting_and_a_new_run_begins_anew() -> None:
    assert counted(*NIGHT, LOADED).kinds[EventKind.TASK_TOOL] == 1
    anew = counted(*NIGHT, Event(EventKind.PLAN_LOADED, 9, None, None, {"run": "r2"}))
    assert (anew.run, anew.max_parallel, anew.merges) == ("r2", 0, 0)
    assert dict(anew.kinds) == {EventKind.PLAN_LOADED: 1}


def test_who_worked_when_the_daemon_was_killed_does_not_work_beside_those_of_the_next() -> None:
    began = Event(EventKind.DAEMON_STARTED, 7, None, None)
    claims = (Event(EventKind.TASK_CLAIMED, 8, "b", "w"), Event(EventKind.TASK_CLAIMED, 8, "c", "v"))
    assert counted(*NIGHT, began, *claims).max_parallel == 2


async def test_a_log_longer_than_one_reading_is_counted_to_its_end() -> None:
    log = MemoryLog()
    await log.append([Event(EventKind.TASK_TOOL, 1, "a", "w", {"tool": "bash"})] * (2 * READ_AT_ONCE))
    hub = EventHub(cast("EventLog", log), HandClock())
    counter = RunCounter(hub, cast("EventLog", log), HandClock())
    async with asyncio.TaskGroup() as group:
        following = group.create_task(counter.follow())
        async with asyncio.timeout(10):
            while counter.counts.kinds[EventKind.TASK_TOOL] < 2 * READ_AT_ONCE:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0)
        following.cancel()
    assert counter.counts.kinds[EventKind.TASK_TOOL] == 2 * READ_AT_ONCE
