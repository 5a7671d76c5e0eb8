"""Running real programs: bounds, endings, and nothing left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import os
import signal
import sys
import threading
from asyncio.subprocess import Process
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import KilledBy, Limits
from agentcoord.sandbox.process import Ended, Family, Launch, run_process
from agentcoord.sandbox.process_group import ProcessGroup, looked_at

LIMITS = Limits(timeout_s=20.0, grace_s=0.3)


def bash(command: str, folder: Path) -> Launch:
    return Launch(argv=("/bin/bash", "-c", command), env={"PATH": os.defpath}, cwd=folder)


async def run(command: str, folder: Path, limits: Limits = LIMITS) -> Ended:
    return await run_process(bash(command, folder), limits, clock=SystemClock())


HOLD_LOCK = "exec 9>held; flock 9; "


def somebody_lives(folder: Path) -> bool:
    """Whether a process still holds the lock; a group would count those that are dead already."""
    with (folder / "held").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_output_and_error_are_interleaved_and_the_exit_code_is_the_programs(tmp_path: Path) -> None:
    ended = await run("echo one; echo two >&2; echo three; exit 4", tmp_path)
    assert ended.capture.text() == "one\ntwo\nthree\n"
    assert ended.exit_code == 4
    assert ended.killed_by is KilledBy.NOBODY


async def test_a_signal_is_told_as_128_and_its_number(tmp_path: Path) -> None:
    assert (await run("kill -TERM $$", tmp_path)).exit_code == 128 + signal.SIGTERM


async def test_there_is_no_input_to_wait_for(tmp_path: Path) -> None:
    assert (await run("cat; echo end", tmp_path)).capture.text() == "end\n"


async def test_pieces_are_told_while_the_program_runs(tmp_path: Path) -> None:
    pieces: list[bytes] = []
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    def on_output(piece: bytes) -> None:
        pieces.append(piece)
        if piece == b"first\n":
            # Opening without blocking works because bash waits at the other end.
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))

    command = "exec 3<>go 4<go 3>&-; echo first; read -u 4; echo second"
    launch = bash(command, tmp_path)
    ended = await run_process(launch, LIMITS, clock=SystemClock(), on_output=on_output)
    assert b"".join(pieces) == b"first\nsecond\n"
    assert ended.exit_code == 0


async def test_the_deadline_asks_then_kills_and_keeps_the_output(tmp_path: Path) -> None:
    limits = dataclasses.replace(LIMITS, timeout_s=0.3, grace_s=0.2)
    ended = await run("trap 'echo asked' TERM; echo started; while :; do sleep 0.05; done", tmp_path, limits)
    assert ended.killed_by is KilledBy.TIMEOUT
    assert ended.capture.text().startswith("started\n")
    assert "asked" in ended.capture.text()
    assert ended.exit_code == 128 + signal.SIGKILL
    assert 400 < ended.duration_ms < 5000


async def test_a_background_child_dies_with_the_program_and_is_not_waited_for(tmp_path: Path) -> None:
    ended = await run(HOLD_LOCK + "sleep 300 & echo started", tmp_path)
    assert ended.capture.text() == "started\n"
    assert ended.duration_ms < 5000
    assert not somebody_lives(tmp_path)


async def test_cancelled_midway_the_group_is_dead(tmp_path: Path) -> None:
    told = asyncio.Queue[bytes]()
    launch = bash(HOLD_LOCK + "trap '' TERM; sleep 300 & echo started; wait", tmp_path)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(
            run_process(launch, LIMITS, clock=SystemClock(), on_output=told.put_nowait)
        )
        assert await told.get() == b"started\n"
        assert somebody_lives(tmp_path)
        running.cancel()
    assert running.cancelled()
    assert not somebody_lives(tmp_path)


async def test_a_watch_that_returns_ends_the_program_for_its_reason(tmp_path: Path) -> None:
    async def watch(family: Family) -> KilledBy:
        del family
        return KilledBy.DISK

    launch = bash("sleep 300", tmp_path)
    ended = await run_process(launch, LIMITS, clock=SystemClock(), watch=watch)
    assert ended.killed_by is KilledBy.DISK


async def test_nothing_is_sent_to_processes_from_a_thread(tmp_path: Path) -> None:
    """What waited for one would find their numbers given to others, long after their end was waited for."""
    sent_by: list[threading.Thread] = []

    class Noted(ProcessGroup):
        def ask_to_end(self) -> None:
            sent_by.append(threading.current_thread())
            super().ask_to_end()

        def kill(self) -> None:
            sent_by.append(threading.current_thread())
            super().kill()

    async def adopt(process: Process) -> Family:
        return Noted(process.pid)

    limits = Limits(timeout_s=0.1, grace_s=0.1)
    ended = await run_process(bash("sleep 300", tmp_path), limits, clock=SystemClock(), adopt=adopt)
    assert (ended.killed_by, set(sent_by)) == (KilledBy.TIMEOUT, {threading.main_thread()})


async def test_processes_are_looked_at_also_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start {thread.name}")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refused)
        assert await looked_at(lambda: "seen") == "seen"


async def test_an_error_of_the_watch_is_raised_as_it_is(tmp_path: Path) -> None:
    async def watch(family: Family) -> KilledBy:
        del family
        raise SandboxError("the disk is gone")

    with pytest.raises(SandboxError, match="the disk is gone"):
        await run_process(bash("sleep 300", tmp_path), LIMITS, clock=SystemClock(), watch=watch)


async def test_a_program_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    launch = Launch(argv=("/nonexistent/program",), env={}, cwd=tmp_path)
    with pytest.raises(SandboxError, match="/nonexistent/program could not be started"):
        await run_process(launch, LIMITS, clock=SystemClock())


async def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    await run("true", tmp_path)
    folder = Path("/proc/self/fd" if sys.platform.startswith("linux") else "/dev/fd")
    before = len(list(folder.iterdir()))
    for _ in range(5):
        await run("echo x", tmp_path)
    assert len(list(folder.iterdir())) <= before
