"""Telling a fault of the machine from a fault of one attempt: a full disk, a repository that is gone.

Separate because such a fault is the same for every task: trying the next one would only spend the
night's attempts. Deliberately absent: what is done about it (`task_run` holds the run).
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from agentcoord.errors import DiskShortError
from agentcoord.workspace.mirror import FREE_FLOOR_BYTES

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def fault_of(
    error: BaseException, root: Path, state: Path, *, floor_bytes: int = FREE_FLOOR_BYTES
) -> str | None:
    """Say what of the machine made `error`, and what to do; None when it is the attempt's own.

    `root` is the repository, `state` a folder on the state's disk, `floor_bytes` what must stay free on it.
    Blocking.
    """
    if not (root / ".git").exists():
        return f"the repository {root} is gone: bring it back, then agentcoord ctl resume"
    mend = "free some space, then agentcoord ctl resume"
    causes = _causes(error)
    short = next((cause for cause in causes if isinstance(cause, DiskShortError)), None)
    if short is not None:
        return f"{short.message}: {mend}"
    if any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes):
        return f"the disk of {root} or {state} is full: {mend}"
    free_bytes = _free_bytes(state)
    if free_bytes is not None and free_bytes < floor_bytes:
        return (
            f"the disk of {state} is nearly full, {free_bytes >> 20} MB are free and "
            f"{floor_bytes >> 20} MB must stay free: {mend}"
        )
    return None


def _causes(error: BaseException | None) -> list[BaseException]:
    """The chain of what was translated into what."""
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def _free_bytes(state: Path) -> int | None:
    """What is free on the disk of `state`; None when that cannot be said."""
    try:
        return shutil.disk_usage(state).free
    except OSError:
        return None
