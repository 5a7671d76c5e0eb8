"""Looking at a project's lock from outside, and waiting until something is so.

Separate from `starting`, which imports this as `forced_stop` does. Cheap to import.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.05


def wait_until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Look again and again until `is_so`; return whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def holds_lock(lock_file: Path) -> bool:
    """Whether some daemon holds the project's lock."""
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
