"""Blocking work is waited for, whatever happens to the caller."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agentcoord.workspace.threads import run_to_end


async def test_the_result_and_the_error_come_through() -> None:
    assert await run_to_end(lambda a: a + 1, 1) == 2
    with pytest.raises(ZeroDivisionError):
        await run_to_end(lambda: 1 // 0)


async def test_a_caller_cancelled_twice_still_waits_for_the_thread() -> None:
    started, go_on = threading.Event(), threading.Event()
    ended = []

    def work() -> None:
        started.set()
        go_on.wait(10)
        ended.append(True)

    seen = []

    async def caller() -> None:
        try:
            await run_to_end(work)
        except asyncio.CancelledError:
            seen.append(list(ended))
            raise

    async with asyncio.TaskGroup() as group:
        task = group.create_task(caller())
        await asyncio.to_thread(started.wait, 10)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        go_on.set()
    assert task.cancelled()
    assert seen == [[True]]
