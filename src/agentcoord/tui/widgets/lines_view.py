"""A pager: toned lines that scroll in both directions, for diffs and other long texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from agentcoord.tui.styled import OF_CODE, Ground, Line, width_of
from agentcoord.tui.widgets.growing import Growing
from agentcoord.values import dataclass


class LinesView(Growing, can_focus=True):
    """Shows lines as they are, without wrapping."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "Up", show=False),
        Binding("down,j", "scroll_down", "Down", show=False),
        Binding("left,h", "scroll_left", "Left", show=False),
        Binding("right,l", "scroll_right", "Right", show=False),
        Binding("pageup,b,ctrl+b", "page_up", "Page up", show=False),
        Binding("pagedown,space,ctrl+f", "page_down", "Page down", show=False),
        Binding("home,g", "scroll_home", "Top", show=False),
        Binding("end,G", "scroll_end", "Bottom", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in OF_CODE} | {
        f"ground--{ground}" for ground in Ground
    }
    DEFAULT_CSS = """
    LinesView {
        overflow: auto auto;
        & > .tone--added { color: $text-success; background: $success 12%; }
        & > .tone--removed { color: $text-error; background: $error 12%; }
        & > .tone--code-keyword { color: $text-primary; }
        & > .tone--code-string { color: $text-success; }
        & > .tone--code-number { color: $text-warning; }
        & > .tone--code-comment { color: $foreground 60%; text-style: italic; }
        & > .tone--code-name { color: $text-accent; }
        & > .ground--added { background: $success 12%; }
        & > .ground--removed { background: $error 12%; }
        & > .ground--added-word { background: $success 38%; text-style: bold; }
        & > .ground--removed-word { background: $error 38%; text-style: bold; }
        & > .ground--cursor { background: $primary 30%; text-style: bold; }
    }
    """

    @dataclass
    class Resized(Message):
        """The view has another size now: what was wrapped for the old one is to be wrapped anew.

        The screen's own size will not do: the view gets its share of it later.
        """

        view: LinesView

        @property
        def control(self) -> LinesView:
            return self.view

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()
        self._longest_cells = 0

    def on_resize(self) -> None:
        self.post_message(self.Resized(self))

    @property
    def lines(self) -> tuple[Line, ...]:
        return self._lines

    def set_lines(self, lines: Sequence[Line]) -> None:
        """Show other lines."""
        self._lines = tuple(lines)
        self._longest_cells = max((width_of(line) for line in self._lines), default=0)
        self.grow_to(Size(self._longest_cells, len(self._lines)))
        self.refresh()

    def show_line(self, index: int) -> None:
        """Scroll so that a line stands at the top."""
        self.scroll_to(y=index, animate=False)

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        width = self.size.width
        index = scroll_y + y
        line = self._lines[index] if index < len(self._lines) else ()
        # A line is drawn to its full width first, so that its background fills the screen.
        return self.strip_of(_filled(line, scroll_x + width), scroll_x + width).crop(
            scroll_x, scroll_x + width
        )


def _filled(line: Line, width: int) -> Line:
    """Extend the last span to `width`, so that a toned background does not end with the text."""
    missing = width - width_of(line)
    if not line or missing <= 0:
        return line
    *head, last = line
    return (*head, last._replace(text=last.text + " " * missing))
