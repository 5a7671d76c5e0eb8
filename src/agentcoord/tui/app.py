"""The dashboard: one feed, one model, one timer, a stack of screens.

The feed folds what the daemon says into the model as fast as it comes; the timer takes what
changed four times a second and lets the screens draw it at once. So twenty thousand events a
second cost what four redraws cost.
Deliberately absent: the daemon's rooms. All that is known here came over the control socket.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from agentcoord.clock import Clock, SystemClock
from agentcoord.domain.events import EventKind
from agentcoord.tui.context import Context, Replay
from agentcoord.tui.event_text import NEWSWORTHY, sentence, tone_of
from agentcoord.tui.feed import Feed, FeedSource
from agentcoord.tui.messages import (
    DiffWanted,
    LogWanted,
    MomentWanted,
    ReviewWanted,
    SpeedWanted,
    TaskWanted,
    WorkerWanted,
)
from agentcoord.tui.model import DashboardModel, Mode, Part
from agentcoord.tui.read_only import ReadOnlySource
from agentcoord.tui.replay.moments import USAGE, marks_of, moment_of, share_of
from agentcoord.tui.replay.player import Player
from agentcoord.tui.replay.source import ReplaySource
from agentcoord.tui.screens.ask import AskScreen
from agentcoord.tui.screens.diff import DiffScreen
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.screens.log import LogScreen
from agentcoord.tui.screens.main import MainScreen
from agentcoord.tui.screens.review import ReviewScreen
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.screens.worker import WorkerScreen
from agentcoord.tui.source import SocketSource
from agentcoord.tui.styled import Tone
from agentcoord.tui.themes import NIGHT, THEMES
from agentcoord.wire.messages import ExitCode
from agentcoord.wire.night_file import NightFile

TICK_S: Final = 0.25
BLURRED_TICKS: Final = 4
"""While the terminal is not looked at, only every so many ticks draw."""
TOASTS_AT_ONCE: Final = 3
TOASTS_SPEED: Final = 10
"""A replay that goes faster tells nothing in toasts: they would stand there for hours of the night."""
NO_REPLAY: Final = "There is no replay here: what you see is now."
ARROW_SHARE: Final = 0.02
"""How much of the night an arrow key passes over."""
_SEVERITY: Final[dict[Tone, Literal["warning", "error"]]] = {Tone.WARN: "warning", Tone.BAD: "error"}


class DashboardApp(App[None]):
    """Shows one daemon and survives its restarts, or plays a recorded night."""

    TITLE = "AgentCoord"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        # Of a replay alone, on every screen; they come before what the keys mean to a table.
        Binding("space", "replay_toggle", "Play or pause", show=False, priority=True),
        Binding("plus,equals_sign", "replay_speed(1)", "Faster", show=False, priority=True),
        Binding("minus", "replay_speed(-1)", "Slower", show=False, priority=True),
        Binding("full_stop", "replay_event(1)", "Next event", show=False, priority=True),
        Binding("comma", "replay_event(-1)", "Event before", show=False, priority=True),
        Binding("right", "replay_shift(1)", "Forward", show=False, priority=True),
        Binding("left", "replay_shift(-1)", "Back", show=False, priority=True),
        Binding("home", "replay_share(0)", "Begin of the night", show=False, priority=True),
        Binding("end", "replay_share(1)", "End of the night", show=False, priority=True),
        Binding("t", "replay_ask", "Go to a time", show=False, priority=True),
    ]

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
        super().__init__()
        self._review_owed = begin_with_review
        self.model = DashboardModel(now_ms=clock.now_ms(), mode=mode)
        self._clock = clock
        if mode is Mode.READ_ONLY:
            source = ReadOnlySource(source)
        self._feed = Feed(source, self.model, clock)
        self._collaborators = Context(
            self.model, source, clock, project_name, zone, log_file=log_file, replay=replay
        )
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
        if not self.is_running or (not self.app_focus and self._ticks % BLURRED_TICKS):
            return  # An app that is being taken down ticks on while its screens lose their widgets.
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

    def on_log_wanted(self, message: LogWanted) -> None:
        self.push_screen(LogScreen(self._collaborators, message.about))

    # The keys of a replay.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of a replay mean nothing else elsewhere, and letters while a person types."""
        if not action.startswith("replay_"):
            return super().check_action(action, parameters)
        typing = isinstance(self.focused, Input) or isinstance(self.screen, ModalScreen)
        return self._collaborators.replay is not None and not typing

    @property
    def _player(self) -> Player:
        assert self._collaborators.replay is not None
        return self._collaborators.replay.player

    def action_replay_toggle(self) -> None:
        """Pause, or go on."""
        self._player.toggle()

    def action_replay_speed(self, by: int) -> None:
        """Play faster or slower."""
        self._player.faster(by)

    def action_replay_event(self, by: int) -> None:
        """Stop at the next event, or at the one before."""
        assert self._collaborators.replay is not None
        at_ms = self._collaborators.replay.night.time_of_event(self._player.now_ms(), by)
        if at_ms is not None:
            self._player.step_to(at_ms)

    def action_replay_shift(self, by: int) -> None:
        """Pass over a part of the night."""
        player = self._player
        player.seek(player.now_ms() + by * ARROW_SHARE * (player.end_ms - player.begin_ms))

    def action_replay_share(self, share: float) -> None:
        """Go to a part of the night, from 0 to 1."""
        player = self._player
        player.seek(player.begin_ms + share * (player.end_ms - player.begin_ms))

    def action_replay_ask(self) -> None:
        """Let the person type a moment."""

        def decided(text: str | None) -> None:
            if text:
                self.post_message(MomentWanted(text))

        self.push_screen(AskScreen("Go to which moment?", f"For example {USAGE}."), decided)

    def on_speed_wanted(self, message: SpeedWanted) -> None:
        times = message.times.removesuffix("x")
        if self._collaborators.replay is None:
            self.notify(NO_REPLAY, severity="warning")
        elif times.isdigit():
            self._player.set_speed(int(times))
        else:
            self.notify("A speed is a number, from 1 to 1000.", severity="warning")

    def on_moment_wanted(self, message: MomentWanted) -> None:
        text = message.words
        if self._collaborators.replay is None:
            self.notify(NO_REPLAY, severity="warning")
            return
        if (share := share_of(text)) is not None:
            self.action_replay_share(share)
            return
        player = self._player
        at_ms = moment_of(
            text, begin_ms=player.begin_ms, now_ms=player.now_ms(), zone=self._collaborators.zone
        )
        if at_ms is None:
            self.notify(f"A moment is written as {USAGE}.", severity="warning", markup=False)
        else:
            player.seek(at_ms)

    def _tell(self, news: Sequence[Mapping[str, Any]]) -> None:
        """Toast what a person should hear; many at once become one."""
        if self.model.mode is Mode.REPLAY and self._player.speed > TOASTS_SPEED:
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
    app.run()
    return app.return_code or ExitCode.OK


def _is_newsworthy(event: Mapping[str, Any]) -> bool:
    if event.get("kind") == EventKind.BASELINE_ENDED:
        return not event.get("data", {}).get("ok")
    return event.get("kind") in NEWSWORTHY
