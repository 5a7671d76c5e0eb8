"""50,000 files through every step of a private copy and a landing: the event loop is never held up.

Asyncio's own log of slow callbacks has to stay empty, by a clock that leaves out what the machine takes
away: the time in which a thread of ours was ready to run and another program had the processor. What a
thread does itself, and what it waits for, is counted in full; a ticker lets go of the interpreter in each of
its callbacks, so that a thread that holds it for long is counted too. What holds the loop up does so each
time: on a machine that is too busy even for this clock a second or third play decides. Files and programs
that the loop's own thread opens or starts are caught whatever they cost.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.pool import Staged, WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules

FILES, A_FOLDER, CONTENTS = 50_000, 250, 200
BLOCKED_S = 0.05
PLAYS = 3
TICK_S = 0.005
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""The loop is measured here, not the disk."""
TASK = TaskId("t")
BLOCKING = ("open", "os.", "subprocess.", "shutil.", "tempfile.", "fcntl.flock")


class OwnTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only as far as the machine lets us run."""

    def __init__(self) -> None:
        self._told_s = 0.0
        self._thread = threading.get_ident()
        self._waits = Waits()
        self._before = self._spent()
        super().__init__()

    def time(self) -> float:
        if threading.get_ident() == self._thread:
            before, now = self._before, self._spent()
            kept_waiting_ns = sum(ns - before.waiting_ns.get(t, 0) for t, ns in now.waiting_ns.items())
            self._before = now
            own_s = now.own_s - before.own_s
            self._told_s += max(now.wall_s - before.wall_s - kept_waiting_ns / 1e9, own_s, 0.0)
        return self._told_s

    def _spent(self) -> _Spent:
        # The clocks first: what it takes to look after the threads is no part of what is measured.
        return _Spent(time.monotonic(), time.thread_time(), self._waits.now_ns())


@dataclass(frozen=True)
class _Spent:
    wall_s: float
    own_s: float
    """Of this thread, on a processor."""
    waiting_ns: dict[int, int]
    """Of each of our threads, for a processor."""


class Waits:
    """How long each of our threads was ready to run and had no processor, by the kernel's own count.

    Read without letting go of the interpreter: a read that lets go has to wait for it again, up to a switch
    interval for each thread that computes, and would measure itself.
    """

    def __init__(self) -> None:
        self._read = ctypes.PyDLL(None, use_errno=True).pread
        self._text = ctypes.create_string_buffer(128)
        self._stats: dict[int, int] = {}
        """Open descriptors, by thread; closed when the process ends."""

    def now_ns(self) -> dict[int, int]:
        found = {}
        for thread in list(threading.enumerate()):
            number = thread.native_id
            if number is None:
                continue
            if number not in self._stats:
                with suppress(FileNotFoundError):  # It ended just now.
                    self._stats[number] = os.open(f"/proc/self/task/{number}/schedstat", os.O_RDONLY)
            length = self._read(self._stats.get(number, -1), self._text, len(self._text), 0)
            if length > 0:
                found[number] = int(self._text.raw[:length].split()[1])
        return found


class SlowCallbacks(logging.Handler):
    """Keeps what asyncio says of callbacks that took too long."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def told_of_slow_callbacks() -> Iterator[list[str]]:
    """What asyncio says until the block ends; a loop that closes afterwards is not ours to judge."""
    handler = SlowCallbacks()
    logging.getLogger("asyncio").addHandler(handler)
    try:
        yield handler.said
    finally:
        logging.getLogger("asyncio").removeHandler(handler)


class Watch:
    """Notes what the loop's thread opens or starts by itself, while switched on."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if self.thread != threading.get_ident() or not event.startswith(BLOCKING):
            return
        # The clock above, and asyncio when it shows the source of what was slow.
        if args and str(args[0]).startswith(("/proc/self/task", *sys.path)):
            return
        self.seen.append(f"{event} {args[:1]}")


@contextmanager
def large_repository() -> Iterator[Path]:
    """50,000 files in the index, of some hundred different contents; no commit is needed."""
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="ac-large-") as base:
        root = Path(base) / "repo"
        root.mkdir()

        def git(*words: str, said: str = "") -> str:
            env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
            done = subprocess.run(
                ["git", *words], cwd=root, env=env, input=said, capture_output=True, check=True, text=True
            )
            return done.stdout

        git("init", "-q")
        paths = [f"d{n // A_FOLDER:03d}/f{n}.py" for n in range(FILES)]
        for number, path in enumerate(paths):
            if number % A_FOLDER == 0:
                (root / path).parent.mkdir()
            (root / path).write_bytes(b"value = %d\n" % (number % CONTENTS) * 40)
        first = "".join(f"{path}\n" for path in paths[:CONTENTS])
        blobs = git("hash-object", "-w", "--stdin-paths", said=first).split()
        entries = (f"100644 {blobs[n % CONTENTS]}\t{path}\n" for n, path in enumerate(paths))
        git("update-index", "--add", "--index-info", said="".join(entries))
        yield root


async def every_step(root: Path, base: Path) -> None:
    """Build, work, prove, land, resync, look and undo."""
    repo = await Repository.open(root)
    pool = WorkspacePool(repo, base / "copies", ScopeRules(["**"]), size=1, proof_slots=1)
    lander = Lander(repo, base / "journal", clock=SystemClock())
    await lander.recover()
    copy = await pool.acquire(TASK, 1, fresh=False)
    for n in range(20):
        await asyncio.to_thread(copy.files.write_bytes, f"d000/f{n}.py", b"changed %d\n" % n)
    await asyncio.to_thread(copy.files.write_bytes, "d000/new.py", b"new\n")
    changes = await copy.changes()
    assert len(changes.landable) == 21
    async with pool.proof() as proof:
        ready = await proof.stage(copy, changes)
        assert isinstance(ready, Staged)
        assert not await pool.moved(ready.stamp)

    async def holds() -> None:
        """The lease is the store's."""

    landed = await lander.land(TASK, FencingToken(1), "t", ready, verify=holds)
    assert len(landed if isinstance(landed, tuple) else ()) == 21
    await pool.release(copy, keep=False)
    copy = await pool.acquire(TaskId("next"), 1, fresh=False)
    assert not (await copy.changes()).landable
    assert len(await copy.list_files()) == FILES + 1
    await lander.diff(TASK)
    outcome = await lander.undo(TASK)
    assert len(outcome.restored) == 21
    await pool.release(copy, keep=True)
    await pool.cleanup([])


async def slow_callbacks(root: Path, base: Path, watch: Watch) -> list[str]:
    """Play every step beside a ticker; return what asyncio said."""
    asyncio.get_running_loop().slow_callback_duration = BLOCKED_S
    with told_of_slow_callbacks() as slow:
        async with asyncio.TaskGroup() as group:
            watch.thread = threading.get_ident()
            steps = group.create_task(every_step(root, base))
            while not steps.done():
                time.sleep(0)  # noqa: ASYNC251 - whoever holds the interpreter is waited for here
                await asyncio.sleep(TICK_S)
        watch.thread = None
    return slow


@pytest.fixture
def frozen() -> Iterator[None]:
    """What was there before is no concern of the collector's, as in the daemon after its start."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.alone
@pytest.mark.usefixtures("frozen")
@pytest.mark.timeout(280)
def test_no_step_on_fifty_thousand_files_holds_the_event_loop_up() -> None:
    watch = Watch()
    slow: list[str] = []
    with large_repository() as root:
        for play in range(PLAYS):
            with asyncio.Runner(debug=True, loop_factory=OwnTimeLoop) as runner:
                slow = runner.run(slow_callbacks(root, root.parent / f"state{play}", watch))
            if not slow:
                break
    assert slow == []
    assert watch.seen == []


def test_the_clock_and_the_watch_notice_a_loop_that_is_held_up() -> None:
    """Else the test above could not fail."""
    watch = Watch()

    async def hold_up() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = BLOCKED_S
        with told_of_slow_callbacks() as slow:
            await asyncio.sleep(0)
            until = time.thread_time() + 2 * BLOCKED_S
            while time.thread_time() < until:
                pass
            watch.thread = threading.get_ident()
            assert os.listdir("/")  # noqa: PTH208 - what must be noticed
            watch.thread = None
            await asyncio.sleep(0)
        return slow

    with asyncio.Runner(debug=True, loop_factory=OwnTimeLoop) as runner:
        slow = runner.run(hold_up())
    assert len(slow) == 1
    assert watch.seen == ["os.listdir ('/',)"]
