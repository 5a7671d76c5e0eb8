"""The help screen: what every key does, how to filter, what the signs mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from agentcoord.tui.help_text import help_lines
from agentcoord.tui.widgets.lines_view import LinesView


class HelpScreen(ModalScreen[None]):
    """Closes with any of the keys that close things."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Close", show=False),
    ]
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & > LinesView {
            width: 92;
            max-width: 96%;
            height: auto;
            max-height: 92%;
            border: round $primary;
            background: $surface;
        }
    }
    """

    def __init__(self, first: str = "") -> None:
        """`first`: the title of the part that stands before all others."""
        super().__init__()
        self._first = first
        self._wrapped_for = 0

    def on_mount(self) -> None:
        """Something to be laid out, so that the view has a size."""
        self.query_one(LinesView).set_lines(help_lines(self.app.size.width, self._first))

    def compose(self) -> ComposeResult:
        view = LinesView(id="help")
        view.border_title = "Help"
        view.border_subtitle = "Esc closes"
        yield view

    def on_lines_view_resized(self, event: LinesView.Resized) -> None:
        """Its width is known once it has been laid out."""
        if event.view.size.width != self._wrapped_for:
            self._wrapped_for = event.view.size.width
            event.view.set_lines(help_lines(self._wrapped_for, self._first))
