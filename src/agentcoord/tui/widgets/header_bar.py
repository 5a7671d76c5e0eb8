"""The two header lines as a widget; their content is `header.header_lines`."""

from __future__ import annotations

from textual.strip import Strip

from agentcoord.tui.styled import Line
from agentcoord.tui.widgets.toned import Toned


class HeaderBar(Toned):
    """Draws the lines it was given last."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    HeaderBar {
        height: 2;
        background: $panel;
    }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()

    def set_lines(self, lines: tuple[Line, ...]) -> None:
        """Show other lines, if they are others."""
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else ()
        return self.strip_of(line, self.size.width)
