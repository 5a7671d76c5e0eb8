"""The review: landed tasks by risk, each with its reasons, its proof and its diff; then a verdict.

Reads every landed task and its diff once when it opens; verdicts arrive as rows, like everywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.errors import AgentCoordError
from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.diff_page import DiffPage, DiffPages, Layout, Mark
from agentcoord.tui.effects import ACCEPT, UNDO
from agentcoord.tui.hunk_marks import HunkMarks
from agentcoord.tui.model import Part
from agentcoord.tui.review_text import REVIEW_COLUMNS, Case, by_risk, case_page, queue_row
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.subset_text import subset_words, taken_words
from agentcoord.tui.text import plural
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.line_table import LineTable
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method
from agentcoord.wire.task_views import TaskDetail

MOST_CHARS: Final = 400_000
"""Beyond this a task's diff is cut here."""
ASK_AGAIN_S: Final = 0.5
"""How often the daemon is asked whether the checks of a subset have ended."""


class ReviewScreen(LiveScreen):
    """Walks through what landed."""

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
        self._shown: str | None = None
        self._page = DiffPage([], [], [])
        self._pages: dict[str, DiffPages] = {}
        self._layout = Layout.UNIFIED
        self._hunks = HunkMarks()
        self._trying: str | None = None
        """The task whose checks run without some hunks."""

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
        self._draw_case()

    def show(self, parts: Part) -> None:
        """Verdicts change the list and the page's first line."""
        if parts & (Part.TASKS | Part.LINK):
            self._draw_queue()
            self._draw_case()
        self._draw_keys()

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
        starts = self._page.files
        if not starts:
            self.say("There is no diff here.")
            return
        at = round(view.scroll_y)
        i = bisect_right(starts, at) if by > 0 else bisect_left(starts, at) - 1
        view.show_line(starts[max(0, min(i, len(starts) - 1))])

    def action_hunk(self, by: int) -> None:
        """Move the cursor to the next or the previous hunk."""
        task, hunks = self._current, [hunk for _, hunk in self._page.hunks]
        if task is None or not hunks:
            self.say("There are no hunks here.")
            return
        self._hunks.move(task, by, hunks)
        self._draw_case()
        self._show_hunk()

    def action_mark(self, mark: str) -> None:
        """Accept the hunk at the cursor, or mark it to be taken out; again: unmark. Go on to the next."""
        task, hunks = self._current, [hunk for _, hunk in self._page.hunks]
        if task is None or not hunks:
            self.say("There are no hunks here.")
            return
        if why_not := actions.why_not_undo(self.model, task):
            self.say(why_not, warn=True)
            return
        self._hunks.mark(task, Mark(mark), hunks)
        self._draw_case()
        self._show_hunk()
        self._draw_keys()
        if self._hunks.all_kept(task, hunks):
            self.say("Every hunk is accepted: y accepts the task.")

    def action_layout(self) -> None:
        """Unified, or side by side."""
        self._layout = Layout.SPLIT if self._layout is Layout.UNIFIED else Layout.UNIFIED
        self._draw_case()
        self._show_hunk()

    def action_try_without(self) -> None:
        """Run the checks on the task without the rejected hunks; with their verdict, ask whether to do it."""
        if why_not := self._why_not_try():
            self.say(why_not, warn=True)
            return
        task = self._current
        assert task is not None
        if (answer := self._hunks.verdict(task)) is not None:
            self._decide(task, answer)
            return
        self._trying = task
        self._draw_keys()
        self.run_worker(self._try_without(task, self._hunks.dropped(task)), group="subset", exclusive=True)

    def action_comment(self) -> None:
        """Ask for a change on top of it."""
        self.comment_on(self._current)

    def action_accept(self) -> None:
        """It is good; go on to the next."""
        self.act(ACCEPT, self._wanted())

    def action_undo(self) -> None:
        """Take it back; go on to the next."""
        self.act(UNDO, self._wanted())

    def action_diff(self) -> None:
        """The diff alone, on the whole screen."""
        self.open_diff(self._current)

    def action_reject(self) -> None:
        """Take it back and ask for it again, with the reason."""
        self.reject_task(self._current)

    def acted(self, tasks: Sequence[str]) -> None:
        """Go on to the next task that waits."""
        self._go_on(after=tasks[-1])

    @on(LineTable.Moved, "#queue")
    def _moved(self) -> None:
        self._draw_case()
        self._draw_keys()

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
            detail = await self.ask(Method.TASK, id=task_id)
            if detail is not None:
                diff, cut = await self._diff(task_id)
                cases.append(Case(cast("TaskDetail", detail), diff, cut))
        self._cases = {case.task_id: case for case in by_risk(cases)}
        self._draw_queue()
        if self._begin_with is not None:
            self.query_one("#queue", LineTable).select(self._begin_with)
        self._draw_case()
        self._draw_keys()

    async def _try_without(self, task: str, hunks: list[str]) -> None:
        self.say(f"The checks run on {task} without {plural(len(hunks), 'hunk')}, in a private copy.")
        answer = await self.ask(Method.PROVE_WITHOUT, id=task, hunks=hunks)
        while answer is not None and answer["state"] == "running":
            await self.context.clock.sleep(ASK_AGAIN_S)
            answer = await self.ask(Method.PROVE_WITHOUT, id=task, hunks=hunks)
        self._trying = None
        if answer is not None and answer["state"] == "broken":
            self.say(subset_words(answer), warn=True)
        elif answer is not None:
            # No question by itself: a key that was meant for the list must not answer it.
            self._hunks.heard(task, answer)
            without = f"{task} without {plural(len(hunks), 'hunk')} is {answer['state']}"
            self.say(f"{without}: t decides.", warn=answer["state"] == "red")
        self._draw_keys()

    def _decide(self, task: str, answer: Mapping[str, Any]) -> None:
        """Show the verdict of the checks, and ask."""

        def decided(yes: bool | None) -> None:
            if yes:
                red = answer["state"] == "red"
                self.run_worker(self._take_out(task, answer["hunks"], anyway=red), group="effects")

        asked = f"Take {plural(len(answer['hunks']), 'hunk')} out of {task}?"
        self.app.push_screen(ConfirmScreen(asked, subset_words(answer)), decided)

    async def _take_out(self, task: str, hunks: list[str], *, anyway: bool) -> None:
        self._hunks.void(task)  # Whatever comes of it: the next verdict is about another tree.
        answer = await self.ask(Method.TAKE_OUT, id=task, hunks=hunks, anyway=anyway)
        self._draw_keys()
        if answer is None:
            return
        self.say(f"{taken_words(answer)}.")
        detail = await self.ask(Method.TASK, id=task)
        if detail is not None and task in self._cases:
            diff, cut = await self._diff(task)
            self._cases[task] = Case(cast("TaskDetail", detail), diff, cut)
            self._pages.pop(task, None)
            self._hunks.forget(task)
            self._draw_case()
            self._draw_keys()

    def _why_not_try(self) -> str:
        task = self._current
        if why_not := actions.why_not_undo(self.model, task):
            return why_not
        if task is not None and self._hunks.verdict(task) is not None:
            return ""
        if self._trying is not None:
            return f"The checks run for {self._trying} already."
        return "" if task is not None and self._hunks.dropped(task) else "Reject hunks with - first."

    async def _diff(self, task_id: str) -> tuple[str, bool]:
        text, offset = "", 0
        try:
            while True:
                piece = await self.context.source.call(Method.DIFF, id=task_id, offset=offset)
                text += str(piece["text"])
                following = piece["next_offset"]
                if following is None or len(text) >= MOST_CHARS:
                    return text, following is not None
                offset = int(following)
        except AgentCoordError:
            return text, True

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
    def _current(self) -> str | None:
        return self.query_one("#queue", LineTable).cursor_key

    def _wanted(self) -> list[str]:
        return [] if self._current is None else [self._current]

    def _draw_queue(self) -> None:
        queue = self.query_one("#queue", LineTable)
        queue.set_empty([(Span("Nothing waits for a review.", Tone.MUTED),)] if not self._cases else ())
        queue.set_rows([queue_row(case, self.model.tasks.get(task)) for task, case in self._cases.items()])
        left = sum(self._waits(task) for task in self._cases)
        write_title(queue, "Review")
        write_subtitle(queue, f"{plural(left, 'task')} to judge" if self._cases else "")

    def _draw_case(self) -> None:
        case = self._cases.get(self._current or "")
        view = self.query_one("#case", LinesView)
        if case is None:
            return
        task, width = case.task_id, view.size.width
        pages = self._pages.setdefault(task, DiffPages(case.diff))
        hunks = pages.hunks
        at = self._hunks.at(task, hunks)
        cursor = hunks[at].key if at is not None else None
        diff = pages.page(self._layout, width=width, marks=self._hunks.marks_of(task), cursor=cursor)
        self._page = case_page(case, self.model.tasks.get(task), diff, width=width)
        lines = self._page.lines
        write_title(view, f"{case.task_id}  {case.detail['task']['title']}")
        write_subtitle(view, "" if self.model.live else "no connection: this may be stale")
        if tuple(lines) != view.lines:
            view.set_lines(lines)
        if self._shown != case.task_id:
            self._shown = case.task_id
            view.show_line(0)

    def _show_hunk(self) -> None:
        """Have the hunk at the cursor in sight, with a line or two before it."""
        task = self._current
        at = self._hunks.at(task or "", [hunk for _, hunk in self._page.hunks])
        if at is not None:
            self.query_one("#case", LinesView).show_line(max(0, self._page.hunks[at][0] - 2))

    def _draw_keys(self) -> None:
        model, task = self.model, self._current
        judge = not actions.why_not_undo(model, task)
        self.query_one(KeyBar).set_hints(
            [
                Hint("y", "accept", "accept", usable=not actions.why_not_accept(model, task)),
                Hint("r", "reject with a reason", "reject", usable=not actions.why_not_reject(model, task)),
                Hint("u", "undo", "undo", usable=judge),
                Hint("n N", "next, previous", "step(1)", usable=len(self._cases) > 1, rank=1),
                Hint("} {", "next, previous file", "file(1)", usable=bool(self._page.files), rank=5),
                Hint("J K", "hunk", "hunk(1)", usable=bool(self._page.hunks), rank=2),
                Hint(
                    "+ -",
                    "accept, reject hunk",
                    "mark('keep')",
                    usable=judge and bool(self._page.hunks),
                    rank=2,
                ),
                Hint(
                    "t",
                    "decide"
                    if task is not None and self._hunks.verdict(task) is not None
                    else "try without rejected hunks",
                    "try_without",
                    usable=not self._why_not_try(),
                    rank=1 if not self._why_not_try() else 6,
                ),
                Hint("s", "side by side", "layout", usable=bool(self._page.hunks), rank=4),
                Hint("c", "comment", "comment", usable=judge, rank=4),
                Hint("d", "diff alone", "diff", usable=not actions.why_not_diff(model, task), rank=6),
                Hint("?", "help", "show_help", rank=1),
                Hint("esc", "back", "close"),
            ]
        )
