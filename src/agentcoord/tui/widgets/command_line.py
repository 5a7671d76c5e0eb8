"""The `:` line at the bottom: completion while typing, and the lines of before.

Separate from the screens because it knows its history and its completion, and nothing of what
commands do: it posts the line and closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from agentcoord.values import dataclass

HISTORY_KEPT: Final = 100


class _Completion(Suggester):
    """Offers what a function says, grey behind the cursor."""

    def __init__(self, complete: Callable[[str], str | None]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return self._complete(value)


class CommandLine(Input):
    """One line to type a command; hidden until `begin()`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "take", "Complete", show=False, priority=True),
        Binding("up", "older", "Older", show=False),
        Binding("down", "newer", "Newer", show=False),
        Binding("escape", "leave", "Leave", show=False),
    ]
    DEFAULT_CSS = """
    CommandLine {
        display: none;
        height: 1;
        background: $boost;
    }
    """

    @dataclass
    class Entered(Message):
        """A person finished a line."""

        line: str

    @dataclass
    class Left(Message):
        """A person turned away, or is done."""

    def __init__(self, complete: Callable[[str], str | None], history: list[str]) -> None:
        super().__init__(id="command", compact=True, placeholder="a command; Tab completes, ↑ brings back")
        self.suggester = _Completion(complete)
        self._complete = complete
        self._history = history
        """Oldest first; shared by all screens of the app."""
        self._at = 0

    def begin(self, line: str = "") -> None:
        """Show itself and take the keys."""
        self._at = len(self._history)
        self.display = True
        self.value = line
        self.cursor_position = len(line)
        self.focus()

    def action_take(self) -> None:
        """Take the completion."""
        completed = self._complete(self.value)
        if completed is not None:
            self.value = completed
            self.cursor_position = len(completed)

    def action_older(self) -> None:
        """Bring the line before back."""
        self._show(self._at - 1)

    def action_newer(self) -> None:
        """Bring the line after back; after the newest, an empty one."""
        self._show(self._at + 1)

    def action_leave(self) -> None:
        """Close without a command."""
        self._close()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Remember the line, close, and say what was entered."""
        event.stop()
        line = event.value.strip()
        if line and (not self._history or self._history[-1] != line):
            self._history.append(line)
            del self._history[:-HISTORY_KEPT]
        self._close()
        if line:
            self.post_message(self.Entered(line))

    def _show(self, at: int) -> None:
        self._at = max(0, min(at, len(self._history)))
        line = self._history[self._at] if self._at < len(self._history) else ""
        self.value = line
        self.cursor_position = len(line)

    def _close(self) -> None:
        self.display = False
        self.value = ""
        self.post_message(self.Left())
