"""Ask a person for one line of text: an answer to a worker, or the reason of a rejection."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agentcoord.tui.text import harmless


class AskScreen(ModalScreen[str | None]):
    """Answers the text; None when the person turned away."""

    AUTO_FOCUS = "#text"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]
    DEFAULT_CSS = """
    AskScreen {
        align: center middle;
        & > Vertical {
            width: 76;
            max-width: 95%;
            height: auto;
            border: round $primary;
            background: $surface;
            padding: 1 2;
        }
        & #asked { text-style: bold; }
        & #more { color: $text-muted; margin-bottom: 1; }
        & #keys { color: $text-muted; margin-top: 1; }
        & Input { background: $boost; }
    }
    """

    def __init__(self, asked: str, more: str, *, placeholder: str = "", text: str = "") -> None:
        """`text` stands there already, to be sent or changed."""
        super().__init__()
        self._asked = asked
        self._more = more
        self._placeholder = placeholder
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(harmless(self._asked)), id="asked")
            yield Static(Content(harmless(self._more)), id="more")
            yield Input(
                self._text, placeholder=self._placeholder, id="text", compact=True, select_on_focus=False
            )
            yield Static(Content("Enter sends it, Esc leaves it"), id="keys")

    def action_leave(self) -> None:
        """Close without a text."""
        self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close with the text; an empty one is no text."""
        self.dismiss(event.value.strip() or None)
