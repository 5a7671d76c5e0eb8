"""Stopping: one place that knows whether, and how fast.

SIGTERM, Ctrl-C, `stop`, a drained fleet and the deadline all ask here and end in the same
orderly way. Asking twice means at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


class Shutdown:
    """Collects requests to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._now = asyncio.Event()
        self.restarting = False
        """Whether who asked first will start a new daemon."""
        self.on_ask: Callable[[], None] = lambda: None
        """Called at each request."""

    def ask(self, *, now: bool, restarting: bool = False) -> None:
        """Ask for a stop; `now`, or asking a second time, cuts running turns off."""
        if not self._asked.is_set():
            self.restarting = restarting
        if now or self._asked.is_set():
            self._now.set()
        self._asked.set()
        self.on_ask()

    async def asked(self) -> bool:
        """Wait for the first request; return whether it is for now."""
        await self._asked.wait()
        return self._now.is_set()

    async def asked_now(self) -> None:
        """Wait until it must be at once."""
        await self._now.wait()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ask for a stop at SIGTERM and SIGINT, inside the block."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, lambda: self.ask(now=False))
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
