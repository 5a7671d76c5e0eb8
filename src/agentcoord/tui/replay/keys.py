"""The keys of a replay, and the words that go to a moment of it. The app is built on this.

Separate from `app` because none of it is there on a live night: the keys mean what they mean to a
table then. Each moves the `Player`, and nothing else.
"""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input

from agentcoord.tui.context import Context
from agentcoord.tui.messages import MomentWanted, SpeedWanted
from agentcoord.tui.replay.moments import USAGE, moment_of, share_of
from agentcoord.tui.replay.player import Player
from agentcoord.tui.screens.ask import AskScreen

NO_REPLAY: Final = "There is no replay here: what you see is now."
ARROW_SHARE: Final = 0.02
"""How much of the night an arrow key passes over."""


class ReplayKeys(App[None]):
    """An app whose keys lead a replay, when it shows one."""

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

    def __init__(self, collaborators: Context) -> None:
        super().__init__()
        self.collaborators = collaborators
        """What each screen is handed."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of a replay mean nothing else elsewhere, and letters while a person types."""
        if not action.startswith("replay_"):
            return super().check_action(action, parameters)
        typing = isinstance(self.focused, Input) or isinstance(self.screen, ModalScreen)
        return self.collaborators.replay is not None and not typing

    @property
    def player(self) -> Player:
        assert self.collaborators.replay is not None
        return self.collaborators.replay.player

    def action_replay_toggle(self) -> None:
        """Pause, or go on."""
        self.player.toggle()

    def action_replay_speed(self, by: int) -> None:
        """Play faster or slower."""
        self.player.faster(by)

    def action_replay_event(self, by: int) -> None:
        """Stop at the next event, or at the one before."""
        assert self.collaborators.replay is not None
        at_ms = self.collaborators.replay.night.time_of_event(self.player.now_ms(), by)
        if at_ms is not None:
            self.player.step_to(at_ms)

    def action_replay_shift(self, by: int) -> None:
        """Pass over a part of the night."""
        player = self.player
        player.seek(player.now_ms() + by * ARROW_SHARE * (player.end_ms - player.begin_ms))

    def action_replay_share(self, share: float) -> None:
        """Go to a part of the night, from 0 to 1."""
        player = self.player
        player.seek(player.begin_ms + share * (player.end_ms - player.begin_ms))

    def action_replay_ask(self) -> None:
        """Let the person type a moment."""

        def decided(text: str | None) -> None:
            if text:
                self.post_message(MomentWanted(text))

        self.push_screen(AskScreen("Go to which moment?", f"For example {USAGE}."), decided)

    def on_speed_wanted(self, message: SpeedWanted) -> None:
        times = message.times.removesuffix("x")
        if self.collaborators.replay is None:
            self.notify(NO_REPLAY, severity="warning")
        elif times.isdigit():
            self.player.set_speed(int(times))
        else:
            self.notify("A speed is a number, from 1 to 1000.", severity="warning")

    def on_moment_wanted(self, message: MomentWanted) -> None:
        text = message.words
        if self.collaborators.replay is None:
            self.notify(NO_REPLAY, severity="warning")
            return
        if (share := share_of(text)) is not None:
            self.action_replay_share(share)
            return
        player = self.player
        at_ms = moment_of(
            text, begin_ms=player.begin_ms, now_ms=player.now_ms(), zone=self.collaborators.zone
        )
        if at_ms is None:
            self.notify(f"A moment is written as {USAGE}.", severity="warning", markup=False)
        else:
            player.seek(at_ms)
