"""Sandboxes that no command will ever begin in: their daemon was killed while bwrap was starting.

bwrap's first process waits for its parent before it asks to die with it. When the parent ends first, as it
does once nobody reads its report, that process waits for ever. It is known by what nothing alive has: it is
the first of a namespace, holds a file of ours, and its parent is no bwrap. So it is nobody's who
is at work, of whatever project.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

MEMORY_FILE = "agentcoord"
"""The name of each file in memory that we hand to bwrap."""
_BWRAP = "bwrap"


def end_abandoned(memory_file: str = MEMORY_FILE, proc: Path = Path("/proc")) -> int:
    """End those that hold such a file and are this user's; returns how many. Blocking.

    Where there is no `/proc` there is no bwrap either.
    """
    ended = 0
    for process in proc.iterdir() if _can_be_told_apart(proc) else ():
        with suppress(OSError):
            if process.name.isdigit() and _name_of(process) == _BWRAP:
                ended += _end_if_abandoned(process, memory_file)
    return ended


def _can_be_told_apart(proc: Path) -> bool:
    """Whether the numbers there are those that we know processes by, and the system holds on to a process."""
    with suppress(OSError):
        return hasattr(os, "pidfd_open") and os.fspath((proc / "self").readlink()) == str(os.getpid())
    return False


def _end_if_abandoned(process: Path, memory_file: str) -> bool:
    """Look after it is held, so that no other process of that number gets the signal. Raises OSError."""
    descriptor = os.pidfd_open(int(process.name))
    try:
        if not _is_abandoned(process, memory_file):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return True


def _is_abandoned(process: Path, memory_file: str) -> bool:
    facts = _facts_of(process)
    begins_namespace = facts.get("NSpid", "").split()[1:] == ["1"]
    if _name_of(process) != _BWRAP or not begins_namespace:
        return False
    held = (os.fspath(descriptor.readlink()) for descriptor in (process / "fd").iterdir())
    if not any(name.startswith(f"/memfd:{memory_file} ") for name in held):
        return False
    return _name_of(process.parent / facts["PPid"]) != _BWRAP  # One that is hidden from us may be.


def _name_of(process: Path) -> str:
    return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()


def _facts_of(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
