"""What the pictures of the dashboard show: one recorded moment of a night, and the night around it.

Separate from the drawing, and from the tests that read the same screens. The moment is
`dashboard_night.json`; the hours before and after it, which the replay's scrubber shows, and the daemon's log
are made from it here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from agentcoord.clock import SystemClock
from agentcoord.domain.events import Event, EventKind
from agentcoord.errors import WireError
from agentcoord.tui.app import DashboardApp
from agentcoord.tui.context import Replay
from agentcoord.tui.feed import Subscription
from agentcoord.tui.link import Mode
from agentcoord.tui.model import Position
from agentcoord.tui.replay.moments import marks_of
from agentcoord.tui.replay.player import Player
from agentcoord.tui.replay.source import ReplaySource
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import Method, Snapshot, SubscribeView
from agentcoord.wire.night_file import Kept, NightFile, encode_record

NIGHT: Final = Path(__file__).with_name("dashboard_night.json")
NIGHT_MS: Final = 1_795_320_675_000
"""04:11:15 UTC on the recorded night."""
MINUTE_MS: Final = 60_000
BEGIN_MS: Final = NIGHT_MS - 309 * MINUTE_MS
"""23:02."""
AROUND: Final = (
    (0, EventKind.DAEMON_STARTED),
    (22, EventKind.TASK_DONE),
    (51, EventKind.TASK_DONE),
    (88, EventKind.TASK_PARKED),
    (120, EventKind.TASK_DONE),
    (133, EventKind.TASK_DONE),
    (171, EventKind.TASK_FAILED),
    (214, EventKind.TASK_DONE),
    (240, EventKind.TASK_DONE),
    (352, EventKind.TASK_DONE),
    (371, EventKind.TASK_DONE),
    (398, EventKind.QUESTION_ASKED),
    (430, EventKind.TASK_DONE),
    (459, EventKind.DAEMON_STOPPING),
)
"""What happened so many minutes after the beginning, outside the recorded hour."""


class NightClock(SystemClock):
    """Stands still, so that the same picture comes out each time."""

    def now_ms(self) -> int:
        return NIGHT_MS

    def monotonic(self) -> float:
        return 0.0


class RecordedNight:
    """A source that tells one moment of a night, and answers questions about it."""

    def __init__(self) -> None:
        self._night = json.loads(NIGHT.read_text(encoding="utf-8"))

    @property
    def snapshot(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._night["snapshot"])

    @property
    def diffs(self) -> dict[str, str]:
        return cast("dict[str, str]", self._night["diffs"])

    @property
    def details(self) -> dict[str, dict[str, Any]]:
        return cast("dict[str, dict[str, Any]]", self._night["details"])

    @asynccontextmanager
    async def subscribe(self, since: Position | None) -> AsyncIterator[Subscription]:
        snapshot = cast("Snapshot", self.snapshot)
        view: SubscribeView = {
            "epoch": snapshot["epoch"],
            "seq": snapshot["seq"],
            "mode": "resync",
            "snapshot": snapshot,
        }
        yield Subscription(view, _silence())

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        if method is Method.DIFF:
            return {"text": self.diffs.get(params["id"], ""), "next_offset": None}
        if method is Method.TASK:
            return dict(self.details[params["id"]])
        if method is Method.TRANSCRIPT:
            steps = self._night["transcripts"].get(params["id"], [])
            return {
                "id": params["id"],
                "attempt": 1,
                "steps": steps[params["offset"] :],
                "next_offset": len(steps),
                "more": False,
                "context_tokens": 61_400,
                "window_tokens": 200_000,
                "says": "",
            }
        raise WireError(f"nothing was recorded for {method}")


async def _silence() -> AsyncIterator[list[Notice]]:
    await asyncio.Event().wait()
    yield []


def write_recording(path: Path) -> None:
    """The whole night as a recording, with the moment in its middle."""
    snapshot = RecordedNight().snapshot
    rows = {name: snapshot[name] for name in ("status", "tasks", "workers")}
    records: list[tuple[int, Kept, dict[str, Any]]] = [(BEGIN_MS, Kept.SNAPSHOT, rows)]
    records.append((NIGHT_MS, Kept.SNAPSHOT, rows))
    records += [(event["at_ms"], Kept.EVENT, event) for event in snapshot["events"]]
    for minutes, kind in AROUND:
        at_ms = BEGIN_MS + minutes * MINUTE_MS
        records.append((at_ms, Kept.EVENT, Event(kind, at_ms).to_dict()))
    records.sort(key=lambda record: record[0])
    path.write_bytes(b"".join(encode_record(*record) for record in records))


def write_log(path: Path) -> None:
    """The daemon's log of the recorded hour: every event as a line."""
    lines = []
    for event in RecordedNight().snapshot["events"]:
        kind = event["kind"]
        level = "info"
        if kind in (EventKind.RATE_LIMITED, EventKind.TASK_PARKED, EventKind.BUDGET_WARNED):
            level = "warning"
        elif kind == EventKind.TASK_FAILED:
            level = "error"
        record = {
            "event": kind,
            "level": level,
            "timestamp": datetime.fromtimestamp(event["at_ms"] / 1000, tz=UTC).isoformat(),
            "task": event["task"],
            "worker": event["worker"],
            **event["data"],
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def recorded_app(scratch: Path, mode: Mode = Mode.LIVE) -> DashboardApp:
    """The dashboard at the recorded moment."""
    log_file = scratch / "agentcoordd.jsonl"
    write_log(log_file)
    return DashboardApp(
        RecordedNight(), project_name="shop", clock=NightClock(), zone=UTC, mode=mode, log_file=log_file
    )


def replayed_app(scratch: Path) -> DashboardApp:
    """The same moment, in a replay of the whole night."""
    recording = scratch / "r20261121-230215.jsonl"
    write_recording(recording)
    night = NightFile.read(recording)
    player = Player(night.begin_ms, night.end_ms, NightClock())
    player.seek(NIGHT_MS)
    return DashboardApp(
        ReplaySource(night, player),
        project_name="shop",
        clock=player,
        zone=UTC,
        mode=Mode.REPLAY,
        replay=Replay(night, player, marks_of(night.events())),
    )
