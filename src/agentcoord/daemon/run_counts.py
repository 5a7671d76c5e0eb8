"""What happened in this run so far, counted from its events, those before a restart of the daemon included.

Separate from the hub, which only spreads, and from the metrics, whose counters begin at 0 with the process
as Prometheus wants it. The log is read once, beside the workers; afterwards the counts grow with what is
told. A run begins with the plan that names it; what was told before counts for the one before.
"""

from __future__ import annotations

from collections import Counter

from agentcoord.clock import Clock
from agentcoord.daemon.event_hub import EventHub
from agentcoord.domain.events import Event, EventKind
from agentcoord.errors import StoreError
from agentcoord.store.event_log import EventLog

READ_AT_ONCE = 500
"""Events read in one go: some milliseconds of the event loop."""
AWAY_S = 1.0
_LETS_GO = frozenset(
    {
        EventKind.TASK_QUEUED,
        EventKind.TASK_DONE,
        EventKind.TASK_REQUEUED,
        EventKind.TASK_PARKED,
        EventKind.TASK_FAILED,
        EventKind.TASK_CANCELLED,
    }
)
"""After these nobody works on the task."""


class RunCounts:
    """Counts of one run. Pure: `add` each event in order."""

    def __init__(self) -> None:
        self._begin("")

    def _begin(self, run: str) -> None:
        self.run = run
        self.kinds: Counter[EventKind] = Counter()
        self.check_ms = 0
        self.merges = 0
        """Files that a landing merged with somebody's edit."""
        self.max_parallel = 0
        """Workers: one may be told to have its next task before it is told that its last one ended."""
        self._working: dict[str, str | None] = {}
        """Who works, by task."""

    def add(self, event: Event) -> None:
        """Count one event. What its data lacks counts as nothing."""
        data = event.data
        if event.kind is EventKind.PLAN_LOADED and (run := str(data.get("run", ""))) != self.run:
            self._begin(run)
        self.kinds[event.kind] += 1
        if event.kind is EventKind.TASK_CLAIMED and event.task is not None:
            self._working[event.task] = event.worker
            self.max_parallel = max(self.max_parallel, len(set(self._working.values())))
        elif event.kind is EventKind.DAEMON_STARTED:
            self._working.clear()
        elif event.kind is EventKind.TASK_CHECKED:
            self.check_ms += int(data.get("ms") or 0)
        elif event.kind is EventKind.TASK_DONE:
            self.merges += len(data.get("merged") or ())
        if event.kind in _LETS_GO:
            self._working.pop(event.task or "", None)


class RunCounter:
    """Keeps the counts of the current run. `follow()` belongs in the daemon's task group."""

    def __init__(self, hub: EventHub, event_log: EventLog, clock: Clock) -> None:
        self._hub = hub
        self._log = event_log
        self._clock = clock
        self._epoch = hub.epoch
        self._seen = 0
        self.counts = RunCounts()

    async def follow(self) -> None:
        """Count what the log holds, then what is told, for ever."""
        with self._hub.subscribed() as subscription:
            subscription.lagged = True  # All that the log holds is owed.
            while True:
                if subscription.lagged:
                    subscription.lagged = False
                    await self._catch_up()
                for event in subscription.take_all():
                    self._count(event)
                await subscription.ready.wait()

    async def _catch_up(self) -> None:
        if self._epoch != self._hub.epoch:  # The log was lost and begins anew; what was counted stays.
            self._epoch, self._seen = self._hub.epoch, 0
        while True:
            try:
                events = await self._log.read(after=self._seen, limit=READ_AT_ONCE)
            except StoreError:
                await self._clock.sleep(AWAY_S)
                continue
            for event in events:
                self._count(event)
            if len(events) < READ_AT_ONCE:
                return

    def _count(self, event: Event) -> None:
        if event.seq > self._seen:
            self._seen = event.seq
            self.counts.add(event)
