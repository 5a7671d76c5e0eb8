"""The counts of a run are read from the store's log, so that a daemon that begins in mid-run has them all."""

from __future__ import annotations

import asyncio

from daemon_kit import create, daemonlet, finish, until

from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState


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
