"""How much memory a command's processes hold, and whether the machine runs out of it: from outside.

Separate from the watchdog, which decides when to look. What one process may hold is bounded by the
kernel (`RLIMIT_DATA`); no resource limit bounds a family together, and an ordinary user's
cgroups need a session manager that delegates them. So the family's resident memory is added up
through /proc, which works for everybody. Memory that no process has mapped (a file in memory, written
and not mapped) is in nobody's count: against that, and against several commands together, the machine's
own free memory is watched.

Linux alone: elsewhere these files do not exist, and nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from agentcoord.sandbox.policy import Limits

_PROC = Path("/proc")
_RESIDENT = ("RssAnon", "RssShmem")
_SHARE = ("Pss_Anon", "Pss_Shmem")
_AVAILABLE = ("MemAvailable",)
_COMMAND_PARTS = (3, 4)
"""One command gets at most this part of the machine's memory."""


def memory_bound_bytes(limits: Limits, machine_bytes: int) -> int:
    """Return what one command may hold on a machine with so much memory."""
    part, of = _COMMAND_PARTS
    return min(limits.memory_bytes, machine_bytes * part // of)


def holds_more_than(bound_bytes: int, pids: Sequence[int], proc: Path = _PROC) -> bool:
    """Whether these processes together hold more than `bound_bytes`, shared memory counted once."""
    if _total(pids, "status", _RESIDENT, proc) <= bound_bytes:
        return False
    # Forked processes share pages, which were counted for each of them. This count is exact, and
    # slow: it is only made when the quick one is too high. A process that hides from it counts in full.
    exact_bytes = 0
    for pid in pids:
        share_bytes = _bytes(proc / str(pid) / "smaps_rollup", _SHARE)
        if share_bytes is None:
            share_bytes = _bytes(proc / str(pid) / "status", _RESIDENT) or 0
        exact_bytes += share_bytes
    return exact_bytes > bound_bytes


def available_bytes(proc: Path = _PROC) -> int | None:
    """Return what the machine can still give without swapping; None where that is unknown."""
    return _bytes(proc / "meminfo", _AVAILABLE)


def memory_is_eaten(at_start_bytes: int | None, now_bytes: int | None, limits: Limits) -> bool:
    """Whether the machine's last memory is being used up, and that began after the command did."""
    if at_start_bytes is None or now_bytes is None or now_bytes >= limits.memory_reserve_bytes:
        return False
    return at_start_bytes - now_bytes > limits.memory_reserve_bytes // 2


def _total(pids: Iterable[int], file: str, fields: Sequence[str], proc: Path) -> int:
    return sum(_bytes(proc / str(pid) / file, fields) or 0 for pid in pids)


def _bytes(path: Path, fields: Sequence[str]) -> int | None:
    """Add up fields of the form `Name:   123 kB`; None when the file cannot be read or has none of them."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None  # It ended while we looked, or it hides.
    found = [
        int(value.split()[0])
        for name, _, value in (line.partition(":") for line in text.splitlines())
        if name in fields
    ]
    return sum(found) * 1024 if found else None
