"""Waiting for work that a cancellation must not tear: it is finished first, and raised after.

Separate because handing a task back, ending it and landing it all need the same guarantee: whoever
cancels the worker finds the store and the tree agreeing afterwards. `asyncio.shield` alone would let
go of its work at the second cancellation. Deliberately absent: a bound; the work brings its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Return what `work` returns. Cancelled, the caller still waits until `work` has ended.

    The cancellation is raised then, and what `work` raised is lost. `work` must be bounded.
    """
    ended = asyncio.Event()

    async def ending() -> T:
        try:
            return await work
        finally:
            ended.set()

    try:
        return await asyncio.shield(ending())
    except asyncio.CancelledError:
        while not ended.is_set():
            # A further cancellation changes nothing: the first is raised below in any case.
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()
        raise
