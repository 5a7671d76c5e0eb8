"""What one task changed: a unified diff, coloured, read from the daemon in pieces."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from agentcoord.errors import AgentCoordError
from agentcoord.tui.context import Context
from agentcoord.tui.diff_page import DiffPages, Layout
from agentcoord.tui.diff_reading import read_diff_text
from agentcoord.tui.model import Part
from agentcoord.tui.review_text import runs_here_lines
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import one_line, plural
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.lines_view import LinesView

MOST_CHARS: Final = 2_000_000
"""Beyond this a diff is cut here; `agentcoord diff` prints all of it."""


class DiffScreen(LiveScreen):
    """A pager over a task's diff."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("right_square_bracket", "file(1)", "Next file", show=False),
        Binding("left_square_bracket", "file(-1)", "Previous file", show=False),
        Binding("s", "layout", "Side by side", show=False),
        Binding("r", "read", "Read again", show=False),
    ]
    DEFAULT_CSS = """
    DiffScreen #diff { border: round $primary; height: 1fr; }
    """

    def __init__(self, context: Context, task_id: str) -> None:
        super().__init__(context)
        self.task_id = task_id
        self._starts: list[int] = []
        self._pages: DiffPages | None = None
        self._runs_here: tuple[str, ...] = ()
        self._layout = Layout.UNIFIED
        self._cut = False

    def compose(self) -> ComposeResult:
        view = LinesView(id="diff")
        write_title(view, f"Diff of {self.task_id}")
        yield view
        yield KeyBar()

    def on_mount(self) -> None:
        self.show(Part.ALL)
        self.action_read()

    def show(self, parts: Part) -> None:
        """Only the keys depend on the model; the diff stays as it was read."""
        several = len(self._starts) > 1
        self.query_one(KeyBar).set_hints(
            [
                Hint("esc", "back", "close"),
                Hint("] [", "next, previous file", "file(1)", usable=several, rank=1),
                Hint("j k h l", "scroll", "", rank=2),
                Hint("s", "side by side", "layout", usable=bool(self._starts), rank=1),
                Hint("r", "read again", "read", usable=self.model.live, rank=1),
                Hint("?", "help", "show_help"),
            ]
        )

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_read(self) -> None:
        """Read the diff from the daemon."""
        self.query_one(LinesView).set_lines([(Span(" Reading the diff ...", Tone.MUTED),)])
        self.run_worker(self._read(), group="diff", exclusive=True)

    def action_layout(self) -> None:
        """Unified, or side by side."""
        self._layout = Layout.SPLIT if self._layout is Layout.UNIFIED else Layout.UNIFIED
        self._draw()

    @on(LinesView.Resized)
    def _resized(self) -> None:
        self._draw()

    def action_file(self, by: int) -> None:
        """Scroll to the next or the previous file."""
        if len(self._starts) < 2:
            self.say("There is no other file in this diff.")
            return
        view = self.query_one(LinesView)
        at = round(view.scroll_y)
        i = bisect_right(self._starts, at) if by > 0 else bisect_left(self._starts, at) - 1
        view.show_line(self._starts[max(0, min(i, len(self._starts) - 1))])

    async def _read(self) -> None:
        """Collect the pieces; a refusal is shown in place of the diff."""
        try:
            diff = await read_diff_text(self.context.source, self.task_id, most_chars=MOST_CHARS)
        except AgentCoordError as error:
            self.query_one(LinesView).set_lines([(Span(f" {one_line(error.message)}", Tone.WARN),)])
            return
        self._pages, self._cut = DiffPages(diff.text), diff.cut
        self._runs_here = diff.runs_here
        self._draw()
        self.query_one(LinesView).focus()

    def _draw(self) -> None:
        if self._pages is None:
            return
        view = self.query_one(LinesView)
        page = self._pages.page(self._layout, width=view.size.width)
        first = [*runs_here_lines(self._runs_here), ()] if self._runs_here and page.lines else []
        lines, self._starts = [*first, *page.lines], [len(first) + start for start in page.files]
        if not lines:
            lines = [(Span(" No changes.", Tone.MUTED),)]
        if self._cut:
            lines.append((Span(f" Cut here. All of it: agentcoord diff {self.task_id}", Tone.WARN),))
        if tuple(lines) != view.lines:
            view.set_lines(lines)
        added, removed = self._pages.lines_added_and_removed
        files = plural(len(self._starts), "file")
        write_subtitle(view, f"{files}, +{added} -{removed}" if page.lines else "")
        self.show(Part.ALL)
