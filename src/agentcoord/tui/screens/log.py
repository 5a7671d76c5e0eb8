"""The daemon's own log: follow, level, search, bound to a task or a worker.

Reads the file, not the daemon: what a dead daemon said last is what a person looks for here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar, Final

from textual.binding import Binding, BindingType

from agentcoord.telemetry.log_file import LogTail
from agentcoord.tui.context import Context
from agentcoord.tui.link import Mode
from agentcoord.tui.log_text import LogLine, is_at_least, read_log_line
from agentcoord.tui.model import Part
from agentcoord.tui.screens.pager import PagerScreen, no_lines
from agentcoord.tui.styled import Span
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar

LINES_KEPT: Final = 5_000
LOOK_S: Final = 0.5
SHOWN_LEVELS: Final = ("info", "warning", "error")


class LogScreen(PagerScreen):
    """Everything that the daemon logged, or what it said of one task or worker."""

    HELP = "Log"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("L", "level", "Level", show=False),
        Binding("b", "bind", "Bound or all", show=False),
    ]

    def __init__(self, context: Context, about: str = "") -> None:
        super().__init__(context)
        self._about = about
        self._bound = bool(about)
        self._level = SHOWN_LEVELS[0]
        self._log: deque[LogLine] = deque(maxlen=LINES_KEPT)
        self._tail = None if context.log_file is None else LogTail(context.log_file)

    def on_mount(self) -> None:
        self.run_worker(self._follow_file(), group="log", exclusive=True)
        self.draw()

    def show(self, parts: Part) -> None:
        """A replay shows what had been logged by then; else only the frame depends on the model."""
        if parts & Part.CLOCK and self.model.mode is Mode.REPLAY:
            self.draw()
        elif parts & Part.LINK:
            self.draw_frame()

    def action_level(self) -> None:
        """Show more serious lines alone; after the most serious, all again."""
        self._level = SHOWN_LEVELS[(SHOWN_LEVELS.index(self._level) + 1) % len(SHOWN_LEVELS)]
        self.draw()

    def action_bind(self) -> None:
        """Show the lines of one task or worker, or all."""
        if not self._about:
            self.say("Open the log with l on a task or a worker, and it shows that one's lines.", warn=True)
            return
        self._bound = not self._bound
        self.draw()

    async def _follow_file(self) -> None:
        while self._tail is not None:
            try:
                fresh = await asyncio.to_thread(self._tail.read, LINES_KEPT)
            except OSError as error:
                self.say(f"The log cannot be read: {error.strerror}", warn=True)
                return
            if fresh:
                self._log.extend(read_log_line(raw, self.context.zone) for raw in fresh)
                self.draw()
            await self.context.clock.sleep(LOOK_S)

    def _chosen(self) -> list[LogLine]:
        until_ms = self.context.clock.now_ms() if self.model.mode is Mode.REPLAY else None
        return [
            line
            for line in self._log
            if (until_ms is None or line.at_ms <= until_ms)
            and (not self._bound or self._about in line.about)
            and is_at_least(line, self._level)
        ]

    def draw(self) -> None:
        """Put the chosen lines."""
        lines = [(Span(" "), *line.line) for line in self._chosen()]
        self.put(lines or no_lines(self._why_empty()))

    def _why_empty(self) -> str:
        chosen = [f"about {self._about}"] if self._bound else []
        chosen += [f"of level {self._level}"] if self._level != SHOWN_LEVELS[0] else []
        if self._log and chosen:
            return f"No line of the log is {' and '.join(chosen)}."
        return f"The daemon has written no log yet ({self.context.log_file or 'no file'})."

    def draw_frame(self) -> None:
        """What is shown, and what the keys do."""
        about = f" · {self._about}" if self._bound else ""
        level = f" · {self._level} and worse" if self._level != SHOWN_LEVELS[0] else ""
        following = "follow" if self.following else "f follows"
        write_title(self.view, f"Log of the daemon{about}{level}{self.search_words} · {following}")
        stale = "no connection: the file is read all the same"
        write_subtitle(self.view, "" if self.model.live else stale)
        bound = "all lines" if self._bound else f"only {self._about}" if self._about else "bound"
        self.query_one(KeyBar).set_hints(
            [
                Hint("esc", "back", "close"),
                Hint("L", "level", "level"),
                Hint("b", bound, "bind", usable=bool(self._about), rank=2),
                *self.pager_hints(),
            ]
        )
