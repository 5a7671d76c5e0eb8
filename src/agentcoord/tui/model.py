"""What the dashboard knows: the daemon's answers and notifications folded into plain data.

Theory of operation. `begin()` takes the answer to a subscription, `fold()` each notification
after it. Events are numbered without holes within an epoch (but of what a
fail-over of Redis lost: shown as missed), and that number is what makes a reconnection exact: an event at
or below `seq` was seen already and is dropped; one beyond `seq + 1` proves that something was missed, and
is refused so that the feed asks again.
Rows carry no number; the newest wins. Everything that changed is remembered as a set of parts
until the screen takes it.
Deliberately absent: awaiting (`feed`), and drawing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Flag, auto
from itertools import groupby
from typing import Any, Final, cast

from agentcoord.errors import WireError
from agentcoord.tui.link import Link, LinkView, Mode
from agentcoord.values import dataclass
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import (
    NeedsYou,
    Notification,
    Snapshot,
    StatusView,
    SubscribeView,
    TaskView,
    WorkerView,
)

EVENTS_KEPT: Final = 2000
NEWS_KEPT: Final = 50


class Part(Flag):
    """The parts of the model that a screen draws apart."""

    NONE = 0
    LINK = auto()
    STATUS = auto()
    WORKERS = auto()
    TASKS = auto()
    EVENTS = auto()
    CLOCK = auto()
    """A second passed: ages on the screen changed. Set by the screen's timer, never here."""
    ALL = LINK | STATUS | WORKERS | TASKS | EVENTS


@dataclass(frozen=True, slots=True)
class Position:
    """The last event that was folded."""

    epoch: str
    seq: int


class MissedEventsError(WireError):
    """An event came whose predecessors did not; subscribing again from `position` brings them."""

    def __init__(self, message: str, *, last_missing: Position | None) -> None:
        super().__init__(message)
        self.last_missing = last_missing
        """Where the hole ends; None when the event was of another epoch."""


class DashboardModel:
    """Everything on the screen, and which parts of it changed since they were last taken."""

    def __init__(self, *, now_ms: int, mode: Mode = Mode.LIVE) -> None:
        self.mode = mode
        self.link = LinkView(Link.CONNECTING, now_ms)
        self.status: StatusView | None = None
        self.tasks: dict[str, TaskView] = {}
        """By id, in the order of the daemon's list."""
        self.workers: tuple[WorkerView, ...] = ()
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        """Oldest first; each is a domain Event as JSON."""
        self.events_added = 0
        """How many were ever appended; a view that knows this many needs only the newer ones."""
        self.events_generation = 0
        """Changes when `events` was replaced, and views must start over."""
        self._position: Position | None = None
        self._dirty = Part.ALL
        self._news: deque[dict[str, Any]] = deque(maxlen=NEWS_KEPT)

    @property
    def position(self) -> Position | None:
        """Where to resume from; None before the first snapshot."""
        return self._position

    @property
    def live(self) -> bool:
        return self.link.link is Link.LIVE

    @property
    def needs_you(self) -> tuple[NeedsYou, ...]:
        return tuple(self.status["needs_you"]) if self.status is not None else ()

    def begin(self, view: SubscribeView) -> bool:
        """Take the answer to a subscription; return whether rows and status are now fresh.

        A replay without a snapshot sends events only: the caller must fetch the rows.
        Raises WireError when the answer contradicts itself.
        """
        snapshot = view["snapshot"]
        if view["mode"] == "replay" and self._position is not None:
            if view["epoch"] != self._position.epoch:
                raise WireError("the daemon offered to replay events of another epoch")
            if snapshot is not None:
                self._take_rows(snapshot)
            return snapshot is not None
        if snapshot is None:
            raise WireError("the daemon sent neither a replay nor a snapshot")
        self._take_snapshot(snapshot)
        return True

    def fold_all(self, notices: Iterable[Notice]) -> None:
        """Take notifications in their order; events that follow each other are taken together.

        Raises MissedEventsError when an event's predecessors never came; those before it are taken.
        """
        for is_event, alike in groupby(notices, _is_event):
            if is_event:
                self._take_events([notice.params for notice in alike])
            else:
                for notice in alike:
                    self.fold(notice.method, notice.params)

    def fold(self, method: str, params: Mapping[str, Any]) -> None:
        """Take one notification. Unknown ones are ignored: a newer daemon may send more.

        Raises MissedEventsError when an event's predecessors never came.
        """
        match method:
            case Notification.EVENT:
                self._take_events([params])
            case Notification.TASKS:
                self.take_tasks(params["tasks"])
            case Notification.WORKERS:
                self.take_workers(params["workers"])
            case Notification.STATUS:
                self.take_status(cast("StatusView", params))
            case Notification.LAGGED:
                self._take_snapshot(params["snapshot"])
            case _:
                pass

    def take_tasks(self, rows: Iterable[TaskView]) -> None:
        """Replace or add the given rows; the others stay."""
        for row in rows:
            if self.tasks.get(row["id"]) != row:
                self.tasks[row["id"]] = row
                self._dirty |= Part.TASKS

    def take_workers(self, rows: Iterable[WorkerView]) -> None:
        """Replace all workers."""
        workers = tuple(rows)
        if workers != self.workers:
            self.workers = workers
            self._dirty |= Part.WORKERS

    def take_status(self, status: StatusView) -> None:
        """Replace the header; a change in what needs a person also changes task rows."""
        if status == self.status:
            return
        if self.status is None or self.status["needs_you"] != status["needs_you"]:
            self._dirty |= Part.TASKS
        self.status = status
        self._dirty |= Part.STATUS

    def set_link(self, link: LinkView) -> None:
        """Tell how we stand with the daemon."""
        if link != self.link:
            self.link = link
            self._dirty |= Part.LINK

    def forget_position(self) -> None:
        """Make the next subscription start from a snapshot; what is shown stays."""
        self._position = None

    def skip_to(self, position: Position) -> None:
        """Accept that events up to `position` will never come, and show how many."""
        if self._position is None or self._position.epoch != position.epoch:
            return
        missing = position.seq - self._position.seq
        if missing > 0:
            self._mark_missing(missing)
            self._position = position

    def take_dirty(self) -> Part:
        """Return the parts that changed since the last call, and forget them."""
        dirty, self._dirty = self._dirty, Part.NONE
        return dirty

    def take_news(self) -> tuple[dict[str, Any], ...]:
        """Return events that happened while we watched (not those of a snapshot), once."""
        news = tuple(self._news)
        self._news.clear()
        return news

    def _take_events(self, told: Sequence[Mapping[str, Any]]) -> None:
        """Take the events that come next, and pass over those that are known."""
        if self._position is None:
            raise MissedEventsError("an event came before any snapshot", last_missing=None)
        epoch, seq = self._position.epoch, self._position.seq
        fresh: list[dict[str, Any]] = []
        missed: MissedEventsError | None = None
        for params in told:
            event = params["event"]
            number = int(event["seq"])
            if params["epoch"] != epoch:
                missed = MissedEventsError("an event of another epoch came", last_missing=None)
                break
            if number > seq + 1:
                hole_ends = Position(epoch, number - 1)
                missed = MissedEventsError(
                    f"event {seq + 1} is missing before {number}", last_missing=hole_ends
                )
                break
            if number == seq + 1:
                fresh.append(event)
                seq = number
        if fresh:
            self._append_events(fresh)
            self._news.extend(fresh)
            self._position = Position(epoch, seq)
        if missed is not None:
            raise missed

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the rows; join the events to those we have where the epoch is the same."""
        self._take_rows(snapshot)
        position = Position(snapshot["epoch"], int(snapshot["seq"]))
        known = self._position
        if known is None or known.epoch != position.epoch or position.seq < known.seq:
            self.events.clear()
            self.events_generation += 1
            self._append_events(snapshot["events"])
        else:
            newer = [e for e in snapshot["events"] if int(e["seq"]) > known.seq]
            first = int(newer[0]["seq"]) if newer else position.seq + 1
            if first > known.seq + 1:
                self._mark_missing(first - known.seq - 1)
            self._append_events(newer)
        self._position = position

    def _take_rows(self, snapshot: Snapshot) -> None:
        tasks = {row["id"]: row for row in snapshot["tasks"]}
        if tasks != self.tasks or list(tasks) != list(self.tasks):
            self.tasks = tasks
            self._dirty |= Part.TASKS
        self.take_workers(snapshot["workers"])
        self.take_status(snapshot["status"])

    def _mark_missing(self, count: int) -> None:
        """Leave a line in the events where some are missing, rather than hide the hole."""
        before = self.events[-1] if self.events else {"seq": 0, "at_ms": 0}
        self._append_events(
            [
                {
                    "kind": "missed",
                    "at_ms": before["at_ms"],
                    "task": None,
                    "worker": None,
                    "data": {"count": count},
                    "seq": before["seq"],
                }
            ]
        )

    def _append_events(self, events: Sequence[dict[str, Any]]) -> None:
        self.events.extend(events)
        self.events_added += len(events)
        self._dirty |= Part.EVENTS


def _is_event(notice: Notice) -> bool:
    return notice.method == Notification.EVENT
