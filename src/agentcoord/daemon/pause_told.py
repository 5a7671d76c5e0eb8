"""What was told of a pause, and whose turn it is to change it.

Separate from `pausing`, which needs the workshop that this is a part of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field

from agentcoord.errors import StoreUnavailableError
from agentcoord.values import dataclass

TURN_S = 10.0
"""How long anybody waits for the others: with a store that says nothing each of them takes seconds."""


@dataclass(slots=True)
class Pausing:
    """One pause or resume at a time: each is several steps."""

    told: bool | None = None
    """Whether clients were last told that the run is paused; None: neither way."""
    why: str = ""
    """As it was told."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let nobody else pause or resume inside the block. Raises StoreUnavailableError after 10 s."""
        try:
            async with asyncio.timeout(TURN_S):
                await self._lock.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("another pause of the run is not stored yet") from error
        try:
            yield
        finally:
            self._lock.release()
