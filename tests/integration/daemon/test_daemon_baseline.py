"""A check that cannot run on the untouched tree holds the run, and costs no task an attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from daemon_kit import Daemonlet, create, daemonlet, finish, until

from agentcoord.daemon.baseline import BaselineKeeper
from agentcoord.daemon.pausing import paused_why
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.review.checks import BASELINE, CheckOutcome, CheckReport
from agentcoord.wire.messages import Method

CHECK = "./tool.sh --all"


def is_paused(d: Daemonlet) -> bool:
    return d.store.queue.paused


@asynccontextmanager
async def keeping(d: Daemonlet) -> AsyncIterator[BaselineKeeper]:
    keeper = BaselineKeeper(d.shop, d.runs)
    d.on_load.append(keeper.want)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(keeper.run())
        try:
            yield keeper
        finally:
            running.cancel()


async def test_a_check_that_cannot_run_pauses_the_run_until_it_can(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks={"tests": CHECK}, attempts=1) as d:
        d.model.turns["t"] = [[create("src/new.py", "A = 1\n"), finish()], [finish()]]
        async with d.working():
            d.shop.prover.expect_baseline()
            await d.load("t")
            await d.wait_until("t", TaskState.CHECKING)
            async with keeping(d) as keeper:
                keeper.want()
                held = await d.wait_until("t", TaskState.QUEUED)
                assert is_paused(d)
                why = await paused_why(d.shop)
                assert why.startswith(
                    f"the check tests cannot run on the untouched tree: `{CHECK}` ended with 127 ("
                )
                assert "No such file" in why
                assert "agentcoord ctl resume" in why
                assert (held.attempt, held.why) == (0, why)
                tool = d.root / "tool.sh"
                tool.write_text("#!/bin/sh\nexit 0\n")
                tool.chmod(0o755)
                await d.requests.answer(Method.RESUME, {})
                done = await d.wait_until("t", TaskState.DONE, TaskState.FAILED, TaskState.PARKED)
                assert done.state is TaskState.DONE
                assert not is_paused(d)
        assert (d.root / "src/new.py").exists()


async def test_a_check_that_is_merely_red_pauses_nothing(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id, checks={"tests": "exit 1"}) as d, d.working():
        await d.load("t")
        async with keeping(d) as keeper:
            keeper.want()
            await d.wait_for(EventKind.BASELINE_ENDED)
            assert not is_paused(d)


async def test_a_baseline_of_other_checks_is_made_anew_by_the_next_daemon(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id, checks={"tests": "exit 1"}) as d, d.working():
        await d.store.set_setting("baseline_run", d.runs.run)
        same, other = (CheckReport((CheckOutcome("tests", c, 0, "", 1),), "") for c in ("exit 1", "exit 0"))
        d.shop.check_book.store(BASELINE, same)
        async with keeping(d) as keeper:
            keeper.want()
            await until(lambda: d.shop.prover.baseline is not None)
            assert d.shop.prover.baseline == same
            d.shop.check_book.store(BASELINE, other)
            keeper.want()
            ended = await d.wait_for(EventKind.BASELINE_ENDED)
            assert ended.data["checks"] == {"tests": 1}
            assert d.shop.prover.red_before == {"tests"}
