"""The review: landed tasks by risk, each with its reasons, its proof and its diff; then a verdict.

Reads every landed task and its diff once when it opens; verdicts arrive as rows, like everywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import ClassVar, Final, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.errors import AgentCoordError
from agentcoord.tui.context import Context
from agentcoord.tui.diff_page import DiffPages, Layout
from agentcoord.tui.diff_reading import DiffText, read_diff_text
from agentcoord.tui.model import Part
from agentcoord.tui.review_text import REVIEW_COLUMNS, Case, by_risk, case_page, queue_row
from agentcoord.tui.screens.hunks import HunkScreen
from agentcoord.tui.screens.review_hints import review_hints
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import plural
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import KeyBar
from agentcoord.tui.widgets.line_table import LineTable
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method
from agentcoord.wire.task_views import TaskDetail

MOST_CHARS: Final = 400_000
"""Beyond this a task's diff is cut here."""
_NOTHING: Final = (Span(" Nothing waits for a review.", Tone.MUTED),)


class ReviewScreen(HunkScreen):
    """Walks through what landed."""

    HELP = "Review"
    AUTO_FOCUS = "#case"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Screen declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("n,right_square_bracket", "step(1)", "Next", show=False),
        Binding("N,left_square_bracket", "step(-1)", "Previous", show=False),
        Binding("right_curly_bracket", "file(1)", "Next file", show=False),
        Binding("left_curly_bracket", "file(-1)", "Previous file", show=False),
        Binding("y", "accept", "Accept", show=False),
        Binding("u", "undo", "Undo", show=False),
        Binding("r", "reject", "Reject", show=False),
        Binding("d", "diff", "Diff", show=False),
        Binding("J", "hunk(1)", "Next hunk", show=False),
        Binding("K", "hunk(-1)", "Previous hunk", show=False),
        Binding("plus,equals_sign", "mark('keep')", "Accept the hunk", show=False),
        Binding("minus", "mark('take out')", "Reject the hunk", show=False),
        Binding("t", "try_without", "Try without the rejected hunks", show=False),
        Binding("s", "layout", "Side by side", show=False),
        Binding("c", "comment", "Comment", show=False),
    ]
    DEFAULT_CSS = """
    ReviewScreen {
        & #cases { height: 1fr; layout: horizontal; }
        & #queue { width: 38; height: 100%; }
        & #case { width: 1fr; height: 100%; }
        & #queue, & #case {
            border: round $foreground 25%;
            border-title-color: $foreground 70%;
            border-subtitle-color: $text-warning;
        }
        & #queue:focus, & #case:focus {
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
        }
        &.-narrow #cases { layout: vertical; }
        &.-narrow #queue { width: 100%; height: 7; }
        &.-narrow #case { width: 100%; height: 1fr; }
    }
    """

    def __init__(self, context: Context, task_id: str | None = None) -> None:
        super().__init__(context)
        self._begin_with = task_id
        self._cases: dict[str, Case] = {}
        """In the order of review."""
        self._was_read = False
        self._shown: str | None = None
        self._pages: dict[str, DiffPages] = {}
        self._layout = Layout.UNIFIED

    def compose(self) -> ComposeResult:
        with Container(id="cases"):
            yield LineTable(REVIEW_COLUMNS, id="queue")
            yield LinesView(id="case")
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#case", LinesView).set_lines([(Span(" Reading what landed ...", Tone.MUTED),)])
        self.run_worker(self._read(), group="review", exclusive=True)
        self.show(Part.ALL)

    @on(LinesView.Resized)
    def _resized(self) -> None:
        self.draw_case()

    def show(self, parts: Part) -> None:
        """Verdicts change the list and the page's first line."""
        if parts & (Part.TASKS | Part.LINK):
            self._draw_queue()
            self.draw_case()
        self.draw_keys()

    # Keys.

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_step(self, by: int) -> None:
        """Go to the next or the previous task."""
        self.query_one("#queue", LineTable).action_move(by)

    def action_file(self, by: int) -> None:
        """Scroll to the next or the previous file of the diff."""
        view = self.query_one("#case", LinesView)
        starts = self.page.files
        if not starts:
            self.say("There is no diff here.")
            return
        at = round(view.scroll_y)
        i = bisect_right(starts, at) if by > 0 else bisect_left(starts, at) - 1
        view.show_line(starts[max(0, min(i, len(starts) - 1))])

    def action_layout(self) -> None:
        """Unified, or side by side."""
        self._layout = Layout.SPLIT if self._layout is Layout.UNIFIED else Layout.UNIFIED
        self.draw_case()
        self.show_hunk()

    def acted(self, tasks: Sequence[str]) -> None:
        """Go on to the next task that waits."""
        self._go_on(after=tasks[-1])

    @on(LineTable.Moved, "#queue")
    def _moved(self) -> None:
        self.draw_case()
        self.draw_keys()

    @on(LineTable.Chosen, "#queue")
    def _chosen(self) -> None:
        self.query_one("#case").focus()

    # Work.

    async def _read(self) -> None:
        """Read every landed task that nobody judged, and put them in order."""
        waiting = [
            row["id"]
            for row in self.model.tasks.values()
            if row["state"] == TaskState.DONE
            and (row["review"] == ReviewState.UNREVIEWED or row["id"] == self._begin_with)
        ]
        cases = []
        for number, task_id in enumerate(waiting, 1):
            write_subtitle(self.query_one("#queue"), f"reading {number} of {len(waiting)}")
            if (case := await self._read_case(task_id)) is not None:
                cases.append(case)
        self._cases = {case.task_id: case for case in by_risk(cases)}
        self._was_read = True
        if not cases:
            self.query_one("#case", LinesView).set_lines([_NOTHING])
        self._draw_queue()
        if self._begin_with is not None:
            self.query_one("#queue", LineTable).select(self._begin_with)
        self.draw_case()
        self.draw_keys()

    async def read_again(self, task: str) -> None:
        """Read a task anew that has lost some of its hunks."""
        case = await self._read_case(task)
        if case is not None and task in self._cases:
            self._cases[task] = case
            self._pages.pop(task, None)
            self.hunks.forget(task)
            self.draw_case()
            self.draw_keys()

    async def _read_case(self, task_id: str) -> Case | None:
        detail = await self.ask(Method.TASK, id=task_id)
        if detail is None:
            return None
        try:
            diff = await read_diff_text(self.context.source, task_id, most_chars=MOST_CHARS)
        except AgentCoordError:
            diff = DiffText("", True, ())
        return Case(cast("TaskDetail", detail), diff.text, diff.cut)

    def _go_on(self, *, after: str) -> None:
        queue = self.query_one("#queue", LineTable)
        order = list(self._cases)
        at = order.index(after) if after in order else -1
        waiting = [task for task in order[at + 1 :] + order[: at + 1] if self._waits(task) and task != after]
        if waiting:
            queue.select(waiting[0])
        else:
            self.say("Everything that landed is judged.")

    def _waits(self, task_id: str) -> bool:
        row = self.model.tasks.get(task_id)
        return row is not None and row["review"] == ReviewState.UNREVIEWED

    # Drawing.

    @property
    def selected_task(self) -> str | None:
        return self.query_one("#queue", LineTable).cursor_key

    def show_line(self, line: int) -> None:
        """Scroll to a line of the page."""
        self.query_one("#case", LinesView).show_line(line)

    def _draw_queue(self) -> None:
        queue = self.query_one("#queue", LineTable)
        queue.set_empty([_NOTHING] if self._was_read else ())
        queue.set_rows([queue_row(case, self.model.tasks.get(task)) for task, case in self._cases.items()])
        left = sum(self._waits(task) for task in self._cases)
        write_title(queue, "Review")
        write_subtitle(queue, f"{plural(left, 'task')} to judge" if self._cases else "")

    def draw_case(self) -> None:
        """Draw the selected task, with the cursor and the marks."""
        case = self._cases.get(self.selected_task or "")
        view = self.query_one("#case", LinesView)
        if case is None:
            return
        task, width = case.task_id, view.size.width
        pages = self._pages.setdefault(task, DiffPages(case.diff))
        hunks = pages.hunks
        at = self.hunks.at(task, hunks)
        cursor = hunks[at].key if at is not None else None
        diff = pages.page(self._layout, width=width, marks=self.hunks.marks_of(task), cursor=cursor)
        self.page = case_page(case, self.model.tasks.get(task), diff, width=width)
        lines = self.page.lines
        write_title(view, f"{case.task_id} · {case.detail['task']['title']}")
        write_subtitle(view, "" if self.model.live else "no connection: this may be stale")
        if tuple(lines) != view.lines:
            view.set_lines(lines)
        if self._shown != case.task_id:
            self._shown = case.task_id
            view.show_line(0)

    def draw_keys(self) -> None:
        """Say what the keys can do now."""
        hints = review_hints(
            self.model,
            task=self.selected_task,
            page=self.page,
            several=len(self._cases) > 1,
            can_try=not self.why_not_try(),
            decidable=self.decidable,
        )
        self.query_one(KeyBar).set_hints(hints)
