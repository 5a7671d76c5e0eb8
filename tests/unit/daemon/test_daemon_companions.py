"""The STOP file, the service manager's socket, and the machine that must not sleep."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import cast

import pytest
from daemon_fakes import HandClock

from agentcoord.clock import SystemClock
from agentcoord.daemon.service_manager import ServiceManager
from agentcoord.daemon.sleep_inhibitor import SleepInhibitor, inhibiting_command
from agentcoord.daemon.stop_file import StopFile
from agentcoord.daemon.worker_row import FleetBoard, TaskAtHand, WorkerRow
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import MISSION_WORKERS


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose sockets' names fit."""
    folder = Path(tempfile.mkdtemp(prefix="ac-n-"))
    yield folder
    rmtree(folder)


async def test_a_stop_file_stops_and_is_used_up(tmp_path: Path) -> None:
    stops: list[str] = []

    class Clock(HandClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            (tmp_path / "STOP").touch()

    await StopFile(tmp_path, Clock(), lambda: stops.append("stop")).run()
    assert stops == ["stop"]
    assert not (tmp_path / "STOP").exists()


async def test_an_old_stop_file_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "STOP").touch()
    stops: list[str] = []
    stop_file = StopFile(tmp_path, SystemClock(), lambda: stops.append("stop"))
    await stop_file.forget_old()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await stop_file.run()
    assert stops == []


async def test_a_stop_file_from_the_moment_of_readiness_counts(tmp_path: Path) -> None:
    stops: list[str] = []
    stop_file = StopFile(tmp_path, SystemClock(), lambda: stops.append("stop"))
    await stop_file.forget_old()
    (tmp_path / "STOP").touch()
    async with asyncio.timeout(5):
        await stop_file.run()
    assert stops == ["stop"]


async def test_the_service_manager_hears_ready_life_and_the_end_each_in_one_datagram(
    short_folder: Path,
) -> None:
    address = short_folder / "n"
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "60000000"}
        clock = HandClock()
        service = ServiceManager(env, clock, 1)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(service.run())
            while len(clock.slept) < 2:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0)
            running.cancel()
        while True:
            try:
                heard.append(manager.recv(4096).decode())
            except BlockingIOError:
                break
    assert heard[0].startswith("READY=1\nSTATUS=")
    assert heard[1:3] == ["WATCHDOG=1", "WATCHDOG=1"]
    assert heard[-1] == "STOPPING=1"
    assert clock.slept[0] == 30.0


def test_nobody_is_told_where_nobody_listens(short_folder: Path) -> None:
    assert not ServiceManager({}, HandClock(), 1).is_there
    ServiceManager({}, HandClock(), 1).tell(READY="1")
    ServiceManager({"NOTIFY_SOCKET": str(short_folder / "gone")}, HandClock(), 1).tell(READY="1")


def test_the_tool_that_keeps_awake_is_found_by_path(tmp_path: Path) -> None:
    tool = tmp_path / "systemd-inhibit"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    assert inhibiting_command({"PATH": str(tmp_path)}, "linux")[0] == str(tool)
    assert inhibiting_command({"PATH": "/nowhere"}, "linux") == []
    assert inhibiting_command({"PATH": "/nowhere"}, "darwin") == []


def board_with_a_row() -> tuple[FleetBoard, WorkerRow]:
    board = FleetBoard(SystemClock())
    row = WorkerRow(MISSION_WORKERS[0])
    board.rows[row.spec.name] = row
    return board, row


async def until(path: Path, *, text: str) -> None:
    async with asyncio.timeout(10):
        while not path.exists() or path.read_text() != text:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


async def test_the_machine_is_held_awake_as_long_as_something_runs_and_no_longer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    board, row = board_with_a_row()
    script = f"echo held >> {log}; cat; echo free >> {log}"
    async with asyncio.TaskGroup() as group:
        inhibitor = SleepInhibitor(board, ["/bin/sh", "-c", script], linger_s=0.01)
        running = group.create_task(inhibitor.run())
        await asyncio.sleep(0)
        assert not log.exists()
        for night in (1, 2):
            row.tasks.append(TaskAtHand(row.spec, cast("Claim", object())))
            board.touch()
            await until(log, text="held\nfree\n" * (night - 1) + "held\n")
            row.tasks.clear()
            board.touch()
            await until(log, text="held\nfree\n" * night)
        running.cancel()


async def test_a_daemon_that_stops_leaves_no_inhibitor_behind(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    board, row = board_with_a_row()
    row.tasks.append(TaskAtHand(row.spec, cast("Claim", object())))
    script = f"echo $$ > {told}.new; mv {told}.new {told}; exec cat"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(SleepInhibitor(board, ["/bin/sh", "-c", script]).run())
        async with asyncio.timeout(10):
            while not told.exists():  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        running.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


async def test_a_system_that_refuses_is_asked_once() -> None:
    board, row = board_with_a_row()
    row.tasks.append(TaskAtHand(row.spec, cast("Claim", object())))
    async with asyncio.timeout(10):
        await SleepInhibitor(board, ["/bin/false"]).run()
        await SleepInhibitor(board, ["/nowhere/tool"]).run()
    assert board.on_change == []


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "2"}],
)
async def test_without_a_watchdog_of_its_own_no_life_is_shown_but_ready_and_the_end_are(
    short_folder: Path, watchdog: dict[str, str]
) -> None:
    address = short_folder / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        clock = HandClock()
        service = ServiceManager({"NOTIFY_SOCKET": str(address), **watchdog}, clock, 1)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(service.run())
            for _ in range(5):
                await asyncio.sleep(0)
            running.cancel()
        heard = [manager.recv(4096).decode() for _ in range(2)]
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
    assert heard[0].startswith("READY=1\nSTATUS=")
    assert heard[1] == "STOPPING=1"
    assert clock.slept == []
