"""The recording of a night: what really happened is in it, in order, bounded, and playable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from daemon_kit import Daemonlet, create, daemonlet, finish

from agentcoord.clock import SystemClock
from agentcoord.daemon.night_recorder import NightRecorder
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.telemetry.logs import Redactor
from agentcoord.wire.night_file import NIGHT_BYTES, Kept, NightFile, nights_in

SECRET = "sk-ant-a-secret-of-a-test"


def recorder_of(d: Daemonlet, *, most_bytes: int = NIGHT_BYTES) -> NightRecorder:
    async def diff_of(task: TaskId) -> str:
        return await d.shop.lander.diff(task, since_ms=0)

    return NightRecorder(
        hub=d.hub,
        board=d.shop.board,
        views=d.views,
        runs=d.runs,
        diff_of=diff_of,
        redactor=Redactor([SECRET]),
        clock=SystemClock(),
        folder=d.paths.nights_dir,
        most_bytes=most_bytes,
    )


@asynccontextmanager
async def recording(d: Daemonlet, **more: int) -> AsyncIterator[None]:
    """Record inside the block; what happened last is written when it ends."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder_of(d, **more).run())
        await asyncio.sleep(0)
        yield
        task.cancel()


def only_night(d: Daemonlet) -> Path:
    [night] = nights_in(d.paths.nights_dir)
    return night.path


async def test_what_was_recorded_is_what_happened(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        async with recording(d):
            d.model.turns["a"] = [[create("src/new.py", f"KEY = '{SECRET}'\n")], [finish()]]
            await d.load("a")
            async with d.working():
                await d.wait_for(EventKind.TASK_DONE, "a")
                await d.hub.flushed()
        path = only_night(d)
        night = NightFile.read(path)
        assert list(night.events()) == [event.to_dict() for event in d.hub.recent]
        row = await d.task("a")
        detail = night.about(Kept.DETAIL, "a", len(night))
        assert detail is not None
        assert detail["task"]["state"] == str(row.state) == "done"
        assert detail["summary"] == "Did it."
        diff = night.about(Kept.DIFF, "a", len(night))
        assert diff is not None
        assert "+KEY = '[redacted]'" in diff["text"]
        assert SECRET.encode() not in path.read_bytes()
        assert night.about(Kept.DIFF, "a", night.until(night.begin_ms - 1)) is None
        assert path.stat().st_mode & 0o777 == 0o600
        [summary] = nights_in(d.paths.nights_dir)
        assert summary.counts["done"] == 1
        assert (summary.begin_ms, summary.end_ms) == (night.begin_ms, night.end_ms)


async def test_a_second_daemon_goes_on_in_the_same_file(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        async with asyncio.TaskGroup() as group:
            hub = group.create_task(d.hub.run())
            async with recording(d):
                await d.load("a")
                d.hub.emit(EventKind.PLAN_LOADED)
                await d.hub.flushed()
            with only_night(d).open("ab") as file:
                file.write(b'{"at": 1, "method": "ev')  # The first one died while it wrote.
            async with recording(d):
                d.hub.emit(EventKind.TASK_TURN, task="a")
                await d.hub.flushed()
            hub.cancel()
        night = NightFile.read(only_night(d))
        assert [event["kind"] for event in night.events()] == ["plan.loaded", "task.turn"]
        snapshots = [r for r in night.records(0, len(night)) if r.method == Kept.SNAPSHOT]
        assert len(snapshots) == 2


async def test_a_recording_has_a_bound_and_says_where_it_was_cut(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        async with asyncio.TaskGroup() as group:
            hub = group.create_task(d.hub.run())
            await d.load("a")
            async with recording(d):
                d.hub.emit(EventKind.PLAN_LOADED)
                await d.hub.flushed()
            whole = only_night(d).stat().st_size
            for _ in range(2):
                async with recording(d, most_bytes=whole + 500):
                    d.hub.emit(EventKind.TASK_TURN, task="a", words="x" * 500)
                    await d.hub.flushed()
            hub.cancel()
        night = NightFile.read(only_night(d))
        assert night.cut
        assert only_night(d).stat().st_size < whole + 600


async def test_nothing_is_recorded_before_a_plan_is_loaded(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        async with asyncio.TaskGroup() as group:
            hub = group.create_task(d.hub.run())
            async with recording(d):
                d.hub.emit(EventKind.DAEMON_STARTED)
                await d.hub.flushed()
            hub.cancel()
        assert list(d.paths.nights_dir.iterdir()) == []
