"""The daemon's regular chores: heartbeats, expired leases, loop lag, the deadline.

One `periodic()` owns every legitimate loop over time. Each chore is a plain coroutine function
that does its thing once; a store that is away is told once and tried again at the next turn.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.handing_back import tell_set_back
from agentcoord.daemon.pausing import resume_on_another_day, tell_what_was_not_told
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.domain.lost_claims import ClaimEnd
from agentcoord.domain.retries import Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import StoreError, WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.landing import LandedRecord

LAG_PERIOD_S = 1.0
REAP_MOST_S = 30.0
AWAY_PERIOD_S = 1.0
ORPHAN_AFTER_S = 30.0
"""How long a run that has ended may take to book its last call."""
DEADLINE_PERIOD_S = 15.0
_ENDED_BY_ITS_RUN = frozenset({ClaimEnd.DONE, ClaimEnd.PARKED, ClaimEnd.FAILED})
"""Whose run is about to hear so, and to tell it: interrupted now, it would not."""
DAY_PERIOD_S = 15.0

log = structlog.get_logger("chores")


async def periodic(
    clock: Clock, period_s: Callable[[], Awaitable[float]], chore: Callable[[], Awaitable[None]]
) -> None:
    """Run `chore` for ever, after each wait of `period_s()` seconds.

    A StoreError is told once and survived; the chore is then due again after a second.
    """
    away = False
    while True:
        try:
            await clock.sleep(AWAY_PERIOD_S if away else await period_s())
            await chore()
            away = False
        except StoreError as error:
            if not away:
                log.warning("store_away", error=str(error))
            away = True


@dataclass(slots=True)
class LoopLag:
    """How late the event loop runs what is due."""

    max_ms: float = 0.0
    last_ms: float = 0.0


class Chores:
    """Everything regular, as children of the daemon's task group."""

    def __init__(
        self,
        shop: Workshop,
        fleet: Fleet,
        *,
        lease_s: float,
        on_deadline: Callable[[], None],
        since_ms: int | None = None,
    ) -> None:
        """`since_ms`: when somebody wanted a daemon; the first deadline after that is meant. None: now."""
        self._shop = shop
        self._fleet = fleet
        self._lease_s = lease_s
        self._on_deadline = on_deadline
        self._renewed_at_ms: int | None = None
        """When leases could last be renewed, as far as is known."""
        self._excused_until_ms = 0
        """Leases that ran out by then could not have been renewed by anybody."""
        self._started_at = self._local(shop.clock.now_ms() if since_ms is None else since_ms)
        self._orphans: dict[str, float] = {}
        """Reservations whose call nobody makes any more, and when (monotonic) that was first seen."""
        self.lag = LoopLag()

    def start(self, group: asyncio.TaskGroup) -> None:
        clock = self._shop.clock
        group.create_task(periodic(clock, self._every(self._lease_s / 3), self.heartbeat), name="heartbeat")
        group.create_task(periodic(clock, self._reap_wait, self.reap), name="reap")
        group.create_task(self._measure_lag(), name="lag")
        group.create_task(periodic(clock, self._every(DAY_PERIOD_S), self.watch_day), name="day")
        if self._shop.settings.budget.deadline:
            group.create_task(
                periodic(clock, self._every(DEADLINE_PERIOD_S), self.watch_deadline), name="deadline"
            )

    async def heartbeat(self) -> None:
        """Extend every lease in one call; a task whose lease is lost is let go of."""
        held = {claim.task.id: claim for claim in self._fleet.claims}
        queue = self._shop.store.queue
        for task in await queue.heartbeat(held.values()) if held else ():
            how = await queue.end_of(held[task])
            if how not in _ENDED_BY_ITS_RUN:
                log.warning("lease_lost", task=task, how=str(how))
                self._fleet.interrupt(task, held[task].token)
        self._note_renewal(self._shop.clock.now_ms())

    async def reap(self) -> None:
        """Queue again what expired or has waited out its delay.

        After a sleep of the machine or an absence of the store every lease looks expired. Those of
        living runs are renewed first: nobody else can have taken them. File locks that could not be released,
        because the store was away, go too.
        """
        await self.heartbeat()
        await self._end_orphans()
        await self._shop.store.locks.release_dead()
        retries, hub = self._shop.retries, self._shop.hub
        decided: dict[TaskId, tuple[Setback, Verdict]] = {}
        landed = await self._landed()

        def decide(task: Task, setback: Setback) -> Verdict:
            if any(each.task == task.id and each.stands(since_ms=task.queued_at_ms) for each in landed):
                # Its last word was missed; the next claim finds it in the journal and says done.
                verdict = Verdict(TaskState.QUEUED, counts_attempt=False)
            else:
                verdict = retries.decide(task, setback)
            decided[task.id] = setback, verdict
            return verdict

        for task in await self._shop.store.queue.reap(
            decide, excused_until_ms=self._excused_until_ms, model_of=retries.model_of
        ):
            setback, verdict = decided[task]
            if verdict.to is TaskState.QUEUED:
                why = "its lease expired"
                hub.emit(EventKind.TASK_QUEUED, task=task, why=why, lease_lost=True, setback=str(setback))
            else:
                tell_set_back(hub, task, setback, verdict, verdict.told("its lease expired"), worker=None)
        await tell_what_was_not_told(self._shop)
        self._shop.board.touch()

    async def _landed(self) -> list[LandedRecord]:
        """What the journal knows, when there is something that it will be asked of."""
        due_ms = await self._shop.store.queue.next_due_ms()
        if due_ms is None or due_ms > self._shop.clock.now_ms():
            return []
        try:
            return await self._shop.lander.history()
        except (WorkspaceError, OSError) as error:
            log.warning("journal_not_read", error=str(error))
            return []

    def _note_renewal(self, now_ms: int) -> None:
        """Heartbeats come three times a lease. When none got through for a whole one, the machine slept,
        or Redis was away: leases that ran out meanwhile are nobody's fault.
        """
        since_ms = self._renewed_at_ms
        if since_ms is not None and now_ms - since_ms >= self._lease_s * 1_000:
            self._excused_until_ms = now_ms
        self._renewed_at_ms = now_ms

    async def _end_orphans(self) -> None:
        """Return the money of calls that nobody makes any more and could not close: the store was away.

        Those of a task that is held, or that have just become so, may still be booked by their run; but not
        those that were open already when the run began. Those of a draft are booked by whoever makes it.
        """
        store, held = self._shop.store, {claim.task.id for claim in self._fleet.claims}
        at_work = held | self._shop.drafting
        left_open = self._shop.board.left_open
        now, mirror = store.queue.clock.monotonic(), store.ledger.mirror
        self._orphans = {
            name: self._orphans.get(name, now)
            for name, each in mirror.unclosed.items()
            if each.task not in at_work or name in left_open
        }
        old = [name for name, since in self._orphans.items() if now - since >= ORPHAN_AFTER_S]
        if old:
            for name in mirror.doubtful.keys() & set(old):
                await store.ledger.release(name)  # Nobody makes a call before it is sure of its money.
            ended = await store.ledger.end(old)
            log.warning("reservations_ended", count=len(ended))

    async def watch_day(self) -> None:
        """Go on when the day is over whose cap was met."""
        await resume_on_another_day(self._shop)

    async def watch_deadline(self) -> None:
        """Drain once the configured time of day has come."""
        self.look_at_deadline()

    def look_at_deadline(self) -> None:
        """The same at once; asked before any worker claims: it may have come while no daemon lived."""
        deadline, now = self._shop.settings.budget.deadline, self._local(self._shop.clock.now_ms())
        if deadline and deadline_passed(self._started_at, now, deadline):
            self._on_deadline()

    async def _reap_wait(self) -> float:
        due_ms = await self._shop.store.queue.next_due_ms()
        if due_ms is None:
            return REAP_MOST_S
        return min(max((due_ms - self._shop.clock.now_ms()) / 1000, 0.2), REAP_MOST_S)

    async def _measure_lag(self) -> None:
        clock = self._shop.clock
        while True:
            before = clock.monotonic()
            await clock.sleep(LAG_PERIOD_S)
            self.lag.last_ms = max(0.0, (clock.monotonic() - before - LAG_PERIOD_S) * 1000)
            self.lag.max_ms = max(self.lag.max_ms, self.lag.last_ms)

    @staticmethod
    def _local(ms: int) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).astimezone()

    @staticmethod
    def _every(seconds: float) -> Callable[[], Awaitable[float]]:
        async def period() -> float:
            return seconds

        return period


def deadline_passed(started: datetime.datetime, now: datetime.datetime, deadline: str) -> bool:
    """Whether the first `deadline` (HH:MM, local) after `started` has come by `now`, both local.

    As a clock on the wall shows it: in the night in which summer time begins or ends, the two are not
    equally far from UTC.
    """
    hour, minute = (int(part) for part in deadline.split(":"))
    started, now = started.replace(tzinfo=None), now.replace(tzinfo=None)
    due = started.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if due <= started:
        due += datetime.timedelta(days=1)
    return now >= due
