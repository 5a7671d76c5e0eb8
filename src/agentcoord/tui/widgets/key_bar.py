"""The bottom line: the keys of this screen; grey ones say why when pressed.

Our own instead of Textual's Footer, because a greyed key must still work: it answers with the
reason (`actions`), which a disabled binding cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.strip import Strip

from agentcoord.tui.styled import Span, Tone, width_of
from agentcoord.tui.widgets.toned import Toned
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Hint:
    """One key of the bar."""

    key: str
    """As it is written on the keyboard."""
    label: str
    action: str
    """The screen action that a click runs; empty for a reminder only."""
    usable: bool = True
    rank: int = 0
    """Where there is no room, the highest rank goes first."""


class KeyBar(Toned):
    """Draws hints, as many as fit."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: 1;
        background: $panel;
    }
    """

    def __init__(self, *, id: str = "keys") -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._hints: tuple[Hint, ...] = ()

    def set_hints(self, hints: Sequence[Hint]) -> None:
        """Show other hints, if they are others."""
        if tuple(hints) != self._hints:
            self._hints = tuple(hints)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        spans = [Span(" ")]
        for hint in self._fitting() if y == 0 else ():
            spans.extend(_spans_of(hint))
        return self.strip_of(tuple(spans), self.size.width)

    async def on_click(self, event: events.Click) -> None:
        x = event.x - 1
        for hint in self._fitting():
            width = width_of(_spans_of(hint))
            if 0 <= x < width and hint.action:
                await self.screen.run_action(hint.action)
                return
            x -= width

    def _fitting(self) -> list[Hint]:
        hints = list(self._hints)
        while hints and 1 + sum(width_of(_spans_of(hint)) for hint in hints) > self.size.width:
            hints.remove(max(hints, key=lambda hint: hint.rank))
        return hints


def _spans_of(hint: Hint) -> tuple[Span, ...]:
    tone = Tone.TITLE if hint.usable else Tone.MUTED
    return (Span(hint.key, tone), Span(f" {hint.label}  ", Tone.PLAIN if hint.usable else Tone.MUTED))
