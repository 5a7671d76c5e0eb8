"""How many heaps the process's threads use, which decides whether a night's memory stays flat.

glibc makes a heap for each thread, up to eight a core, and what a heap has once had it keeps for itself: with
threads that copy and hash files all night, memory grows as if it leaked.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8
_HEAPS = 2


def keep_memory_together() -> None:
    """Have all threads share two heaps; to be called before any is started.

    See mallopt(3), M_ARENA_MAX; where the C library has none of it, nothing is changed.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _HEAPS)
