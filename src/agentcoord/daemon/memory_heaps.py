"""How the process's memory is handed out and taken back, which decides whether a night's memory stays flat.

glibc makes a heap for each thread, up to eight a core, and what a heap has once had it keeps for itself: with
threads that copy and hash files all night, memory grows as if it leaked. It also takes large pieces from
the heap once it has seen one freed, and what is left between them is too small for the next: a megabyte
of answer then costs a megabyte for good.
Python's collector, in turn, looks for old garbage only when there is much of it against all that is old, and
what the daemon has imported counts as that: most of what a night leaves then waits beside it.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_HEAPS = 2
_LARGE_BYTES = 128 * 1024
_COLLECT_AFTER = (700, 10, 3)
"""See gc.set_threshold(); by itself the last one is 10."""


def keep_memory_together() -> None:
    """Have all threads share two heaps, and large pieces lie outside; to be called before any is started.

    See mallopt(3); where the C library has none of it, nothing is changed.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _HEAPS)
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def pass_over_what_is_there() -> None:
    """Have the collector leave alone all that is in memory now, and look often through what comes.

    All of it would take it a tenth of a second each time, with the SDK in memory, in which nothing else
    runs; what comes takes some milliseconds. The second collection finds nothing: it counts as old what is
    left, which is little.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(*_COLLECT_AFTER)
