"""The hub of events: everyone tells it facts without waiting; it stores and spreads them.

`emit` is synchronous and never blocks, so that telling a fact cannot change what happens. One
loop appends what has gathered to the store's log in one call, then hands the numbered events to
every subscriber's bounded queue. A subscriber that cannot keep up is marked as lagged, and
never slows anybody. When the log was lost and begins anew, everybody is marked so: numbers of two
logs cannot be compared.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from agentcoord.clock import Clock
from agentcoord.domain.events import Event, EventKind
from agentcoord.errors import StoreError
from agentcoord.store.event_log import EventLog

RECENT_EVENTS = 2_000
QUEUE_EVENTS = 5_000
BACKLOG_EVENTS = 50_000
RETRY_S = 0.5

log = structlog.get_logger("events")


class Subscription:
    """One reader's bounded queue of numbered events."""

    def __init__(self) -> None:
        self.queue: deque[Event] = deque()
        self.lagged = False
        self.ready = asyncio.Event()

    def offer(self, event: Event) -> None:
        if len(self.queue) >= QUEUE_EVENTS:
            self.lagged = True
            self.queue.clear()
        self.queue.append(event)
        self.ready.set()

    def take_all(self) -> list[Event]:
        """Everything that waits; empties the queue and the flag."""
        taken = list(self.queue)
        self.queue.clear()
        self.ready.clear()
        return taken


class EventHub:
    """Collects, stores and spreads events. `run()` belongs in the daemon's task group."""

    def __init__(self, event_log: EventLog, clock: Clock) -> None:
        self._log = event_log
        self._clock = clock
        self._waiting: deque[Event] = deque(maxlen=BACKLOG_EVENTS)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._subscriptions: set[Subscription] = set()
        self.recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self.seq = 0

    @property
    def epoch(self) -> str:
        return self._log.epoch

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    async def load_recent(self) -> None:
        """Fill `recent` from the store; once, at start."""
        self.seq = await self._log.last_seq()
        self.recent.extend(await self._log.read(after=max(0, self.seq - 500), limit=500))

    def emit(
        self, kind: EventKind, *, task: str | None = None, worker: str | None = None, **data: object
    ) -> None:
        """Tell a fact. Never blocks or raises."""
        self._waiting.append(Event(kind, self._clock.now_ms(), task, worker, dict(data)))
        self._idle.clear()
        self._wake.set()
        log.info(str(kind), task=task, worker=worker, **data)

    @contextmanager
    def subscribed(self) -> Iterator[Subscription]:
        """Receive every event that is numbered from now on, until the block ends."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def run(self) -> None:
        """Store and spread, for ever. While the store is away, events wait (50,000 at most)."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(500, len(self._waiting)))]
                try:
                    numbered = await self._log.append(batch)
                except StoreError as error:
                    self._waiting.extendleft(reversed(batch))
                    log.warning("events_wait_for_the_store", error=str(error), waiting=len(self._waiting))
                    await self._clock.sleep(RETRY_S)
                    continue
                if numbered and numbered[0].seq <= self.seq:
                    self._begin_anew()
                for event in numbered:
                    self.seq = event.seq
                    self.recent.append(event)
                    for subscription in self._subscriptions:
                        subscription.offer(event)
            self._idle.set()

    def _begin_anew(self) -> None:
        self.recent.clear()
        for subscription in self._subscriptions:
            subscription.queue.clear()
            subscription.lagged = True

    async def flushed(self) -> None:
        """Wait until everything told so far is stored."""
        await self._idle.wait()
