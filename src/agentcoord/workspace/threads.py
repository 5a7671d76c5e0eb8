"""Blocking work in a thread that is always waited for, also when the caller is cancelled.

Separate because every change to a copy, the journal or the user's tree needs the same
guarantee: a cancelled caller must not hand a slot or a lock on while a thread still
writes. `asyncio.to_thread` alone abandons its thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_to_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread and return what it returns.

    When the caller is cancelled, the cancellation is passed on only after the thread has
    ended: what `work` holds (a slot, the tree) is then at rest. `work` must be bounded.
    """
    future = asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            # A second cancellation changes nothing: the first is raised below in any case.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # Retrieved, so that asyncio does not warn about it.
        raise
