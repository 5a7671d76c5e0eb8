"""The control socket as the dashboard's source: one connection to listen, one for each question.

Questions travel on connections of their own, so that a long diff never delays the live view,
and an answer needs no working subscription.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from agentcoord.tui.feed import Subscription
from agentcoord.tui.model import Position
from agentcoord.wire import client as wire
from agentcoord.wire.client import ControlClient
from agentcoord.wire.codec import Notice
from agentcoord.wire.protocol import Method, Topic

CLIENT_NAME: Final = "dashboard"
CALL_TIMEOUT_S: Final = 10.0


class SocketSource:
    """Satisfies `FeedSource` with the daemon that listens on `socket_path`."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    @asynccontextmanager
    async def subscribe(self, since: Position | None) -> AsyncIterator[Subscription]:
        """Connect and subscribe to every topic; the connection closes with the context."""
        position = None if since is None else (since.epoch, since.seq)
        async with ControlClient.connect(
            self._socket_path, client_name=CLIENT_NAME, call_timeout_s=CALL_TIMEOUT_S
        ) as client:
            subscription = await client.subscribe(tuple(Topic), since=position)
            yield Subscription(subscription.view, _batches(subscription))

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        """Ask one thing on a connection of its own."""
        async with ControlClient.connect(
            self._socket_path, client_name=CLIENT_NAME, call_timeout_s=CALL_TIMEOUT_S
        ) as client:
            return await client.call(method, **params)


async def _batches(subscription: wire.Subscription) -> AsyncIterator[Sequence[Notice]]:
    """What came together, for ever."""
    while True:
        yield await subscription.together()
