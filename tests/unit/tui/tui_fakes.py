"""A daemon, a clock and rows for the dashboard's tests: real classes, moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any, cast

from textual.pilot import Pilot

from agentcoord.domain.events import Event, EventKind
from agentcoord.errors import AgentCoordError, DaemonNotRunningError, RpcError
from agentcoord.tui.app import DashboardApp
from agentcoord.tui.feed import Subscription
from agentcoord.tui.model import Position
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import (
    Method,
    NeedsYou,
    Notification,
    Snapshot,
    StatusView,
    SubscribeView,
    TaskView,
    WorkerView,
)

NOW_MS = 1_795_320_675_000
EPOCH = "first"


class HandClock:
    """Moves only when told; sleepers wake when their time has come."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self._now_ms = now_ms
        self._sleepers: list[tuple[int, asyncio.Event]] = []

    @property
    def sleeping(self) -> int:
        return len(self._sleepers)

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        due = (self._now_ms + round(seconds * 1000), asyncio.Event())
        self._sleepers.append(due)
        try:
            await due[1].wait()
        finally:
            self._sleepers.remove(due)

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)
        for due_ms, event in self._sleepers:
            if due_ms <= self._now_ms:
                event.set()


class FakeDaemon:
    """Answers like the daemon, from a snapshot that tests change; keeps a log of events to replay."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.log: list[dict[str, Any]] = list(snapshot["events"])
        self.lost_from_log: set[int] = set()
        """Event numbers that a replay does not have."""
        self.running = True
        self.calls: list[tuple[Method, dict[str, Any]]] = []
        self.subscriptions: list[Position | None] = []
        self.answers: dict[Method, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.late: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] | None = None
        """Answers the next calls in its own time."""
        self._listener: asyncio.Queue[Notice | None] | None = None

    @asynccontextmanager
    async def subscribe(self, since: Position | None) -> AsyncIterator[Subscription]:
        self.subscriptions.append(since)
        self._refuse_if_down()
        queue: asyncio.Queue[Notice | None] = asyncio.Queue()
        self._listener = queue
        replay = since is not None and since.epoch == self.snapshot["epoch"]
        if replay and since is not None:
            for event in self.log:
                if event["seq"] > since.seq and event["seq"] not in self.lost_from_log:
                    queue.put_nowait(self._event_notice(event))
        view: SubscribeView = {
            "epoch": self.snapshot["epoch"],
            "seq": self.snapshot["seq"],
            "mode": "replay" if replay else "resync",
            "snapshot": None if replay else self.snapshot,
        }
        yield Subscription(view, _drain(queue))

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        self.calls.append((method, params))
        self._refuse_if_down()
        if self.late is not None:
            return await self.late(params)
        if method in self.answers:
            return self.answers[method](params)
        match method:
            case Method.TASKS:
                return {"tasks": self.snapshot["tasks"]}
            case Method.WORKERS:
                return {"workers": self.snapshot["workers"]}
            case Method.STATUS:
                return cast("dict[str, Any]", self.snapshot["status"])
            case _:
                raise RpcError(f"{method} is refused", code=3, mend="agentcoord status")

    def tell(self, method: Notification, params: dict[str, Any]) -> None:
        """Send a notification to the listener."""
        assert self._listener is not None
        self._listener.put_nowait(Notice(str(method), params))

    def happen(self, event: dict[str, Any], *, told: bool = True) -> None:
        """An event occurs; `told` is False when the listener misses it."""
        self.log.append(event)
        self.snapshot["seq"] = event["seq"]
        if told and self._listener is not None:
            self._listener.put_nowait(self._event_notice(event))

    def hang_up(self) -> None:
        """Close the listener's connection."""
        assert self._listener is not None
        self._listener.put_nowait(None)
        self._listener = None

    def answered(self, method: Method) -> list[dict[str, Any]]:
        """The parameters of all calls of a method."""
        return [params for called, params in self.calls if called is method]

    def _refuse_if_down(self) -> None:
        if not self.running:
            raise DaemonNotRunningError("No daemon runs for this project.", mend="agentcoordd start")

    def _event_notice(self, event: dict[str, Any]) -> Notice:
        return Notice(str(Notification.EVENT), {"epoch": self.snapshot["epoch"], "event": event})


async def _drain(queue: asyncio.Queue[Notice | None]) -> AsyncIterator[list[Notice]]:
    """What waits, together, as the socket hands it over; None ends it."""
    ended = False
    while not ended:
        together = [await queue.get()]
        while not queue.empty():
            together.append(queue.get_nowait())
        ended = None in together
        yield [notice for notice in together if notice is not None]


def refusing(error: AgentCoordError) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An answer that is a refusal."""

    def answer(_params: dict[str, Any]) -> dict[str, Any]:
        raise error

    return answer


def task(id_: str, state: str = "queued", **more: Any) -> TaskView:
    row: dict[str, Any] = {
        "id": id_,
        "title": f"Improve {id_}",
        "state": state,
        "priority": 3,
        "tags": ["backend"],
        "needs": [],
        "writes": [],
        "worker": None,
        "attempt": 0,
        "turns": 0,
        "cost_usd": 0.0,
        "budget_usd": None,
        "budget_tokens": None,
        "tokens": {"input": 0, "cache_write": 0, "cache_read": 0, "output": 0},
        "files": [],
        "lines_added": 0,
        "lines_removed": 0,
        "review": "unreviewed",
        "why": "",
        "queued_at": NOW_MS - 60_000,
        "started_at": None if state in ("queued", "blocked") else NOW_MS - 50_000,
        "ended_at": None,
        "on_need_failed": "fail",
        "skipped": False,
        "dead_need": None,
        "setback": "",
        "setbacks": {},
        "retry_at": None,
    }
    return cast("TaskView", row | more)


def worker(name: str, state: str = "idle", **more: Any) -> WorkerView:
    row: dict[str, Any] = {
        "name": name,
        "role": "backend-engineer",
        "tags": ["backend"],
        "state": state,
        "task": None,
        "title": "",
        "doing": "",
        "since": NOW_MS - 65_000,
        "turns": 0,
        "cost_usd": 0.0,
        "model": "",
        "proving": None,
        "proving_doing": "",
    }
    return cast("WorkerView", row | more)


def status(**more: Any) -> StatusView:
    states = ("blocked", "queued", "running", "checking", "landing", "done", "parked", "failed", "cancelled")
    view: dict[str, Any] = {
        "state": "running",
        "version": "0.1.0",
        "pid": 1,
        "started_at": NOW_MS,
        "socket": "",
        "state_dir": "",
        "project": {"id": "shop-1", "root": "/home/user/shop", "name": "shop", "branch": "main"},
        "run": "r1",
        "model_source": "api.anthropic.com",
        "scripted": False,
        "sandbox": "bubblewrap",
        "counts": dict.fromkeys(states, 0),
        "workers_busy": 1,
        "workers_total": 2,
        "max_parallel": 1,
        "spend": {
            "spent_usd": 1.5,
            "reserved_usd": 0.6,
            "cap_usd": 6.0,
            "day_spent_usd": 1.5,
            "day_cap_usd": None,
            "tokens": 0,
            "tokens_cap": None,
            "day_tokens": 0,
            "day_tokens_cap": None,
        },
        "tokens": {"input": 0, "cache_write": 0, "cache_read": 0, "output": 0},
        "forecast_usd": 5.7,
        "forecast_p90_usd": 5.9,
        "needs_you": [],
        "baseline": "green",
        "paused_why": "",
        "ended": False,
        "ready": True,
    }
    return cast("StatusView", view | more)


def need(task_id: str, kind: str = "parked", text: str = "") -> NeedsYou:
    return {"task": task_id, "kind": kind, "text": text}


def event(
    seq: int, kind: EventKind = EventKind.TASK_QUEUED, task_id: str | None = "a", **data: Any
) -> dict[str, Any]:
    return Event(kind, NOW_MS + seq, task_id, None, data, seq=seq).to_dict()


def snapshot(
    tasks: list[TaskView] | None = None,
    workers: list[WorkerView] | None = None,
    *,
    epoch: str = EPOCH,
    last_seq: int = 2,
    first_seq: int = 1,
    **more: Any,
) -> Snapshot:
    """A small run: `last_seq` events happened, of which those from `first_seq` are in it."""
    return {
        "epoch": epoch,
        "seq": last_seq,
        "status": status(**more),
        "tasks": tasks if tasks is not None else [task("a", "running"), task("b")],
        "workers": workers if workers is not None else [worker("Backend-Engineer-1")],
        "events": [event(seq) for seq in range(first_seq, last_seq + 1)],
    }


def app_for(
    daemon: FakeDaemon, clock: HandClock | None = None, *, begin_with_review: bool = False
) -> DashboardApp:
    return DashboardApp(
        daemon,
        project_name="shop",
        clock=clock or HandClock(),
        zone=UTC,
        begin_with_review=begin_with_review,
    )


async def settle(pilot: Pilot[None], *, until: Callable[[], bool] = lambda: True) -> None:
    """Let everything that is under way happen, draw it, and wait for a condition to hold."""
    for _ in range(100):
        await pilot.pause()
        app = pilot.app
        assert isinstance(app, DashboardApp)
        app.tick()
        await pilot.pause()
        if until():
            return
    raise AssertionError("the condition never came to hold")


def screen_lines(app: DashboardApp) -> list[str]:
    """The text of the screen as a grid, one string a line."""
    width, height = app.size
    strips = app.screen._compositor.render_strips(app.size)
    lines = ["".join(segment.text for segment in strip) for strip in strips]
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    return lines


def toasts(app: DashboardApp) -> list[str]:
    """What was told in toasts, oldest first."""
    return [note.message for note in app._notifications]
