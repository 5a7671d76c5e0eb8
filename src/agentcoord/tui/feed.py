"""The one reader of the control socket: keeps the model true, and reconnects for ever.

Theory of operation. `Feed.run()` subscribes from the model's position, folds what comes, and
when the connection ends for whatever reason marks the model as lost, waits, and subscribes
again. Hours in a terminal must not end because a daemon restarted. A silent daemon is asked
for its status now and then, so that a hung one is noticed. A hole in the events is mended by
subscribing again at once; the same hole twice means that the daemon does not have the events
any more, and the model goes on with a mark in their place.
Deliberately absent: the socket itself (`source`), and drawing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, cast

from agentcoord.clock import Clock
from agentcoord.errors import AgentCoordError
from agentcoord.tui.link import Link, LinkView
from agentcoord.tui.model import DashboardModel, MissedEventsError, Position
from agentcoord.values import dataclass
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import Method, StatusView, SubscribeView, TaskView, WorkerView

BACKOFF_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)
"""Waits between attempts; the last repeats."""
SETTLED_S: Final = 5.0
"""A connection that lived this long starts the waits from the beginning."""
SILENCE_S: Final = 10.0
"""After so long without a word the daemon is asked for one."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """An open subscription: how it starts, and what follows."""

    view: SubscribeView
    notices: AsyncIterator[Sequence[Notice]]
    """Those that came together, some hundred at most. Ends, or raises an AgentCoordError, when the
    connection does."""


class FeedSource(Protocol):
    """What the dashboard needs of the control socket. Errors are AgentCoordErrors."""

    def subscribe(self, since: Position | None) -> AbstractAsyncContextManager[Subscription]:
        """Connect and subscribe to everything, from `since` if given."""
        ...

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        """Ask one thing; bounded in time."""
        ...


class Feed:
    """Carries the daemon's words into the model until cancelled."""

    def __init__(
        self,
        source: FeedSource,
        model: DashboardModel,
        clock: Clock,
        on_begin: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_begin` is called when a subscription has begun and the model is true again."""
        self._on_begin = on_begin
        self._source = source
        self._model = model
        self._clock = clock
        self._last_word_ms = clock.now_ms()
        self._hole: Position | None = None
        """After which event something was missing when the connection was last mended."""

    async def run(self) -> None:
        """Follow the daemon for ever; return only by cancellation."""
        failures = 0
        while True:
            began, mend = self._clock.monotonic(), ""
            try:
                await self._follow()
                reason = "the daemon closed the connection"
            except MissedEventsError as missed:
                if self._mend(missed):
                    continue
                reason = missed.message
            except AgentCoordError as error:
                reason, mend = error.message, error.mend
            except Exception as error:  # noqa: BLE001 - the feed's boundary: a bad frame must not end the view
                self._model.forget_position()
                reason = f"the daemon sent what this dashboard cannot read ({type(error).__name__})"
            if self._clock.monotonic() - began >= SETTLED_S:
                failures = 0
            await self._wait_for_retry(reason, mend, failures)
            failures += 1

    async def _follow(self) -> None:
        """Subscribe and fold until the connection ends; raise what ended it, if it was an error."""
        async with self._source.subscribe(self._model.position) as subscription:
            fresh = self._model.begin(subscription.view)
            if not fresh:
                await self._fetch_rows()
            self._last_word_ms = self._clock.now_ms()
            self._model.set_link(LinkView(Link.LIVE, self._last_word_ms))
            self._on_begin()
            try:
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(self._notice_silence())
                    async for notices in subscription.notices:
                        self._last_word_ms = self._clock.now_ms()
                        self._model.fold_all(notices)
                        await asyncio.sleep(0)  # Keys and drawing have their turn before what waits already.
                    watch.cancel()
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors

    async def _notice_silence(self) -> None:
        """Ask a daemon that says nothing for its status; a failed call ends the connection."""
        while True:
            await self._clock.sleep(SILENCE_S)
            if self._clock.now_ms() - self._last_word_ms >= SILENCE_S * 1000:
                status = await self._source.call(Method.STATUS)
                self._last_word_ms = self._clock.now_ms()
                self._model.take_status(cast("StatusView", status))

    async def _fetch_rows(self) -> None:
        """Bring the rows up to date after a replay, which carries events alone.

        A notification that was under way meanwhile is folded afterwards; the last one of a
        row is never older than this answer, so the rows converge.
        """
        tasks = await self._source.call(Method.TASKS)
        workers = await self._source.call(Method.WORKERS)
        status = await self._source.call(Method.STATUS)
        self._model.take_tasks(cast("list[TaskView]", tasks["tasks"]))
        self._model.take_workers(cast("list[WorkerView]", workers["workers"]))
        self._model.take_status(cast("StatusView", status))

    def _mend(self, missed: MissedEventsError) -> bool:
        """Prepare to subscribe again after a hole; return whether to do so without waiting.

        A hole that a replay did not fill is skipped, so each hole costs two rounds at most.
        """
        if missed.last_missing is None:
            self._model.forget_position()
            return False
        if self._hole == self._model.position:
            self._model.skip_to(missed.last_missing)
            self._hole = None
        else:
            self._hole = self._model.position
        return True

    async def _wait_for_retry(self, reason: str, mend: str, failures: int) -> None:
        wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
        ever_live = self._model.status is not None
        link = Link.LOST if ever_live else Link.CONNECTING
        retry_at_ms = self._clock.now_ms() + round(wait_s * 1000)
        self._model.set_link(LinkView(link, self._last_word_ms, reason, mend, retry_at_ms))
        await self._clock.sleep(wait_s)
        self._model.set_link(LinkView(link, self._last_word_ms, reason, mend))
