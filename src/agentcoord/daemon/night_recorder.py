"""Records the night for `agentcoord dashboard --replay`: what a dashboard would have been told.

Theory of operation. A subscriber of the event hub like any other, which writes to a file instead of a
socket, in a thread, at most once a second: events in full, of rows and status what changed. When a task
is checked or ends, what is known of it is kept too, and what it landed. Nothing waits for this: a
recorder that lags takes a snapshot, one that cannot write says so once and goes on trying, and its own
cost decides how often it looks.
Deliberately absent: the file itself (`night_writer`) and its records' meaning (`wire/night_file`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.night_writer import NightWriter
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.seen_tasks import SeenTasks
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.errors import AgentCoordError, StoreError
from agentcoord.telemetry.logs import Redactor
from agentcoord.wire.night_file import NIGHT_BYTES, Kept, encode_record
from agentcoord.wire.protocol import PIECE_CHARS

PERIOD_S: Final = 1.0
COST_SHARE: Final = 0.02
"""The share of the event loop's time that looking may take: who looks at much looks less often."""
PAUSE_MOST_S: Final = 5.0
"""However much it takes: what has not been written when the daemon is killed is lost to the recording."""
LAST_WORDS_S: Final = 3.0
"""How long a stopping daemon may take to write what happened last."""
SNAPSHOT_BYTES: Final = 1024 * 1024
"""How much is written before the next snapshot; eight times its own length, where that is more."""
SNAPSHOT_RATIO: Final = 8
DETAILS_A_ROUND: Final = 10
"""How many tasks that nothing happened to are described in one round: each is a question to the store."""
UNWRITTEN_MOST: Final = 20_000
"""How many events wait for a store or a disk that is away; older ones are lost to the recording."""
_TELLING: Final = frozenset(
    {
        EventKind.TASK_CHECKED,
        EventKind.TASK_DONE,
        EventKind.TASK_PARKED,
        EventKind.TASK_FAILED,
        EventKind.TASK_CANCELLED,
        EventKind.TASK_REQUEUED,
        EventKind.QUESTION_ASKED,
    }
)
"""Events after which a task's detail has something new."""
DiffOf = Callable[[TaskId], Awaitable[str]]

log = structlog.get_logger("recorder")


class NightRecorder:
    """Writes the current run's recording; `run()` belongs in the daemon's task group."""

    def __init__(
        self,
        *,
        hub: EventHub,
        board: FleetBoard,
        views: Views,
        runs: RunBook,
        diff_of: DiffOf,
        redactor: Redactor,
        clock: Clock,
        folder: Path,
        most_bytes: int = NIGHT_BYTES,
    ) -> None:
        self._hub = hub
        self._board = board
        self._views = views
        self._runs = runs
        self._diff_of = diff_of
        self._redactor = redactor
        self._clock = clock
        self._folder = folder
        self._most_bytes = most_bytes
        self._writer: NightWriter | None = None
        self._unwritten: deque[Event] = deque(maxlen=UNWRITTEN_MOST)
        """Events that were taken and are not in the file yet; what interrupts leaves them here."""
        self._snapshot_due = True
        self._since_snapshot = 0
        self._snapshot_bytes = 0
        self._tasks = SeenTasks()
        self._workers: dict[str, Mapping[str, Any]] = {}
        self._status: dict[str, Any] = {}
        self._detailed: set[str] = set()
        """Tasks of which at least one detail is in the file."""
        self._failing = False

    async def run(self) -> None:
        """Record for ever."""
        with self._hub.subscribed() as subscription:
            wake = subscription.ready.set
            self._board.on_change.append(wake)
            try:
                while True:
                    await subscription.ready.wait()
                    began_s = time.thread_time()  # A busy machine's time is no cost of ours.
                    await self._record(subscription)
                    took_s = time.thread_time() - began_s
                    await self._clock.sleep(min(PAUSE_MOST_S, max(PERIOD_S, took_s / COST_SHARE)))
            finally:
                self._board.on_change.remove(wake)
                await to_its_end(self._last_words(subscription))

    async def _last_words(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._record(subscription)
        except TimeoutError:
            log.warning("last_events_not_recorded")

    async def _record(self, subscription: Subscription) -> None:
        """Write what is new. What the store or the disk refuses now is in the next snapshot."""
        if subscription.lagged:
            subscription.lagged, self._snapshot_due = False, True
        self._unwritten.extend(subscription.take_all())
        run = self._runs.run
        if not run:
            self._unwritten.clear()
            return
        if self._writer is None or self._writer.run != run:
            self._begin(run)
        assert self._writer is not None
        if self._writer.full:
            self._unwritten.clear()
            return
        events = tuple(self._unwritten)
        lines = [self._line(event.at_ms, Kept.EVENT, event.to_dict()) for event in events]
        try:
            lines = await self._with_snapshot(lines) if self._snapshot_due else lines + await self._changed()
            lines += await self._told(events)
            if lines:
                self._unwritten.clear()
                await to_its_end(self._write(self._writer, lines))
            self._failing = False
        except (StoreError, OSError) as error:
            self._snapshot_due = True
            if not self._failing:
                log.warning("not_recorded", error=str(error))
            self._failing = True

    def _begin(self, run: str) -> None:
        self._writer = NightWriter(self._folder, run, most_bytes=self._most_bytes)
        self._snapshot_due = True
        self._detailed.clear()

    async def _write(self, writer: NightWriter, lines: list[bytes]) -> None:
        await asyncio.to_thread(writer.append, lines, self._clock.now_ms())
        self._since_snapshot += sum(map(len, lines))
        if self._since_snapshot > max(SNAPSHOT_BYTES, SNAPSHOT_RATIO * self._snapshot_bytes):
            self._snapshot_due = True

    async def _with_snapshot(self, events: list[bytes]) -> list[bytes]:
        """Everything as it is now; events that came before it follow it, so that none is lost."""
        self._tasks.forget()
        status, workers = await self._views.status(), self._views.workers()
        tasks = list(await self._views.tasks_new_to(self._tasks))
        self._status = dict(status)
        self._workers = {row["name"]: row for row in workers}
        params = {"status": status, "tasks": tasks, "workers": workers}
        line = self._line(self._clock.now_ms(), Kept.SNAPSHOT, params)
        self._snapshot_due, self._since_snapshot, self._snapshot_bytes = False, 0, len(line)
        return [*events, line] if self._detailed else [line, *events]

    async def _changed(self) -> list[bytes]:
        """Rows and fields that are other than they were when they were last written."""
        now_ms = self._clock.now_ms()
        lines = []
        changed_tasks = list(await self._views.tasks_new_to(self._tasks))
        workers = self._views.workers()
        if set(self._workers) - {row["name"] for row in workers}:
            self._snapshot_due = True  # A row that is gone can only be told by a snapshot.
        changed_workers = [row for row in workers if self._workers.get(row["name"]) != row]
        self._workers |= {row["name"]: row for row in changed_workers}
        if changed_tasks:
            lines.append(self._line(now_ms, Kept.TASKS, {"tasks": changed_tasks}))
        if changed_workers:
            lines.append(self._line(now_ms, Kept.WORKERS, {"workers": changed_workers}))
        status = dict(await self._views.status())
        changed_fields = {name for name, value in status.items() if self._status.get(name) != value}
        if changed_fields:
            told = {name: status[name] for name in status if name in changed_fields | {"counts", "spend"}}
            lines.append(self._line(now_ms, Kept.STATUS, told))
        self._status = status
        return lines

    async def _told(self, events: Iterable[Event]) -> list[bytes]:
        """What is to be read of tasks about which something happened, or of which nothing is kept yet."""
        new = [task for task in self._tasks if task not in self._detailed]
        wanted = dict.fromkeys(new[:DETAILS_A_ROUND])
        landed: list[TaskId] = []
        for event in events:
            if event.task is not None and event.kind in _TELLING:
                wanted[TaskId(event.task)] = None
                if event.kind is EventKind.TASK_DONE:
                    landed.append(TaskId(event.task))
        lines = []
        for task in wanted:
            self._detailed.add(task)
            detail = await self._views.task(task)
            if detail is not None:
                lines.append(self._line(self._clock.now_ms(), Kept.DETAIL, {**detail, "events": []}))
        for task in landed:
            try:
                text = await self._diff_of(task)
            except AgentCoordError as error:
                text = f"The diff could not be recorded: {error.message}\n"
            lines.append(
                self._line(self._clock.now_ms(), Kept.DIFF, {"id": task, "text": text[:PIECE_CHARS]})
            )
        return lines

    def _line(self, at_ms: int, method: Kept, params: Mapping[str, Any]) -> bytes:
        return self._redactor.clean(encode_record(at_ms, method, params).decode("utf-8", "replace")).encode()
