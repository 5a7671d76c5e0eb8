"""The panel beside the workers: how fast tokens and dollars went in the last hour."""

from __future__ import annotations

from textual.strip import Strip

from agentcoord.tui.model import DashboardModel
from agentcoord.tui.rates import NAME_CELLS, VALUE_CELLS, rate_lines, rates_of
from agentcoord.tui.styled import Line, Span
from agentcoord.tui.widgets.toned import Toned


class RatePanel(Toned):
    """Draws `rates` in its own width; nothing is counted while it is hidden."""

    ALLOW_SELECT = False

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()

    def read(self, model: DashboardModel, *, now_ms: int) -> None:
        """Count again, and draw if anything is different."""
        width = self.size.width - 2
        if not self.display or width <= 0:
            return
        rates = rates_of(
            model.events,
            now_ms=now_ms,
            parts=width,
            short_parts=max(1, width - NAME_CELLS - VALUE_CELLS),
            workers=model.status["workers_total"] if model.status else 0,
        )
        lines = rate_lines(rates, model.status, width=width)
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else ()
        return self.strip_of((Span(" "), *line), self.size.width)
