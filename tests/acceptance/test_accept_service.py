"""The daemon as a service: metrics, the STOP file, notices, as a user meets them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from faults_kit import FaultyNight, faulty_server
from night_kit import BIN, Night, bash, create, finish, one_task, wait_gone

from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.supervisor_note import supervisor_of

PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody announces; bounded."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_a_stop_file_ends_the_daemon_in_order(a_night: Night) -> None:
    pid = a_night.start()
    (a_night.paths.state_dir / "STOP").touch()
    assert wait_gone(pid, PATIENCE_S)
    assert not (a_night.paths.state_dir / "STOP").exists()
    assert '"daemon_stopped"' in a_night.paths.log_file.read_text()
    a_night.start()
    assert a_night.run("agentcoordd", "stop").code == 0


def test_a_daemon_that_is_started_out_of_another_service_says_nothing_to_its_manager(a_night: Night) -> None:
    """As from a terminal inside an editor that runs as a service: the word MAINPID would make ours its."""
    with (
        tempfile.TemporaryDirectory(prefix="ac-") as short,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(f"{short}/n")
        manager.setblocking(False)
        a_night.env |= {"NOTIFY_SOCKET": f"{short}/n", "WATCHDOG_USEC": "60000000"}
        a_night.start()
        assert a_night.run("agentcoordd", "stop").code == 0
        with pytest.raises(BlockingIOError):
            manager.recv(4096)


def test_metrics_are_served_where_the_settings_say(a_night: Night) -> None:
    port = free_port()
    a_night.env["AGENTCOORD_METRICS_PORT"] = str(port)
    a_night.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert 'agentcoord_workers{state="idle"} 6.0' in page
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
        assert answer.read() == b"ready\n"
    a_night.run("agentcoordd", "stop")


def test_a_new_start_with_a_metrics_port_that_somebody_has_leaves_the_daemon_at_work(a_night: Night) -> None:
    port = free_port()
    a_night.env["AGENTCOORD_METRICS_PORT"] = str(port)
    first = a_night.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        a_night.env["AGENTCOORD_METRICS_PORT"] = str(taken)
        for command in ("reload", "restart"):
            refused = a_night.run("agentcoordd", command)
            assert refused.code == 1
            assert f"127.0.0.1:{taken}: Address already in use" in refused.err
            assert "metrics.port" in refused.err
            assert a_night.run("agentcoordd", "status", "--json").document["pid"] == first
    # Its own port is taken too, by itself.
    a_night.env["AGENTCOORD_METRICS_PORT"] = str(port)
    assert a_night.run("agentcoordd", "reload").code == 0
    second = a_night.run("agentcoordd", "restart", "--json").document["pid"]
    assert a_night.run("agentcoordd", "status", "--json").document["pid"] == second != first
    a_night.run("agentcoordd", "stop")


def test_a_daemon_that_was_killed_is_told_of_by_the_next(a_night: Night) -> None:
    told = a_night.base / "told"
    a_night.env["AGENTCOORD_NOTIFY_COMMAND"] = f"cat >> {told}; echo >> {told}"
    first = a_night.start()
    asyncio.run(a_night.wait_for("daemon.started"))
    os.kill(first, signal.SIGKILL)
    a_night.start()
    until(lambda: told.exists() and told.read_text().endswith("}\n"))
    assert json.loads(told.read_text())["kind"] == "restarted"
    a_night.run("agentcoordd", "stop")


def test_a_supervised_daemon_is_started_again_and_stops_when_it_is_told_to(a_night: Night) -> None:
    first = a_night.run(
        "agentcoordd", "start", "--supervised", "--rehearse", a_night.scripts, "--json"
    ).document["pid"]
    supervisor, since = parent_of(first), since_of(first)
    try:
        assert a_night.run("agentcoordd", "start").code == 5
        os.kill(first, signal.SIGKILL)
        until(lambda: a_night.run("agentcoordd", "status").code == 0)
        second = a_night.run("agentcoordd", "status", "--json").document["pid"]
        assert second != first
        assert parent_of(second) == supervisor
        assert since_of(second) == since > 0
        assert a_night.run("agentcoordd", "stop").code == 0
        assert supervisor_of(a_night.paths) is None, "the next command would say that it starts another"
        assert wait_gone(supervisor, PATIENCE_S)
        assert a_night.run("agentcoordd", "status").code == 3
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGTERM)


def test_a_supervised_daemon_that_dies_while_it_stops_stays_ended(a_night: Night) -> None:
    a_night.script("t", {"thinking_ms": 60_000, "tools": [finish()]})
    start = ("agentcoordd", "start", "--supervised", "--rehearse", a_night.scripts, "--json")
    first = a_night.run(*start).document["pid"]
    supervisor = parent_of(first)
    try:
        a_night.load(one_task("t"))
        asyncio.run(a_night.wait_for("task.claimed", "t"))
        stop = [str(BIN / "agentcoordd"), "stop"]
        with subprocess.Popen(stop, cwd=a_night.root, env=a_night.env, stdout=subprocess.DEVNULL):
            asyncio.run(a_night.wait_for("daemon.stopping"))
            os.kill(first, signal.SIGKILL)
            assert wait_gone(supervisor, PATIENCE_S)
        assert a_night.run("agentcoordd", "status").code == 3
        assert "was told to stop and ended with -9" in a_night.paths.startup_log.read_text()
        second = a_night.run(*start).document["pid"]
        supervisor = parent_of(second)
        os.kill(second, signal.SIGKILL)  # Nobody told this one.
        until(lambda: a_night.run("agentcoordd", "status", "--json").code == 0)
        assert a_night.tasks()["t"]["state"] in ("queued", "running")
        assert a_night.run("agentcoordd", "stop", "--now").code == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGTERM)


def test_a_night_whose_daemon_is_killed_goes_on_by_itself(a_night: Night) -> None:
    looks = [{"tools": [bash(f"sleep 0.5; echo {n}")]} for n in range(6)]
    a_night.script("t", {"tools": [create("t.py", "X = 1\n")]}, *looks, {"tools": [finish()]})
    with faulty_server(a_night.scripts, {}, seed=0) as base_url:
        f = FaultyNight(a_night, base_url)
        command = [str(BIN / "agentcoord"), "run", str(a_night.plan(one_task("t")))]
        with subprocess.Popen(
            command, cwd=a_night.root, env=a_night.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as running:
            f.wait_for_books(lambda books: books.raw["answered"] >= 2)
            first = a_night.run("agentcoordd", "status", "--json").document["pid"]
            supervisor = parent_of(first)
            try:
                os.kill(first, signal.SIGKILL)
                told, _ = running.communicate(timeout=2 * PATIENCE_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(supervisor, signal.SIGTERM)
        assert running.returncode == 0, told.decode()
        assert wait_gone(supervisor, PATIENCE_S)
        turns = [record for record in f.books().records if record["task"] == "t"]
        assert len(turns) <= 9, "no more than the turn that was under way is asked for again"
    a_night.check()


def since_of(pid: int) -> int:
    """Since when a daemon was told that somebody wants one."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return StartArgs.from_json(words[words.index("--args") + 1]).since_ms or 0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
