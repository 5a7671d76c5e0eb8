"""Told to stop: what a service's end means to its manager, and what is written down for a supervisor."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from agentcoord.clock import SystemClock
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon import service
from agentcoord.daemon.loop_watch import STOP_MOST_S, StopTimer
from agentcoord.daemon.service_manager import ServiceManager
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.told_to_stop import is_service, note_told_to_stop, told_to_stop
from agentcoord.errors import DaemonError

NOBODY = ServiceManager({}, SystemClock(), 1)


@pytest.mark.parametrize(
    ("env", "kept"),
    [
        ({}, False),
        ({"XPC_SERVICE_NAME": "0"}, False),
        ({"XPC_SERVICE_NAME": "application.com.apple.Terminal.1"}, False),
        ({"XPC_SERVICE_NAME": "dev.agentcoord.shop"}, True),
        ({"NOTIFY_SOCKET": "@n"}, True),
    ],
)
def test_a_service_is_what_a_manager_started_from_our_unit(env: dict[str, str], kept: bool) -> None:
    assert is_service(env) is kept


@pytest.mark.parametrize(("env", "kept"), [({}, False), ({"NOTIFY_SOCKET": "@nobody-listens"}, True)])
@pytest.mark.parametrize("told", [True, False])
def test_a_service_that_was_told_to_stop_ends_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], kept: bool, told: bool
) -> None:
    paths = ProjectPaths.of(tmp_path / "shop", {"HOME": str(tmp_path)})
    paths.root.mkdir()

    async def breaks(*given: Any) -> None:
        if told:
            service._told_to_stop(paths, given[4], NOBODY)  # What the loop calls.
        raise DaemonError("the disk is gone", mend="look")

    monkeypatch.setattr(service, "_serve", breaks)
    env = {"HOME": str(tmp_path), "AGENTCOORD_ALLOW_ROOT": "1", **env}

    def run() -> int:
        return service.run_foreground(paths.root, args=StartArgs(), env=env)

    if kept and told:
        assert run() == 0
    else:
        with pytest.raises(DaemonError, match="the disk is gone"):
            run()
    assert told_to_stop(paths.told_to_stop_file)(os.getpid()) is told
    assert "the disk is gone" in paths.log_file.read_text()


def test_a_disk_that_takes_no_note_holds_up_no_stop(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "told-to-stop"
    note_told_to_stop(gone)
    assert not told_to_stop(gone)(os.getpid())


@pytest.mark.parametrize("asked_s", [60, 0])
def test_a_managers_watchdog_waits_longer_for_a_stop_that_hangs_than_we_do(
    tmp_path: Path, asked_s: int
) -> None:
    paths = ProjectPaths.of(tmp_path / "shop", {"HOME": str(tmp_path)})
    paths.state_dir.mkdir(parents=True)
    timer = StopTimer()
    with (
        tempfile.TemporaryDirectory(prefix="ac-n-") as short,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(f"{short}/n")
        manager.setblocking(False)
        env = {"NOTIFY_SOCKET": f"{short}/n", "WATCHDOG_USEC": str(asked_s * 1_000_000)}
        for _ in range(2):  # Asking again is no reason to wait longer.
            service._told_to_stop(paths, timer, ServiceManager(env, SystemClock(), 1))
        timer.cancel()
        if asked_s:
            name, _, value = manager.recv(4096).decode().partition("=")
            assert name == "WATCHDOG_USEC"
            assert int(value) > STOP_MOST_S * 1_000_000
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
