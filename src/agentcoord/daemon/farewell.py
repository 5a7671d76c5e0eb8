"""The end of a stopping daemon's conversations: subscribers hear everything, and followers ask once more.

Theory of operation. `agentcoord run` and `wait` learn by `daemon.stopping` that the night is over, and
then ask how it stands. They say `last_words` when they subscribe; before the socket closes, the daemon
answers until they have hung up. Every other subscriber is sent what waits for it, and no more. Both are
bounded by `PATIENCE_S`, because a client that does not read must not hold up a stop.
Deliberately absent: closing (`control`), and what is sent (`connection`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

PATIENCE_S: Final = 3.0
"""How long clients may hold up a stopping daemon, all together."""


class Farewell:
    """Who is still to hear or to ask something. One a control socket."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.begun = False
        """Whether the socket is about to close: who publishes ends when nothing more waits."""
        self._patience_s = patience_s
        self._wakes: list[Callable[[], None]] = []
        """One for each client that is being published to."""
        self._askers = 0
        self._fewer = asyncio.Event()

    @contextmanager
    def publishing(self, wake: Callable[[], None]) -> Iterator[None]:
        """Count a client that is sent news inside the block; `wake` is called when the farewell begins."""
        self._wakes.append(wake)
        try:
            yield
        finally:
            self._wakes.remove(wake)
            self._fewer.set()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count a client that will ask something when it has heard the last event."""
        self._askers += 1
        try:
            yield
        finally:
            self._askers -= 1
            self._fewer.set()

    async def said(self) -> None:
        """Begin it, and return when everybody has heard and asked enough, or at the end of patience."""
        self.begun = True
        for wake in self._wakes:
            wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                while self._wakes or self._askers:
                    self._fewer.clear()
                    await self._fewer.wait()
