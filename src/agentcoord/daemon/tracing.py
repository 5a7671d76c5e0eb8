"""Follows the events and sends traces of them, where the person's environment names a collector.

A companion like the others: nothing of the work waits for it. What was under way when an earlier daemon
died is known from the newest events, so that those attempts end in the trace too. Bounded: what cannot be
sent is dropped, and that is logged once until something gets through again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from agentcoord import __version__
from agentcoord.clock import Clock
from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.own_thread import in_own_thread
from agentcoord.domain.events import EventKind
from agentcoord.errors import StoreError
from agentcoord.llm.api import Provider
from agentcoord.telemetry.otlp_http import Collector, send
from agentcoord.telemetry.posting import kind_of
from agentcoord.telemetry.spans import Span, SpanBook

if TYPE_CHECKING:
    from agentcoord.wire.messages import StatusView

PROVIDER_NAMES: Final[Mapping[Provider, str]] = {
    Provider.ANTHROPIC: "anthropic",
    Provider.AWS: "anthropic",
    Provider.BEDROCK: "aws.bedrock",
    Provider.BEDROCK_MANTLE: "aws.bedrock",
    Provider.FOUNDRY: "azure.ai.inference",
    Provider.VERTEX: "gcp.vertex_ai",
}
"""As the conventions name those who serve the models."""
SEND_EVERY_S: Final = 5.0
"""Doubled with each time that a collector did not take them, up to `SEND_AT_LEAST_EVERY_S`."""
SEND_AT_LEAST_EVERY_S: Final = 300.0
SPANS_A_REQUEST: Final = 500
SPANS_HELD: Final = 5_000
LAST_WORDS_S: Final = 5.0
"""How long a stopping daemon waits for its last spans to be sent."""
_MAY_END_THE_RUN: Final = frozenset(
    {EventKind.TASK_DONE, EventKind.TASK_FAILED, EventKind.TASK_PARKED, EventKind.TASK_CANCELLED}
)
log = structlog.get_logger("traces")


class Tracer:
    """Makes spans of events, and sends them. `run()` belongs in the daemon's task group."""

    def __init__(
        self,
        hub: EventHub,
        book: SpanBook,
        collector: Collector,
        clock: Clock,
        *,
        current_run: Callable[[], str],
        status: Callable[[], Awaitable[StatusView]],
        last_words_s: float = LAST_WORDS_S,
    ) -> None:
        """`current_run` gives its id, `status` says whether it has ended."""
        self._hub = hub
        self._book = book
        self._collector = collector
        self._clock = clock
        self._current_run = current_run
        self._status = status
        self._began_ms = clock.now_ms()
        self._last_words_s = last_words_s
        self._pending: list[Span] = []
        self._batch: list[Span] = []
        """What is on its way, and no longer pending."""
        self._posting: asyncio.Future[None] | None = None
        self._failures = 0
        """In a row."""

    async def run(self) -> None:
        """Follow and send, until cancelled; what is left is sent then."""
        with self._hub.subscribed() as subscription:
            self._book.begin(self._current_run())
            for event in list(self._hub.recent):
                spans = self._book.spans_of(event)
                if event.at_ms >= self._began_ms:  # Of our own start; an earlier daemon has sent the others.
                    self._pending += spans
            try:
                while True:
                    await self._wait(subscription)
                    await self._take(subscription)
                    await self._send()
            finally:
                await self._take(subscription)
                try:
                    async with asyncio.timeout(self._last_words_s):
                        await self._send()
                except TimeoutError:
                    log.warning("spans_lost", spans=len(self._pending) + len(self._batch))

    async def _wait(self, subscription: Subscription) -> None:
        """Wait for news, and then a little for more of it: few requests with many spans.

        What could not be sent does not wait for news.
        """
        if not self._pending:
            await subscription.ready.wait()
        await self._clock.sleep(min(SEND_EVERY_S * 2 ** min(self._failures, 10), SEND_AT_LEAST_EVERY_S))

    async def _take(self, subscription: Subscription) -> None:
        subscription.lagged = False  # What was missed is missing from the trace; no more harm.
        for event in subscription.take_all():
            if event.kind is EventKind.PLAN_LOADED:
                self._book.begin(self._current_run())
            self._pending += self._book.spans_of(event)
            if event.kind in _MAY_END_THE_RUN and await self._is_over():
                self._pending += self._book.run_ended(event.at_ms)
        del self._pending[:-SPANS_HELD]

    async def _send(self) -> None:
        """Send what is pending. Who is cancelled meanwhile goes on here with what is on its way."""
        while self._batch or self._pending:
            if self._posting is None:
                self._batch = self._pending[:SPANS_A_REQUEST]
                del self._pending[:SPANS_A_REQUEST]
                wanted = [span for span in self._batch if self._collector.samples(span.trace_id)]
                if not wanted:
                    self._batch = []
                    continue
                self._posting = in_own_thread(partial(send, self._collector, wanted, __version__), "traces")
            try:
                await asyncio.shield(self._posting)
            except (OSError, ValueError) as error:
                self._pending[:0] = self._batch
                self._batch, self._posting = [], None
                # They wait for the next time. Neither address nor headers: those may hold a secret.
                if not self._failures:
                    log.warning("traces_not_sent", error=kind_of(error), spans=len(self._pending))
                self._failures += 1
                return
            self._batch, self._posting = [], None
            self._failures = 0

    async def _is_over(self) -> bool:
        try:
            return (await self._status())["ended"]
        except StoreError:
            return False
