"""What the screens share that show one long text which grows: follow its end, search, copy.

It follows until a person scrolls away, and again when asked to. Deliberately absent: where the lines
come from, and what the other keys do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from agentcoord.tui.context import Context
from agentcoord.tui.log_text import with_match
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.styled import Line, Span, Tone, plain_text
from agentcoord.tui.text import plural
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.lines_view import LinesView

COPY_CHARS: Final = 200_000
"""Terminals refuse to take more into the clipboard; the newest text counts."""


class PagerScreen(LiveScreen):
    """One text on the whole screen."""

    AUTO_FOCUS = "#pager"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("slash", "search", "Search", show=False),
        Binding("n", "match(1)", "Next match", show=False),
        Binding("N", "match(-1)", "Match before", show=False),
        Binding("c", "copy", "Copy", show=False),
    ]
    DEFAULT_CSS = """
    PagerScreen {
        & #pager { border: round $primary; height: 1fr; border-subtitle-color: $text-warning; }
        & #search { display: none; height: 1; background: $boost; }
    }
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.following = True
        self.search = ""
        """What is looked for, folded; empty: nothing."""
        self._lines: list[Line] = []
        self._placed_y: float | None = None
        """Where following put the view; above it, a person has scrolled. None: not placed yet."""

    def compose(self) -> ComposeResult:
        yield LinesView(id="pager")
        yield Input(
            placeholder="what to look for; n and N go from one to the next", id="search", compact=True
        )
        yield KeyBar()

    @property
    def view(self) -> LinesView:
        return self.query_one("#pager", LinesView)

    @on(LinesView.Resized)
    def _resized(self) -> None:
        self._placed_y = None
        self.draw()

    def draw(self) -> None:
        """Put the lines of this moment."""
        raise NotImplementedError

    def draw_frame(self) -> None:
        """Write the title and the keys."""
        raise NotImplementedError

    def put(self, lines: Sequence[Line]) -> None:
        """Show these lines; what is looked for is marked in them."""
        view = self.view
        if self._placed_y is not None and view.scroll_y < self._placed_y:
            self.following = False
        self._lines = list(lines)
        shown = tuple(with_match(line, self.search) for line in lines) if self.search else tuple(lines)
        if shown != view.lines:
            view.set_lines(shown)
        if self.following:
            self.call_after_refresh(self._to_end)
        self.draw_frame()

    def follow_anew(self) -> None:
        """Another text: begin at its end."""
        self.following, self._placed_y = True, None

    def matches(self) -> list[int]:
        """The lines in which what is looked for stands."""
        if not self.search:
            return []
        return [i for i, line in enumerate(self._lines) if self.search in plain_text(line).casefold()]

    @property
    def search_words(self) -> str:
        """For the title."""
        return f" · {plural(len(self.matches()), 'line')} with {self.search}" if self.search else ""

    def pager_hints(self) -> list[Hint]:
        """The keys of every pager."""
        return [
            Hint("f", "stop following" if self.following else "follow", "follow", rank=1),
            Hint("/", "search", "search"),
            Hint("n N", "next, previous match", "match(1)", usable=bool(self.search), rank=3),
            Hint("c", "copy", "copy", rank=4),
            Hint("?", "help", "show_help"),
        ]

    # Keys.

    def action_close(self) -> None:
        """Go back; out of a search first."""
        if self.search:
            self._look_for("")
        else:
            self.dismiss()

    def action_follow(self) -> None:
        """Follow the newest line, or stop."""
        self.following = not self.following
        self._placed_y = None
        self.draw()

    def action_copy(self) -> None:
        """Copy the text to the terminal's clipboard."""
        text = "\n".join(plain_text(line).rstrip() for line in self._lines)[-COPY_CHARS:]
        self.app.copy_to_clipboard(text)
        self.say(f"Copied {plural(len(self._lines), 'line')}, if your terminal allows it.")

    def action_search(self) -> None:
        """Let the person type what to look for."""
        field = self.query_one("#search", Input)
        field.display = True
        field.focus()

    def action_match(self, by: int) -> None:
        """Scroll to the next line that matches, or to the one before."""
        if not self.search:
            self.say("Search first: / and what to look for.", warn=True)
            return
        matches, top = self.matches(), round(self.view.scroll_y)
        onward = [i for i in matches if (i > top if by > 0 else i < top)]
        if not onward:
            self.say("No more lines match in this direction." if matches else "No line matches.")
            return
        self.following = False
        self.view.show_line(onward[0] if by > 0 else onward[-1])
        self.draw_frame()

    @on(Input.Changed, "#search")
    def _search_typed(self, event: Input.Changed) -> None:
        self._look_for(event.value)

    @on(Input.Submitted, "#search")
    def _search_kept(self) -> None:
        self.query_one("#search", Input).display = False
        self.view.focus()
        top, matches = round(self.view.scroll_y), self.matches()
        in_sight = any(top <= i < top + self.view.size.height for i in matches)
        if self.search and not in_sight:
            self.action_match(-1 if self.following else 1)

    def _look_for(self, words: str) -> None:
        self.search = words.strip().casefold()
        field = self.query_one("#search", Input)
        if not self.search and not field.has_focus:
            field.value = ""
            field.display = False
        self.draw()

    def _to_end(self) -> None:
        view = self.view
        view.scroll_to(y=view.max_scroll_y, animate=False, immediate=True)
        self._placed_y = view.scroll_y


def no_lines(words: str) -> list[Line]:
    """What an empty pager says."""
    return [(Span(f" {words}", Tone.MUTED),)]
