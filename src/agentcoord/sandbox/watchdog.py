"""Ends a command that eats up the machine: disk, memory or, where the kernel does not count, processes.

Separate from running because all this is about the machine, not about the command. There is no quota
on a plain folder, so free space is watched; it is the whole file system's, hence approximate. The
process limit (`RLIMIT_NPROC`) does not bind root, and before Linux 5.14 it counted the user's other
processes too: there the family is counted through /proc instead.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.memory import available_bytes, holds_more_than, memory_is_eaten
from agentcoord.sandbox.policy import KilledBy, Limits
from agentcoord.values import dataclass

PERIOD_S = 0.1
"""Short, because a program fills about a gigabyte of memory a second."""

FindFamily = Callable[[int], Sequence[int]]
"""Returns the numbers of a command's processes, up to the given bound and no further."""


class Room(NamedTuple):
    """What an ordinary user may still put on a file system."""

    bytes: int
    files: int | None
    """None where it has no bound of its own."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at beside the disk."""

    family: FindFamily | None = None
    """None where a command's processes cannot be told from the user's others."""
    counts_processes: bool = False
    """The kernel does not: more than `Limits.processes` end the command."""
    memory_bytes: int = 0
    """What the family may hold together."""


async def watch_resources(
    workspace: Path,
    limits: Limits,
    watched: Watched,
    *,
    clock: Clock,
    available: Callable[[], int | None] = available_bytes,
    room: Callable[[Path], Room] | None = None,
) -> KilledBy:
    """Return the reason as soon as there is one to end the command; runs until cancelled otherwise."""
    look = room or free_room
    free_at_start = await asyncio.to_thread(look, workspace)
    available_at_start = available()
    while True:
        await clock.sleep(PERIOD_S)
        free_now = await asyncio.to_thread(look, workspace)
        if disk_is_eaten(free_at_start, free_now, limits):
            return KilledBy.DISK
        if memory_is_eaten(available_at_start, available(), limits):
            return KilledBy.MEMORY
        if watched.family is None:
            continue
        # Counted on the loop's thread: a bomb must not be able to starve the thread pool.
        family = watched.family(limits.processes + 1)
        if watched.counts_processes and len(family) > limits.processes:
            return KilledBy.PROCESSES
        if await asyncio.to_thread(holds_more_than, watched.memory_bytes, family):
            return KilledBy.MEMORY


def disk_is_eaten(at_start: Room, now: Room, limits: Limits) -> bool:
    """Whether too much went since the start, or a good part of it came out of the reserve."""
    if at_start.bytes - now.bytes > limits.disk_growth_bytes:
        return True
    if _is_into_reserve(at_start.bytes, now.bytes, limits.disk_reserve_bytes):
        return True
    if at_start.files is None or now.files is None:
        return False
    return _is_into_reserve(at_start.files, now.files, limits.disk_files_reserve)


def _is_into_reserve(at_start: int, now: int, reserve: int) -> bool:
    # A disk that was nearly full before is not this command's doing.
    return now < reserve and at_start - now > reserve // 8


def free_room(folder: Path) -> Room:
    """Ask the file system of `folder`."""
    try:
        state = os.statvfs(folder)
    except OSError as error:
        raise SandboxError(f"The disk of {folder} cannot be watched: {error.strerror}.") from error
    return Room(state.f_bavail * state.f_frsize, state.f_favail if state.f_files else None)


def kernel_counts_processes() -> bool:
    """Whether `RLIMIT_NPROC` bounds the processes of one sandbox alone."""
    return os.geteuid() != 0 and _release_tuple(platform.release()) >= (5, 14)


def descendants(pid: int, bound: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the processes below `pid`, itself included, up to `bound`."""
    waiting = [pid]
    found: list[int] = []
    while waiting and len(found) < bound:
        parent = waiting.pop()
        found.append(parent)
        waiting += _children(proc / str(parent) / "task")
    return found


def _children(tasks: Path) -> list[int]:
    found: list[int] = []
    try:
        threads = os.listdir(tasks)  # noqa: PTH208 - a plain list, no Path a thread
        for thread in threads:
            found += map(int, (tasks / thread / "children").read_text().split())
    except OSError:
        return found  # It ended while we looked.
    return found


def _release_tuple(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = rest.split(".", 1)[0].split("-", 1)[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
