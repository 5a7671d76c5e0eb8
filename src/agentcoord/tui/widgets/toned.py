"""Drawing toned lines: the one place where a tone becomes a colour of the theme.

Line-API widgets inherit `Toned` and ask for strips. Separate so that all of them agree, and so
that a theme is read once for each style change instead of once for each cell.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from agentcoord.tui.styled import OF_CODE, Ground, Line, Span, Tone


class Toned(Widget):
    """A widget with a component class for each tone of words; those of code and changes are `LinesView`'s.

    Whatever changes the style of a widget has Textual apply each of its component classes anew.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in Tone if tone not in OF_CODE} | {
        "tone--cursor"
    }
    DEFAULT_CSS = """
    Toned {
        & > .tone--plain { color: $foreground; }
        & > .tone--muted { color: $foreground 60%; }
        &:ansi > .tone--muted { color: ansi_bright_black; }
        & > .tone--strong { color: $foreground; text-style: bold; }
        & > .tone--accent { color: $text-accent; }
        & > .tone--good { color: $text-success; }
        & > .tone--warn { color: $text-warning; }
        & > .tone--bad { color: $text-error; text-style: bold; }
        & > .tone--title { color: $text-primary; text-style: bold; }
        & > .tone--badge { color: $text; background: $warning 70%; text-style: bold; }
        &:ansi > .tone--badge { color: ansi_black; background: ansi_yellow; }
        & > .tone--cursor { background: $primary 18%; }
        &:focus > .tone--cursor { background: $primary 45%; }
    }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._base: Style | None = None
        self._drawing = False

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw these lines; none of them changes the style that lies under all."""
        self._base, self._drawing = None, True
        try:
            return super().render_lines(crop)
        finally:
            self._drawing = False

    @property
    def base_style(self) -> Style:
        """The style that lies under all lines: found once for those that are drawn together.

        To find it, Textual asks each widget around this one.
        """
        if self._base is None or not self._drawing:
            self._base = self.rich_style
        return self._base

    def strip_of(self, line: Line, width: int, *, cursor: bool = False) -> Strip:
        """Draw a line on the widget's background, padded or cropped to `width` cells."""
        base = self.base_style
        if cursor:
            base += self.get_component_rich_style("tone--cursor")
        segments = [Segment(span.text, self._style_of(span, base, cursor=cursor)) for span in line]
        return Strip(segments).adjust_cell_length(width, base)

    def _style_of(self, span: Span, base: Style, *, cursor: bool) -> Style:
        tone = span.tone
        if not cursor and span.ground is Ground.NONE:
            return self.get_component_rich_style(f"tone--{tone}")
        if not cursor:
            ground = self.get_component_rich_style(f"ground--{span.ground}")
            behind = Style(bgcolor=ground.bgcolor, bold=True if ground.bold else None)
            return self.get_component_rich_style(f"tone--{tone}") + behind
        # The row's background wins, so that the cursor is one unbroken bar; grey is illegible on it.
        legible = Tone.PLAIN if tone is Tone.MUTED else tone
        return self.get_component_rich_style(f"tone--{legible}") + Style(bgcolor=base.bgcolor)
