"""Each screen of the dashboard on the recorded night of the pictures, as a scene that tests can open.

The night, its clock and its log are those of `scripts/dashboard_scene.py`: nothing on the screen depends
on the machine or on when it is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from textual.pilot import Pilot
from tui_fakes import FakeDaemon, HandClock, app_for, screen_lines, settle, snapshot

from agentcoord.tui.app import DashboardApp
from agentcoord.tui.link import Mode

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))
from dashboard_scene import RecordedNight, recorded_app, replayed_app

__all__ = ["SCENES", "RecordedNight", "Scene", "opened"]


def read_only(scratch: Path) -> DashboardApp:
    """The same, for who may only look."""
    return recorded_app(scratch, Mode.READ_ONLY)


def empty(_scratch: Path) -> DashboardApp:
    """A daemon that nothing was loaded into."""
    taken = snapshot([], [], workers_busy=0, workers_total=0)
    taken["events"] = []
    return app_for(FakeDaemon(taken))


def without_daemon(_scratch: Path) -> DashboardApp:
    """No daemon runs."""
    daemon = FakeDaemon(snapshot())
    daemon.running = False
    return app_for(daemon, HandClock())


@dataclass(frozen=True, slots=True)
class Scene:
    """A screen: which app, which keys lead there, and what is read on it when all of it is there."""

    wanted: str
    keys: tuple[str, ...] = ()
    make: Callable[[Path], DashboardApp] = recorded_app


SCENES: Final[dict[str, Scene]] = {
    "main": Scene("1 Workers"),
    "main-marked": Scene("2 marked", ("space", "space")),
    "main-filtered": Scene("/state:review", ("slash", *"state:review", "enter")),
    "command": Scene("retr", ("colon", *"retr")),
    "confirm": Scene("Cancel", ("x",)),
    "read-only": Scene("1 Workers", make=read_only),
    "empty": Scene("1 Workers", make=empty),
    "no-daemon": Scene("agentcoordd start", make=without_daemon),
    "task": Scene("$0.52", ("enter",)),
    "worker": Scene("turn", ("1", "j", "j", "enter")),
    "log": Scene("health", ("L",)),
    "help": Scene("Help", ("question_mark",)),
    "diff": Scene("@@", ("G", "d")),
    "review": Scene("to judge", ("v",)),
    "review-hunk": Scene("to judge", ("v", "J", "minus")),
    "review-split": Scene("to judge", ("v", "s", "J")),
    "reject": Scene("Why do you reject", ("v", "r")),
    "replay": Scene("04:11", make=replayed_app),
}


@asynccontextmanager
async def opened(
    scene: Scene, scratch: Path, size: tuple[int, int]
) -> AsyncIterator[tuple[DashboardApp, Pilot[Any]]]:
    """The scene's app at this size, its keys pressed and what it reads read."""
    app = scene.make(scratch)
    async with app.run_test(size=size) as pilot:
        await settle(pilot, until=lambda: app.model.status is not None or bool(app.model.link.reason))
        for key in scene.keys:
            await pilot.press(key)
            await settle(pilot)
        await settle(pilot, until=lambda: scene.wanted in "\n".join(screen_lines(app)))
        yield app, pilot
