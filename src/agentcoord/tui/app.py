"""The dashboard: one feed, one model, one timer, a stack of screens.

The feed folds what the daemon says into the model as fast as it comes; the timer takes what
changed four times a second and lets the screens draw it at once. So twenty thousand events a
second cost what four redraws cost.
Deliberately absent: the daemon's rooms. All that is known here came over the control socket.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Literal

from textual.app import App

from agentcoord.clock import Clock, SystemClock
from agentcoord.domain.events import EventKind
from agentcoord.tui.context import Context
from agentcoord.tui.event_text import NEWSWORTHY, sentence, tone_of
from agentcoord.tui.feed import Feed, FeedSource
from agentcoord.tui.messages import DiffWanted, ReviewWanted, TaskWanted, WorkerWanted
from agentcoord.tui.model import DashboardModel, Part
from agentcoord.tui.screens.diff import DiffScreen
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.screens.main import MainScreen
from agentcoord.tui.screens.review import ReviewScreen
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.screens.worker import WorkerScreen
from agentcoord.tui.source import SocketSource
from agentcoord.tui.styled import Tone
from agentcoord.tui.themes import NIGHT, THEMES
from agentcoord.wire.messages import ExitCode

TICK_S: Final = 0.25
BLURRED_TICKS: Final = 4
"""While the terminal is not looked at, only every so many ticks draw."""
TOASTS_AT_ONCE: Final = 3
_SEVERITY: Final[dict[Tone, Literal["warning", "error"]]] = {Tone.WARN: "warning", Tone.BAD: "error"}


class DashboardApp(App[None]):
    """Shows one daemon, and survives its restarts."""

    TITLE = "AgentCoord"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        source: FeedSource,
        *,
        project_name: str,
        clock: Clock,
        zone: tzinfo | None = None,
        begin_with_review: bool = False,
    ) -> None:
        super().__init__()
        self._review_owed = begin_with_review
        self.model = DashboardModel(now_ms=clock.now_ms())
        self._clock = clock
        self._feed = Feed(source, self.model, clock)
        self._collaborators = Context(self.model, source, clock, project_name, zone)
        self._ticks = 0
        self._second = 0

    def get_default_screen(self) -> MainScreen:
        """The main screen is the bottom of the stack."""
        return MainScreen(self._collaborators)

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = NIGHT.name
        self.run_worker(self._feed.run(), group="feed", exclusive=True)
        self.set_interval(TICK_S, self.tick)

    def tick(self) -> None:
        """Draw what changed since the last tick."""
        self._ticks += 1
        if not self.app_focus and self._ticks % BLURRED_TICKS:
            return
        parts = self.model.take_dirty()
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second = second
            parts |= Part.CLOCK
        if not parts:
            return
        with self.batch_update():
            for screen in self.screen_stack:
                if isinstance(screen, LiveScreen) and screen.is_mounted:
                    screen.show(parts)
        self._tell(self.model.take_news())
        if self._review_owed and self.model.live and self.model.status is not None:
            self._review_owed = False
            self.post_message(ReviewWanted())

    def on_task_wanted(self, message: TaskWanted) -> None:
        self.push_screen(TaskDetailScreen(self._collaborators, message.task_id))

    def on_diff_wanted(self, message: DiffWanted) -> None:
        self.push_screen(DiffScreen(self._collaborators, message.task_id))

    def on_worker_wanted(self, message: WorkerWanted) -> None:
        self.push_screen(WorkerScreen(self._collaborators, message.name))

    def on_review_wanted(self, message: ReviewWanted) -> None:
        self.push_screen(ReviewScreen(self._collaborators, message.task_id))

    def _tell(self, news: Sequence[Mapping[str, Any]]) -> None:
        """Toast what a person should hear; many at once become one."""
        worthy = [event for event in news if _is_newsworthy(event)]
        for event in worthy[:TOASTS_AT_ONCE]:
            self.notify(sentence(event), severity=_SEVERITY.get(tone_of(event), "information"), markup=False)
        if len(worthy) > TOASTS_AT_ONCE:
            self.notify(f"and {len(worthy) - TOASTS_AT_ONCE} more, see the events", markup=False)


def run_dashboard(socket_path: Path, *, project_name: str, begin_with_review: bool = False) -> int:
    """Show the daemon behind `socket_path` until the person quits; return an exit code."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("The dashboard needs a terminal. Without one: agentcoord status\n")
        return ExitCode.USAGE
    app = DashboardApp(
        SocketSource(socket_path),
        project_name=project_name,
        clock=SystemClock(),
        begin_with_review=begin_with_review,
    )
    app.run()
    return app.return_code or ExitCode.OK


def _is_newsworthy(event: Mapping[str, Any]) -> bool:
    if event.get("kind") == EventKind.BASELINE_ENDED:
        return not event.get("data", {}).get("ok")
    return event.get("kind") in NEWSWORTHY
