"""How the process's memory is handed out by the C library, which decides whether a night's memory stays flat.

glibc makes a heap for each thread, up to eight a core, and what a heap has once had it keeps for itself: with
threads that copy and hash files all night, memory grows as if it leaked. It also takes large pieces from
the heap once it has seen one freed, and what is left between them is too small for the next: a megabyte
of answer then costs a megabyte for good.
"""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_HEAPS = 2
_LARGE_BYTES = 128 * 1024


def keep_memory_together() -> None:
    """Have all threads share two heaps, and large pieces lie outside; to be called before any is started.

    See mallopt(3); where the C library has none of it, nothing is changed.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _HEAPS)
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
