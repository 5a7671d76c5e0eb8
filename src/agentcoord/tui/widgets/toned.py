"""Drawing toned lines: the one place where a tone becomes a colour of the theme.

Line-API widgets inherit `Toned` and ask for strips. Separate so that all of them agree, and so
that a theme is read once for each style change instead of once for each cell.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from agentcoord.tui.styled import Line, Tone


class Toned(Widget):
    """A widget with a component class for each tone."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in Tone} | {"tone--cursor"}
    DEFAULT_CSS = """
    Toned {
        & > .tone--plain { color: $foreground; }
        & > .tone--muted { color: $foreground 60%; }
        & > .tone--strong { color: $foreground; text-style: bold; }
        & > .tone--accent { color: $text-accent; }
        & > .tone--good { color: $text-success; }
        & > .tone--warn { color: $text-warning; }
        & > .tone--bad { color: $text-error; text-style: bold; }
        & > .tone--title { color: $text-primary; text-style: bold; }
        & > .tone--badge { color: $text; background: $warning 70%; text-style: bold; }
        & > .tone--added { color: $text-success; background: $success 12%; }
        & > .tone--removed { color: $text-error; background: $error 12%; }
        & > .tone--cursor { background: $primary 18%; }
        &:focus > .tone--cursor { background: $primary 45%; }
    }
    """

    def strip_of(self, line: Line, width: int, *, cursor: bool = False) -> Strip:
        """Draw a line on the widget's background, padded or cropped to `width` cells."""
        base = self.rich_style
        if cursor:
            base += self.get_component_rich_style("tone--cursor")
        segments = [Segment(span.text, self._style_of(span.tone, base, cursor=cursor)) for span in line]
        return Strip(segments).adjust_cell_length(width, base)

    def _style_of(self, tone: Tone, base: Style, *, cursor: bool) -> Style:
        if not cursor:
            return self.get_component_rich_style(f"tone--{tone}")
        # The row's background wins, so that the cursor is one unbroken bar; grey is illegible on it.
        legible = Tone.PLAIN if tone is Tone.MUTED else tone
        return self.get_component_rich_style(f"tone--{legible}") + Style(bgcolor=base.bgcolor)
