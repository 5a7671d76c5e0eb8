"""The daemon's own log: follow, level, search, bound to a task or a worker.

Reads the file, not the daemon: what a dead daemon said last is what a person looks for here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from agentcoord.telemetry.log_file import LogTail
from agentcoord.tui.context import Context
from agentcoord.tui.log_text import LogLine, is_at_least, no_log, read_log_line, with_match
from agentcoord.tui.model import Mode, Part
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.styled import Span
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.lines_view import LinesView

LINES_KEPT: Final = 5_000
LOOK_S: Final = 0.5
SHOWN_LEVELS: Final = ("info", "warning", "error")


class LogScreen(LiveScreen):
    """A pager over the log that follows its end until a person scrolls away."""

    AUTO_FOCUS = "#log"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("L", "level", "Level", show=False),
        Binding("slash", "search", "Search", show=False),
        Binding("n", "match(1)", "Next match", show=False),
        Binding("N", "match(-1)", "Match before", show=False),
        Binding("b", "bind", "Bound or all", show=False),
    ]
    DEFAULT_CSS = """
    LogScreen {
        & #log { border: round $primary; height: 1fr; border-subtitle-color: $text-warning; }
        & #search { display: none; height: 1; background: $boost; }
    }
    """

    def __init__(self, context: Context, about: str = "") -> None:
        super().__init__(context)
        self._about = about
        self._bound = bool(about)
        self._level = SHOWN_LEVELS[0]
        self._search = ""
        self.following = True
        self._placed_y: float | None = None
        """Where following put the view; above it, a person has scrolled. None: not placed yet."""
        self._lines: deque[LogLine] = deque(maxlen=LINES_KEPT)
        self._shown: list[LogLine] = []
        self._tail = None if context.log_file is None else LogTail(context.log_file)

    def compose(self) -> ComposeResult:
        yield LinesView(id="log")
        yield Input(
            placeholder="what to look for; n and N go from one to the next", id="search", compact=True
        )
        yield KeyBar()

    def on_mount(self) -> None:
        self.run_worker(self._follow_file(), group="log", exclusive=True)
        self.show(Part.ALL)

    def on_resize(self) -> None:
        self._placed_y = None
        self.call_after_refresh(self._draw)

    def show(self, parts: Part) -> None:
        """A replay shows what had been logged by then; else only the keys depend on the model."""
        if parts & Part.CLOCK and self.model.mode is Mode.REPLAY:
            self._draw()
        self._draw_keys()

    # Keys.

    def action_close(self) -> None:
        """Go back; out of a search first."""
        if self._search:
            self._look_for("")
        else:
            self.dismiss()

    def action_follow(self) -> None:
        """Follow the newest line, or stop."""
        self.following = not self.following
        self._placed_y = None
        self._draw()

    def action_level(self) -> None:
        """Show more serious lines alone; after the most serious, all again."""
        self._level = SHOWN_LEVELS[(SHOWN_LEVELS.index(self._level) + 1) % len(SHOWN_LEVELS)]
        self._draw()

    def action_bind(self) -> None:
        """Show the lines of one task or worker, or all."""
        if not self._about:
            self.say("Open the log with l on a task or a worker, and it shows that one's lines.", warn=True)
            return
        self._bound = not self._bound
        self._draw()

    def action_search(self) -> None:
        """Let the person type what to look for."""
        field = self.query_one("#search", Input)
        field.display = True
        field.focus()

    def action_match(self, by: int) -> None:
        """Scroll to the next line that matches, or to the one before."""
        if not self._search:
            self.say("Search first: / and what to look for.", warn=True)
            return
        view = self.query_one("#log", LinesView)
        matches = [i for i, line in enumerate(self._shown) if self._search in line.text]
        top = round(view.scroll_y)
        onward = [i for i in matches if (i > top if by > 0 else i < top)]
        if not onward:
            self.say("No more lines match in this direction." if matches else "No line matches.")
            return
        self.following = False
        view.show_line(onward[0] if by > 0 else onward[-1])
        self._draw_frame()

    @on(Input.Changed, "#search")
    def _search_typed(self, event: Input.Changed) -> None:
        self._look_for(event.value)

    @on(Input.Submitted, "#search")
    def _search_kept(self) -> None:
        self.query_one("#search", Input).display = False
        self.query_one("#log").focus()
        if self._search:
            self.action_match(-1 if self.following else 1)

    def _look_for(self, words: str) -> None:
        self._search = words.strip().casefold()
        field = self.query_one("#search", Input)
        if not self._search and not field.has_focus:
            field.value = ""
            field.display = False
        self._draw()

    # Reading and drawing.

    async def _follow_file(self) -> None:
        while self._tail is not None:
            try:
                fresh = await asyncio.to_thread(self._tail.read, LINES_KEPT)
            except OSError as error:
                self.say(f"The log cannot be read: {error.strerror}", warn=True)
                return
            if fresh:
                self._lines.extend(read_log_line(raw, self.context.zone) for raw in fresh)
                self._draw()
            await self.context.clock.sleep(LOOK_S)

    def _chosen(self) -> list[LogLine]:
        until_ms = self.context.clock.now_ms() if self.model.mode is Mode.REPLAY else None
        return [
            line
            for line in self._lines
            if (until_ms is None or line.at_ms <= until_ms)
            and (not self._bound or self._about in line.about)
            and is_at_least(line, self._level)
        ]

    def _draw(self) -> None:
        view = self.query_one("#log", LinesView)
        if self._placed_y is not None and view.scroll_y < self._placed_y:
            self.following = False
        self._shown = self._chosen()
        lines = [(Span(" "), *with_match(line.line, self._search)) for line in self._shown]
        if not lines:
            chosen = [f"about {self._about}"] if self._bound else []
            chosen += [f"of level {self._level}"] if self._level != SHOWN_LEVELS[0] else []
            lines = [no_log(str(self.context.log_file or ""), chosen=chosen if self._lines else [])]
        if tuple(lines) != view.lines:
            view.set_lines(lines)
        if self.following:
            self.call_after_refresh(self._to_end)
        self._draw_frame()
        self._draw_keys()

    def _draw_frame(self) -> None:
        view = self.query_one("#log", LinesView)
        about = f" · {self._about}" if self._bound else ""
        level = f" · {self._level} and worse" if self._level != SHOWN_LEVELS[0] else ""
        matches = sum(self._search in line.text for line in self._shown) if self._search else 0
        search = f" · {matches} with {self._search}" if self._search else ""
        following = "follow" if self.following else "f follows"
        write_title(view, f"Log of the daemon{about}{level}{search} · {following}")
        write_subtitle(view, "" if self.model.live else "no connection: the file is read all the same")

    def _draw_keys(self) -> None:
        self.query_one(KeyBar).set_hints(
            [
                Hint("esc", "back", "close"),
                Hint("f", "stop following" if self.following else "follow", "follow"),
                Hint("L", "level", "level"),
                Hint("/", "search", "search"),
                Hint("n N", "next, previous match", "match(1)", usable=bool(self._search), rank=2),
                Hint(
                    "b",
                    "all lines" if self._bound else f"only {self._about}" if self._about else "bound",
                    "bind",
                    usable=bool(self._about),
                    rank=3,
                ),
                Hint("?", "help", "show_help"),
            ]
        )

    def _to_end(self) -> None:
        view = self.query_one("#log", LinesView)
        view.scroll_to(y=view.max_scroll_y, animate=False, immediate=True)
        self._placed_y = view.scroll_y
