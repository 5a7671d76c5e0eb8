"""The counts of a run are read from the store's log, so that a daemon that begins in mid-run has them all."""

from __future__ import annotations

import asyncio

from daemon_kit import MovedClock, create, daemonlet, finish, until

from agentcoord.clock import SystemClock
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.setbacks import OWN_FAULTS
from agentcoord.domain.states import TaskState

DAY_MS = 24 * 3600 * 1000


async def test_the_next_daemon_knows_what_this_one_did_and_counts_on(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[create("src/new.py", "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            await d.wait_for(EventKind.TASK_DONE, "t")
        hub = EventHub(d.store.events, d.shop.clock)
        await hub.load_recent()
        counter = RunCounter(hub, d.store.events, d.shop.clock)
        following = [asyncio.create_task(hub.run()), asyncio.create_task(counter.follow())]  # noqa: TID251 - ended below
        hub.emit(EventKind.TASK_TOOL, task="t", tool="bash")
        await until(lambda: counter.counts.kinds[EventKind.TASK_TOOL] == 2)
        assert counter.counts.kinds[EventKind.TASK_DONE] == 1
        assert counter.counts.max_parallel == 1
        for task in following:
            task.cancel()


async def test_stats_tell_how_often_work_landed_by_role_and_by_model(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        d.model.turns["t"] = [[finish()], [create("src/new.py", "Y = 2\n"), finish()]]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
        stats = await d.views.stats()
        history = await d.store.queue.history(TaskId("t"))
        own = [end for end in history if end.setback in OWN_FAULTS]
        (by_role,) = stats["by_role"]
        assert (by_role["landed"], by_role["failed"]) == (1, len(own))
        assert sum(each["landed"] for each in stats["by_model"]) == 1
        assert sum(each["failed"] for each in stats["by_model"]) == len(own)
        assert stats["tasks_per_hour"] > 0


class SetClock(MovedClock):
    """Somebody sets its time of day; what has passed since is what passed."""

    def monotonic(self) -> float:
        return SystemClock.monotonic(self)


async def test_a_clock_that_is_set_back_takes_nothing_from_the_stats(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = SetClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        d.model.turns["a"] = [[create("src/a.py", "Y = 2\n"), finish()]]
        await d.load("a")
        clock.ahead_ms = -DAY_MS
        async with d.working():
            await d.wait_until("a", TaskState.DONE)
        stats = await d.views.stats()
        assert stats["tasks_done"] == sum(each["landed"] for each in stats["by_role"]) == 1
        assert 0 <= stats["wall_s"] < DAY_MS / 2000


async def test_a_second_nights_stats_count_nothing_of_the_first(
    valkey_url: str, project_id: ProjectId
) -> None:
    clock = MovedClock()
    async with daemonlet(valkey_url, project_id, clock=clock) as d:
        await d.runs.begin_if_none(any_open=False)
        for task in ("first", "second"):
            d.model.turns[task] = [[create(f"src/{task}.py", "Y = 2\n"), finish()]]
        async with d.working():
            await d.load("first")
            await d.wait_until("first", TaskState.DONE)
            clock.ahead_ms = DAY_MS
            await d.runs.begin_if_none(any_open=False)
            assert (await d.views.stats())["tasks_done"] == 0
            await d.load("second")
            await d.wait_until("second", TaskState.DONE)
        stats = await d.views.stats()
        assert (stats["tasks_done"], stats["turns"], stats["files"]) == (1, 1, 1)
        assert sum(each["landed"] for each in stats["by_role"]) == 1
        assert stats["wall_s"] < DAY_MS / 2000
