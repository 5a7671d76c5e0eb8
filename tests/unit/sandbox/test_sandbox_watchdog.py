"""When a command is ended for what it does to the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import KilledBy, Limits
from agentcoord.sandbox.watchdog import (
    Room,
    Watched,
    _release_tuple,
    descendants,
    disk_is_eaten,
    free_room,
    watch_resources,
)

GIB = 1024**3
LIMITS = Limits(disk_growth_bytes=8 * GIB, disk_reserve_bytes=GIB)


class TickingClock(SystemClock):
    """Sleeps not at all, and gives up after a bound so that no test hangs."""

    def __init__(self) -> None:
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept += 1
        assert self.slept < 100


@pytest.mark.parametrize(
    ("before", "now", "eaten"),
    [
        (100 * GIB, 93 * GIB, False),
        (100 * GIB, 91 * GIB, True),
        (2 * GIB, GIB // 2, True),
        (GIB // 2, GIB // 2, False),
        (GIB // 2, GIB // 2 - 1000, False),
        (10 * GIB, 100 * GIB, False),
    ],
    ids=["growing", "too-much", "into-the-reserve", "was-full-before", "hardly-anything", "freed"],
)
def test_the_disk_is_eaten_by_growth_or_into_the_reserve(before: int, now: int, eaten: bool) -> None:
    assert disk_is_eaten(Room(before, None), Room(now, None), LIMITS) is eaten


@pytest.mark.parametrize(
    ("before", "now", "eaten"),
    [
        (6_000_000, 3_900_000, False),
        (6_000_000, 19_000, True),
        (10_000, 9_000, False),
        (None, None, False),
    ],
    ids=["growing", "into-the-reserve", "was-full-before", "no-bound"],
)
async def test_a_disk_that_can_hold_hardly_any_more_files_is_eaten_too(
    tmp_path: Path, before: int | None, now: int | None, eaten: bool
) -> None:
    """Empty files take no space."""
    assert disk_is_eaten(Room(100 * GIB, before), Room(100 * GIB, now), LIMITS) is eaten
    if eaten:
        looks = iter([Room(100 * GIB, before), Room(100 * GIB, before), Room(100 * GIB, now)])
        watching = watch_resources(
            tmp_path, LIMITS, Watched(), clock=TickingClock(), room=lambda _: next(looks)
        )
        assert await watching is KilledBy.DISK


def test_a_file_system_tells_how_many_files_it_can_still_hold(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    assert (free_room(tmp_path).files is None) is (state.f_files == 0)


async def test_too_many_processes_are_noticed_at_the_next_look(tmp_path: Path) -> None:
    counts = iter([1, 500, 513])
    clock = TickingClock()
    # Numbers that no process has.
    watched = Watched(lambda bound: [-1] * min(next(counts), bound), counts_processes=True, memory_bytes=GIB)
    verdict = await watch_resources(tmp_path, Limits(processes=512), watched, clock=clock)
    assert verdict is KilledBy.PROCESSES
    assert clock.slept == 3


async def test_where_the_kernel_counts_processes_nobody_else_does(tmp_path: Path) -> None:
    looks = iter([[-1] * 600, [-1] * 600, [os.getpid()]])
    clock = TickingClock()
    watched = Watched(lambda _: next(looks), memory_bytes=1)
    assert await watch_resources(tmp_path, Limits(), watched, clock=clock) is KilledBy.MEMORY
    assert clock.slept == 3


async def test_a_machine_that_runs_out_of_memory_ends_the_command(tmp_path: Path) -> None:
    """Files in memory that nobody has mapped are in no process's count."""
    readings = iter([8 * GIB, 4 * GIB, GIB, 100 * 1024**2])
    clock = TickingClock()
    verdict = await watch_resources(
        tmp_path, Limits(), Watched(), clock=clock, available=lambda: next(readings)
    )
    assert verdict is KilledBy.MEMORY
    assert clock.slept == 3


def test_descendants_are_counted_through_every_thread_and_no_further_than_asked(tmp_path: Path) -> None:
    children = {1: "2 3", 2: "4", 3: "", 4: ""}
    for pid, text in children.items():
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(text)
    second_thread = tmp_path / "3" / "task" / "33"
    second_thread.mkdir()
    (second_thread / "children").write_text("5 6")  # These two have ended by now.
    assert sorted(descendants(1, 100, tmp_path)) == [1, 2, 3, 4, 5, 6]
    assert len(descendants(1, 3, tmp_path)) == 3


def test_this_process_counts_itself() -> None:
    assert os.getpid() in descendants(os.getpid(), 10_000)


def test_a_folder_that_is_gone_is_told_in_words(tmp_path: Path) -> None:
    assert free_room(tmp_path).bytes > 0
    with pytest.raises(SandboxError, match="cannot be watched"):
        free_room(tmp_path / "gone")


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.18.44-generic", (6, 18)), ("5.4-rc1", (5, 4)), ("4.18.0-553.el8", (4, 18)), ("odd", (0, 0))],
)
def test_kernel_releases_are_read(release: str, expected: tuple[int, int]) -> None:
    assert _release_tuple(release) == expected
