"""A view that changes nothing: what may be asked in it.

The screens already say why a key does nothing (`actions`); this stands behind them, so that no key, no
command and no later screen can act by oversight.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from agentcoord.errors import RpcError
from agentcoord.tui.feed import FeedSource, Subscription
from agentcoord.tui.link import Mode
from agentcoord.tui.model import Position
from agentcoord.wire.protocol import ExitCode, Method, RpcCode

READING: Final = frozenset(
    {
        Method.HELLO,
        Method.STATUS,
        Method.TASKS,
        Method.TASK,
        Method.WORKERS,
        Method.COSTS,
        Method.STATS,
        Method.LOCKS,
        Method.DIFF,
        Method.BLAME,
        Method.TRANSCRIPT,
    }
)
"""Methods that change nothing. A new method is refused until it is listed here."""


class ReadOnlySource:
    """Hands on what only reads, and refuses the rest."""

    def __init__(self, source: FeedSource) -> None:
        self._source = source

    def subscribe(self, since: Position | None) -> AbstractAsyncContextManager[Subscription]:
        return self._source.subscribe(since)

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        """Ask, if it changes nothing. Raises RpcError otherwise, and what the source raises."""
        if method not in READING:
            raise RpcError(Mode.READ_ONLY.why_not, code=RpcCode.REFUSED, exit_code=ExitCode.REFUSED)
        return await self._source.call(method, **params)
