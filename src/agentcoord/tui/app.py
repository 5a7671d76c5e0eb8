"""The dashboard: one feed, one model, one timer, a stack of screens.

The feed folds what the daemon says into the model as fast as it comes; the timer takes what
changed, four times a second at most (`pace`), and lets the screens draw it at once. So twenty
thousand events a second cost what four redraws cost. The first answer is drawn when it comes. Every
screen but the main one, and what a replay needs, is imported when a person first wants it.
Deliberately absent: the daemon's rooms. All that is known here came over the control socket.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Literal

from textual.events import Event, InputEvent

from agentcoord.clock import Clock, SystemClock
from agentcoord.domain.events import EventKind
from agentcoord.tui.context import Context, Replay
from agentcoord.tui.event_text import NEWSWORTHY, sentence, tone_of
from agentcoord.tui.feed import Feed, FeedSource
from agentcoord.tui.link import Mode
from agentcoord.tui.messages import (
    DiffWanted,
    LogWanted,
    ReviewWanted,
    TaskWanted,
    WorkerWanted,
)
from agentcoord.tui.model import DashboardModel, Part
from agentcoord.tui.pace import TICK_S, Pace
from agentcoord.tui.read_only import ReadOnlySource
from agentcoord.tui.replay.keys import ReplayKeys
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.screens.main import MainScreen
from agentcoord.tui.source import SocketSource
from agentcoord.tui.styled import Tone
from agentcoord.tui.themes import NIGHT, THEMES, theme_for
from agentcoord.wire.protocol import ExitCode

TOASTS_AT_ONCE: Final = 3
TOASTS_SPEED: Final = 10
"""A replay that goes faster tells nothing in toasts: they would stand there for hours of the night."""
_SEVERITY: Final[dict[Tone, Literal["warning", "error"]]] = {Tone.WARN: "warning", Tone.BAD: "error"}


class DashboardApp(ReplayKeys):
    """Shows one daemon and survives its restarts, or plays a recorded night."""

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
        mode: Mode = Mode.LIVE,
        log_file: Path | None = None,
        replay: Replay | None = None,
    ) -> None:
        """`clock` is the replay's player where there is one: what is shown has its own time."""
        if mode is Mode.READ_ONLY:
            source = ReadOnlySource(source)
        self.model = DashboardModel(now_ms=clock.now_ms(), mode=mode)
        super().__init__(
            Context(self.model, source, clock, project_name, zone, log_file=log_file, replay=replay)
        )
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = NIGHT.name  # Before anything is drawn: later it would cost reading all styles again.
        self._review_owed = begin_with_review
        self._clock = clock
        self._feed = Feed(source, self.model, clock, on_begin=self.tick)
        self._pace = Pace()
        self._undrawn = Part.NONE
        """What changed and waits for its picture."""
        self._second = 0

    def get_default_screen(self) -> MainScreen:
        """The main screen is the bottom of the stack."""
        return MainScreen(self.collaborators)

    def on_mount(self) -> None:
        self.run_worker(self._feed.run(), group="feed", exclusive=True)
        self.set_interval(TICK_S, self.tick)

    async def on_event(self, event: Event) -> None:
        """Whoever presses a key, or moves the mouse, sees what comes of it."""
        if isinstance(event, InputEvent):
            self._pace.touched()
        await super().on_event(event)

    def tick(self) -> None:
        """Draw what changed since the last picture, if it is time for one; the link is never late."""
        self._pace.tick()
        if not self.is_running:
            return  # An app that is being taken down ticks on while its screens lose their widgets.
        parts = self._undrawn | self.model.take_dirty()
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second = second
            parts |= Part.CLOCK
        due = self._pace.is_due(in_view=self.app_focus, moving=self.model.mode is Mode.REPLAY)
        if not parts or not (due or parts & Part.LINK):
            self._undrawn = parts
            return
        self._undrawn = Part.NONE
        self._pace.drawn()
        with self.batch_update():
            for screen in self.screen_stack:
                if isinstance(screen, LiveScreen) and screen.is_mounted:
                    screen.show(parts)
        self._tell(self.model.take_news())
        if self._review_owed and self.model.live and self.model.status is not None:
            self._review_owed = False
            self.post_message(ReviewWanted())

    def on_task_wanted(self, message: TaskWanted) -> None:
        from agentcoord.tui.screens.task_detail import TaskDetailScreen

        self.push_screen(TaskDetailScreen(self.collaborators, message.task_id))

    def on_diff_wanted(self, message: DiffWanted) -> None:
        from agentcoord.tui.screens.diff import DiffScreen

        self.push_screen(DiffScreen(self.collaborators, message.task_id))

    def on_worker_wanted(self, message: WorkerWanted) -> None:
        from agentcoord.tui.screens.worker import WorkerScreen

        self.push_screen(WorkerScreen(self.collaborators, message.name))

    def on_review_wanted(self, message: ReviewWanted) -> None:
        from agentcoord.tui.screens.review import ReviewScreen

        self.push_screen(ReviewScreen(self.collaborators, message.task_id))

    def on_log_wanted(self, message: LogWanted) -> None:
        from agentcoord.tui.screens.log import LogScreen

        self.push_screen(LogScreen(self.collaborators, message.about))

    def _tell(self, news: Sequence[Mapping[str, Any]]) -> None:
        """Toast what a person should hear; many at once become one."""
        if self.model.mode is Mode.REPLAY and self.player.speed > TOASTS_SPEED:
            return
        worthy = [event for event in news if _is_newsworthy(event)]
        for event in worthy[:TOASTS_AT_ONCE]:
            self.notify(sentence(event), severity=_SEVERITY.get(tone_of(event), "information"), markup=False)
        if len(worthy) > TOASTS_AT_ONCE:
            self.notify(f"and {len(worthy) - TOASTS_AT_ONCE} more, see the events", markup=False)


def run_dashboard(
    socket_path: Path,
    *,
    project_name: str,
    begin_with_review: bool = False,
    read_only: bool = False,
    log_file: Path | None = None,
) -> int:
    """Show the daemon behind `socket_path` until the person quits; return an exit code."""
    return _run(
        lambda: DashboardApp(
            SocketSource(socket_path),
            project_name=project_name,
            clock=SystemClock(),
            begin_with_review=begin_with_review,
            mode=Mode.READ_ONLY if read_only else Mode.LIVE,
            log_file=log_file,
        )
    )


def run_replay(
    path: Path, *, project_name: str, log_file: Path | None = None, transcripts: Path | None = None
) -> int:
    """Play a recorded night until the person quits; return an exit code.

    Raises WireError when the recording cannot be read.
    """
    from agentcoord.tui.replay.moments import marks_of
    from agentcoord.tui.replay.player import Player
    from agentcoord.tui.replay.source import ReplaySource
    from agentcoord.wire.night_file import NightFile

    night = NightFile.read(path)
    player = Player(night.begin_ms, night.end_ms, SystemClock())
    return _run(
        lambda: DashboardApp(
            ReplaySource(night, player, transcripts),
            project_name=project_name,
            clock=player,
            mode=Mode.REPLAY,
            log_file=log_file,
            replay=Replay(night, player, marks_of(night.events())),
        )
    )


def _run(make: Callable[[], DashboardApp]) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("The dashboard needs a terminal. Without one: agentcoord status\n")
        return ExitCode.USAGE
    for name in ("COLUMNS", "LINES"):
        # Textual would believe these and never look at the terminal again, whose size they do not follow.
        os.environ.pop(name, None)
    app = make()
    app.theme = theme_for(app.console.color_system, os.environ.get("COLORFGBG", ""))
    app.run()
    return app.return_code or ExitCode.OK


def _is_newsworthy(event: Mapping[str, Any]) -> bool:
    if event.get("kind") == EventKind.BASELINE_ENDED:
        return not event.get("data", {}).get("ok")
    return event.get("kind") in NEWSWORTHY
