"""Whether tasks are handed out: the stored flag, and what the dispatcher believes of it.

Separate from the queue, whose tasks it leaves as they are. Why a run is paused, and telling anybody, is the
daemon's.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import field

from redis.asyncio import Redis

from agentcoord.store.dispatcher import Dispatcher
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import calling, read_hash
from agentcoord.values import dataclass


@dataclass(slots=True)
class PauseSwitch:
    """The switch of one project. Both methods may raise StoreUnavailableError."""

    client: Redis
    keys: Keys
    dispatcher: Dispatcher
    in_doubt: bool = False
    """Whether the store may say something else than the dispatcher believes."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def set(self, paused: bool) -> None:
        """Stop or resume handing out tasks; it is remembered across restarts."""
        async with self._turn:  # Of two at once, the later answer could come first.
            self.in_doubt = True
            async with calling("store a setting"), self.client.pipeline(transaction=False) as pipe:
                pipe.hset(self.keys.of("settings"), "paused", str(int(paused)))
                if paused:
                    # A hand-over, which looks at nothing else, is not made any more, not even one under way.
                    pipe.set(self.keys.of("routes:version"), uuid.uuid4().hex)
                await pipe.execute()
            self._believe(paused)

    async def look_again(self) -> None:
        """Believe what is stored."""
        async with self._turn:
            settings = await read_hash(self.client, self.keys.of("settings"))
            self._believe(settings.get("paused") == "1")

    def _believe(self, paused: bool) -> None:
        self.in_doubt = False
        self.dispatcher.paused = paused
        self.dispatcher.wake()
