"""Ask before an effect that cannot simply be taken back: what happens, yes or no."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from agentcoord.tui.text import harmless


class ConfirmScreen(ModalScreen[bool]):
    """Answers True on yes; the focus stands on no."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", show=False),
        Binding("n,escape,q", "answer(False)", "No", show=False),
        Binding("left,right,h,l", "app.focus_next", "Other button", show=False),
    ]
    DEFAULT_CSS = """
    ConfirmScreen {
        align: center middle;
        & > Vertical {
            width: 76;
            max-width: 95%;
            height: auto;
            border: round $warning;
            background: $surface;
            padding: 1 2;
        }
        & #question { text-style: bold; }
        & #consequence { color: $text-muted; margin-bottom: 1; }
        & Horizontal { height: auto; align-horizontal: right; }
        & Button { margin-left: 2; }
        & Button.-textual-compact:focus {
            text-style: bold;
            background: $primary;
            color: $background;
        }
    }
    """

    def __init__(self, question: str, consequence: str) -> None:
        super().__init__()
        self._question = question
        self._consequence = consequence

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(harmless(self._question)), id="question")
            lines = (harmless(line) for line in self._consequence.split("\n"))
            yield Static(Content("\n".join(lines)), id="consequence")
            with Horizontal():
                yield Button("[u]Y[/u]es", id="yes", variant="warning", compact=True)
                yield Button("[u]N[/u]o", id="no", compact=True)

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
