"""Telling a fault of the machine from a fault of one attempt: a full disk, a repository that is gone.

Separate because such a fault is the same for every task: trying the next one would only spend the
night's attempts. Deliberately absent: what is done about it (`task_run` holds the run).
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from agentcoord.workspace.mirror import FREE_FLOOR_BYTES

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def fault_of(error: BaseException, root: Path, state: Path) -> str | None:
    """Say what of the machine made `error`, and what to do; None when it is the attempt's own.

    `root` is the repository, `state` a folder on the state's disk. Blocking.
    """
    if not (root / ".git").exists():
        return f"the repository {root} is gone: bring it back, then agentcoord ctl resume"
    if any(cause.errno in _FULL for cause in _causes(error)) or _is_below_floor(state):
        return f"the disk of {root} or {state} is full: free some space, then agentcoord ctl resume"
    return None


def _causes(error: BaseException | None) -> list[OSError]:
    """Every OSError in the chain of what was translated into what."""
    found = []
    while error is not None:
        if isinstance(error, OSError):
            found.append(error)
        error = error.__cause__
    return found


def _is_below_floor(state: Path) -> bool:
    try:
        return shutil.disk_usage(state).free < FREE_FLOOR_BYTES
    except OSError:
        return False
