"""The time scrubber of a replay: shows where it stands, and goes where a person clicks or drags."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from textual import events
from textual.strip import Strip

from agentcoord.tui.replay.player import Player
from agentcoord.tui.replay.scrubber_text import scrubber_line, track_of
from agentcoord.tui.styled import Line, Span
from agentcoord.tui.widgets.toned import Toned

LOOK_S: Final = 0.25


class Scrubber(Toned):
    """Draws the player's line, when it is another."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Scrubber {
        dock: bottom;
        height: 1;
        margin-bottom: 1;
        background: $surface;
    }
    """

    def __init__(self, player: Player, marks: Sequence[tuple[int, Span, int]], zone: tzinfo | None) -> None:
        super().__init__(id="scrubber")
        self._player = player
        self._marks = marks
        self._zone = zone
        self._line: Line = ()
        self._dragged = False

    def on_mount(self) -> None:
        self.set_interval(LOOK_S, self.look)

    def look(self) -> None:
        """Draw again, if anything is different."""
        line = scrubber_line(self._player, self._marks, width=self.size.width, zone=self._zone)
        if line != self._line:
            self._line = line
            self.refresh()

    def on_resize(self) -> None:
        self.look()

    def render_line(self, y: int) -> Strip:
        return self.strip_of(self._line if y == 0 else (), self.size.width)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._dragged = True
        self.capture_mouse()
        self._go_to(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged:
            self._go_to(event.x)

    def on_mouse_up(self) -> None:
        self._dragged = False
        self.release_mouse()

    def _go_to(self, x: int) -> None:
        player = self._player
        share = track_of(self.size.width).share_at(x)
        player.seek(player.begin_ms + share * (player.end_ms - player.begin_ms))
        self.look()
