"""50,000 files through every step of a private copy and a landing: the event loop is never held up.

Asyncio's own log of slow callbacks has to stay empty, by a clock that goes by processors instead of the
time that passes, most of which a busy machine takes away. The loop is held up by what its own thread
computes, and by another thread that computes and keeps the interpreter: in any callback for no longer than
ours computed, nor than none of ours waited for a processor. A ticker looks closer: it lets go of the
interpreter every few milliseconds, and counts what ours have computed from the instant in which it asked for
it again until it had it. What the loop's thread would sleep over is caught whatever it costs: files and
programs that it opens or starts, waiting for a disk, for a process, for a lock that somebody has.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import linecache
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

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
LET_GO_TIMES = 8
TICK_S = 0.005
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""The loop is measured here, not the disk."""
TASK = TaskId("t")
SLEEPING = {"fsync", "fdatasync", "sync", "sleep", "waitpid", "read", "readinto", "recv_into"}
BLOCKING = ("open", "os.", "subprocess.", "shutil.", "tempfile.", "fcntl.flock")


class OwnTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes as far as ours compute, or it waits for events."""

    def __init__(self) -> None:
        self._told_s = 0.0
        self.overdue: list[str] = []
        """What held it up when it was to go on after waiting for events."""
        self._thread = threading.get_ident()
        self._waits = Waits()
        self._before = self.spent()
        super().__init__(TimedSelector(self))

    def time(self) -> float:
        if threading.get_ident() == self._thread:
            now = self.spent()
            self.tell(now.held_up_since(self._before))
        return self._told_s

    def let_go(self) -> None:
        """Let others have the interpreter; what they compute until it is ours again is time that passes."""
        self.time()
        # Several times in a row: what others compute while the loop sleeps instead is not seen.
        self.tell(max(processor_time_until_had_again() for _ in range(LET_GO_TIMES)))

    def tell(self, passed_s: float) -> None:
        """So much time has passed until now, and no more."""
        self._told_s += passed_s
        self._before = self.spent()

    def spent(self) -> Spent:
        # The clocks first: what it takes to look after the threads is no part of what is measured.
        return Spent(time.monotonic(), time.thread_time(), time.process_time(), self._waits.now_ns())


class TimedSelector(selectors.DefaultSelector):
    """Tells the loop how long it waited for events, and when it had to wait for others after that."""

    def __init__(self, loop: OwnTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.time()
        begun = self._loop.spent()
        found = super().select(timeout)
        now = self._loop.spent()
        took_s = now.wall_s - begun.wall_s
        late_s = now.held_up_since(begun, slept_s=took_s if timeout is None else min(timeout, took_s))
        if late_s > BLOCKED_S:
            self._loop.overdue.append(
                f"it was to go on and had to wait for {late_s:.3f} seconds of computing"
            )
        self._loop.tell(took_s)
        return found


@dataclass(frozen=True)
class Spent:
    """What the loop's thread and all of ours have had by a moment."""

    wall_s: float
    own_s: float
    """Of this thread, on a processor."""
    ours_s: float
    """Of all our threads, on processors."""
    waiting_ns: dict[int, int]
    """Of each of our threads, for a processor."""

    def held_up_since(self, before: Spent, *, slept_s: float = 0.0) -> float:
        """Return how long ours have held the loop's thread up since `before`, as far as one can tell."""
        own_s, ours_s = self.own_s - before.own_s, self.ours_s - before.ours_s
        waited_ns = sum(ns - before.waiting_ns.get(t, 0) for t, ns in self.waiting_ns.items())
        not_waited_s = self.wall_s - before.wall_s - slept_s - waited_ns / 1e9
        return max(own_s, min(ours_s, not_waited_s))


def _clock_without_the_interpreter() -> Callable[[int, ctypes.Array[ctypes.c_long]], int]:
    clock = ctypes.CDLL(None).clock_gettime
    clock.argtypes = (ctypes.c_int, ctypes.c_void_p)
    return clock


_READ_CLOCK = _clock_without_the_interpreter()


def processor_time_until_had_again() -> float:
    """Let go of the interpreter; return the seconds that ours compute from asking for it until having it.

    Who has it must give it back within a switch interval of the interpreter, unless one call of a C function
    goes on for longer; and then waits until we had it. However long a machine takes for that, it is as much
    computing.
    """
    asked = (ctypes.c_long * 2)()
    _READ_CLOCK(time.CLOCK_PROCESS_CPUTIME_ID, asked)
    return time.process_time() - (asked[0] + asked[1] / 1e9)


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
    """Notes what the loop's thread opens, starts or sleeps over, while switched on."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._thread: int | None = None
        sys.addaudithook(self._hear)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the thread that asks."""
        self._thread = threading.get_ident()
        sys.setprofile(self._hear_call)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._thread = None

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if self._thread != threading.get_ident() or not event.startswith(BLOCKING):
            return
        if args and str(args[0]).startswith(("/proc/self/task", *sys.path)):
            return  # The clock above, and asyncio when it shows the source of what was slow.
        self.seen.append(f"{event} {args[:1]}")

    def _hear_call(self, frame: FrameType, event: str, called: object) -> None:
        if event != "c_call":
            return
        name = getattr(called, "__name__", "")
        if name in SLEEPING or (name == "acquire" and _is_taken(called) and not _is_harmless(frame)):
            self.seen.append(f"{name} in {' of '.join(_callers(frame))}")


def _callers(frame: FrameType | None) -> list[str]:
    """The functions that are under way, the innermost first."""
    names = []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names


def _is_taken(acquire: object) -> bool:
    locked = getattr(getattr(acquire, "__self__", None), "locked", None)
    return locked is not None and bool(locked())


def _is_harmless(frame: FrameType) -> bool:
    """Whether it only asks who has a lock, or asyncio's pool asks for a free thread or starts one."""
    callers = _callers(frame)
    return callers[0] == "Condition._is_owned" or "ThreadPoolExecutor._adjust_thread_count" in callers


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
    loop = asyncio.get_running_loop()
    assert isinstance(loop, OwnTimeLoop)
    loop.slow_callback_duration = BLOCKED_S
    with told_of_slow_callbacks() as slow, watch.on():
        async with asyncio.TaskGroup() as group:
            steps = group.create_task(every_step(root, base))
            while not steps.done():
                loop.let_go()
                await asyncio.sleep(TICK_S)
    return slow + loop.overdue


@pytest.fixture
def frozen() -> Iterator[None]:
    """What was there before is no concern of the collector's, as in the daemon after its start."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def unasked_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio's debugging asks for each frame that it notes whether its source has changed: a system call,
    for which it lets go of the interpreter and waits for it again. A dozen in one callback are the bound.
    """
    monkeypatch.setattr(linecache, "checkcache", lambda filename=None: None)


@pytest.mark.alone
@pytest.mark.usefixtures("frozen", "unasked_sources")
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


def held_up_by(hold_up: Callable[[OwnTimeLoop], None], watch: Watch) -> list[str]:
    """What asyncio says when one callback is held up."""

    async def play() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, OwnTimeLoop)
        loop.slow_callback_duration = BLOCKED_S
        with told_of_slow_callbacks() as slow:
            await asyncio.sleep(0)
            with watch.on():
                hold_up(loop)
            await asyncio.sleep(0)
        return slow

    with asyncio.Runner(debug=True, loop_factory=OwnTimeLoop) as runner:
        return runner.run(play())


def compute(_: OwnTimeLoop) -> None:
    """Twice the bound, on a processor."""
    until = time.thread_time() + 2 * BLOCKED_S
    while time.thread_time() < until:
        pass


def start_who_keeps_the_interpreter(_: OwnTimeLoop) -> None:
    """Another thread computes at once, before its start is done."""
    keeping = threading.Thread(target=sum, args=(range(20_000_000),))
    keeping.start()
    keeping.join()


def wait_for_who_keeps_the_interpreter(loop: OwnTimeLoop) -> None:
    """Another thread computes in one call of a C function, as sorting a long list would."""
    begin = threading.Event()

    def keep() -> None:
        begin.wait()
        for _ in range(5):  # The first may pass while this thread sleeps of its own will.
            sum(range(10_000_000))

    keeping = threading.Thread(target=keep)
    keeping.start()
    begin.set()
    while keeping.is_alive():
        loop.let_go()


@pytest.mark.parametrize(
    "hold_up", [compute, start_who_keeps_the_interpreter, wait_for_who_keeps_the_interpreter]
)
def test_the_clock_notices_a_loop_that_is_held_up(hold_up: Callable[[OwnTimeLoop], None]) -> None:
    """Else the test above could not fail."""
    assert held_up_by(hold_up, Watch())


def look_around(_: OwnTimeLoop) -> None:
    assert os.listdir("/")  # noqa: PTH208 - what must be noticed


def wait_for_who_sleeps(_: OwnTimeLoop) -> None:
    done = threading.Event()
    waiting = threading.Timer(TICK_S, done.set)
    waiting.start()
    done.wait()


def wait_for_the_disk(_: OwnTimeLoop) -> None:
    with tempfile.TemporaryFile() as out:
        os.fsync(out.fileno())


@pytest.mark.parametrize(
    ("hold_up", "seen"),
    [
        (look_around, "os.listdir ('/',)"),
        (wait_for_who_sleeps, "acquire in Condition.wait"),
        (wait_for_the_disk, "fsync in wait_for_the_disk"),
    ],
)
def test_the_watch_notices_what_the_loops_thread_does_itself(
    hold_up: Callable[[OwnTimeLoop], None], seen: str
) -> None:
    watch = Watch()
    held_up_by(hold_up, watch)
    assert any(each.startswith(seen) for each in watch.seen)


def test_a_thread_that_computes_and_hands_the_interpreter_on_holds_nobody_up() -> None:
    """However many there are of the machine's programs beside ours."""

    def let_go_beside_who_computes(loop: OwnTimeLoop) -> None:
        going = True

        def work() -> None:
            while going:
                sum(range(1000))

        working = threading.Thread(target=work)
        working.start()
        loop.let_go()
        going = False
        working.join()

    assert held_up_by(let_go_beside_who_computes, Watch()) == []
