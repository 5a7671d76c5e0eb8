"""Blocking work in a thread that nobody waits for at the end of the loop or of the process.

For talking to servers that may take a connection and say nothing, or a byte a minute: a thread of the
loop's pool would hold a daemon up that has stopped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


def in_own_thread(work: Callable[[], None], name: str) -> asyncio.Future[None]:
    """Begin it at once; what it raises is raised where the future is awaited."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failed = None
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised where this is awaited
            failed = error
        with suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(tell, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
