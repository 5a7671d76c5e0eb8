"""Cancels an operation at its k-th suspension, for every k, at the two moments that differ.

A coroutine can be cancelled only where it suspends. Cancelled early, what it waits for has not come;
cancelled late, it has, and the coroutine has not yet gone on: whatever it was just handed is lost
unless it looks.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MOST_SUSPENSIONS = 200


class Moment(StrEnum):
    """When, at a suspension, the cancellation arrives."""

    EARLY = "early"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended."""

    was_cancelled: bool
    result: Any = None


async def cancel_at(
    operation: Coroutine[Any, Any, Any],
    k: int,
    moment: Moment,
    *,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> Outcome:
    """Run `operation`, cancelled at its k-th suspension (from 1); it ends uncancelled when it has fewer.

    `meanwhile` lets it go on where it would wait for ever. A cancellation that the operation swallows is
    an AssertionError.
    """
    loop = asyncio.get_running_loop()
    suspensions = 0

    def suspended(waited_for: asyncio.Future[Any] | None) -> None:
        nonlocal suspensions
        suspensions += 1
        if suspensions != k:
            return
        if moment is Moment.LATE and waited_for is not None:
            waited_for.add_done_callback(lambda _: task.cancel())
        else:
            loop.call_soon(task.cancel)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(_watched(operation, suspended))
        if meanwhile is not None:
            group.create_task(_once_under_way(meanwhile, task))
        await asyncio.wait([task])
    assert suspensions < MOST_SUSPENSIONS
    if task.cancelled():
        return Outcome(was_cancelled=True)
    assert suspensions < k, "the cancellation was swallowed"
    return Outcome(was_cancelled=False, result=task.result())


async def _once_under_way(meanwhile: Callable[[], Awaitable[object]], task: asyncio.Task[Any]) -> None:
    """Give the operation time to wait for what `meanwhile` brings, which comes in any case."""
    for _ in range(60):
        if task.done():
            break
        await asyncio.sleep(0)
    await meanwhile()


async def _watched(
    operation: Coroutine[Any, Any, Any], suspended: Callable[[asyncio.Future[Any] | None], None]
) -> Any:
    return await _driven(operation, suspended)


@types.coroutine
def _driven(
    operation: Coroutine[Any, Any, Any], suspended: Callable[[asyncio.Future[Any] | None], None]
) -> Generator[Any, Any, Any]:
    """Do what `await operation` does, and tell of each suspension what it waits for."""
    error: BaseException | None = None
    while True:
        try:
            waited_for = operation.send(None) if error is None else operation.throw(error)
        except StopIteration as ended:
            return ended.value
        suspended(waited_for)
        try:
            yield waited_for
            error = None
        except BaseException as thrown:  # noqa: BLE001 - handed on to the operation itself.
            error = thrown
