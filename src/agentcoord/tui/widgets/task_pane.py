"""The pane of tasks: which are shown, in what order, and which are marked.

Filter, order and marks live here and nowhere else; they stay while rows come and go. Separate from the
main screen, which decides what is done to the tasks that are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from agentcoord.tui.empty_text import no_tasks
from agentcoord.tui.filtering import TaskFilter, parse_filter
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.rows import TASK_COLUMNS, Order, asking_tasks, sorted_tasks, task_row
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.line_table import LineTable


class TaskPane(Vertical):
    """The table of tasks, and the line in which its filter is typed."""

    DEFAULT_CSS = """
    TaskPane {
        & > #tasks { height: 1fr; }
        & > #filter {
            display: none;
            height: 1;
            background: $boost;
        }
    }
    """

    def __init__(self, model: DashboardModel, *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._model = model
        self._filter = TaskFilter()
        self._order = Order.NEEDS
        self._marks: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        yield Input(
            placeholder="state:failed tag:testing worker:backend word !not", id="filter", compact=True
        )
        yield LineTable(TASK_COLUMNS, id="tasks")

    @property
    def table(self) -> LineTable:
        return self.query_one("#tasks", LineTable)

    def draw(self) -> None:
        """Show the tasks as the model has them."""
        asking = asking_tasks(self._model.needs_you)
        shown = [task for task in self._model.tasks.values() if self._filter.matches(task)]
        self.table.set_empty(no_tasks(self._model, self._filter))
        ordered = sorted_tasks(shown, asking, self._order)
        self.table.set_rows([task_row(task, asks=task["id"] in asking) for task in ordered])
        self.unmark(self._marks - set(self._model.tasks))
        self.draw_frame()

    def draw_frame(self) -> None:
        """The title counts; the lower edge tells why the selected task is where it is."""
        count, total = len(self.table.rows), len(self._model.tasks)
        counted = f"{count} of {total}" if self._filter else str(total)
        shown_filter = f" /{self._filter.text}" if self._filter else ""
        marked = f" · {len(self._marks)} marked" if self._marks else ""
        order = f" · {self._order}" if self._order is not Order.NEEDS else ""
        write_title(self, f"2 Tasks {counted}{shown_filter}{order}{marked}")
        task = self._model.tasks.get(self.table.cursor_key or "")
        write_subtitle(self, f"{task['id']}: {task['why']}" if task and task["why"] else "")

    # Which tasks.

    def begin_filter(self) -> None:
        """Let the person type a filter."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def filter_by(self, text: str) -> None:
        """Show the tasks that match a filter, as if it was typed."""
        self.query_one("#filter", Input).value = text

    def show_all(self) -> None:
        """Take the filter away."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self._take_filter("")
        self.table.focus()

    def sort_next(self) -> str:
        """Sort the tasks the next way; return how, in words."""
        orders = list(Order)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self.draw()
        if self._order is Order.NEEDS:
            return "What needs you is first."
        return f"Tasks are sorted {self._order}."

    # Which of them are marked.

    @property
    def marked(self) -> list[str]:
        """The marked tasks, in the daemon's order."""
        return [task for task in self._model.tasks if task in self._marks]

    def mark_selected(self) -> bool:
        """Mark the selected task, or take its mark away, and go on; return whether there was one."""
        if not self.table.has_focus or self.table.cursor_key is None:
            return False
        self._mark(self._marks ^ {self.table.cursor_key})
        self.table.action_move(1)
        return True

    def mark_shown(self) -> None:
        """Mark every task that is shown, or, if all are, take all marks away."""
        shown = frozenset(row.key for row in self.table.rows)
        self._mark(frozenset() if self._marks >= shown else self._marks | shown)

    def unmark(self, tasks: Iterable[str]) -> None:
        """Take the marks of these tasks away."""
        if gone := self._marks.intersection(tasks):
            self._mark(self._marks - gone)

    def _mark(self, marks: frozenset[str]) -> None:
        self._marks = marks
        self.table.set_marks(marks)
        self.draw_frame()

    # What is typed.

    def _take_filter(self, text: str) -> None:
        self._filter = parse_filter(text)
        self.draw()

    @on(Input.Changed, "#filter")
    def _typed(self, event: Input.Changed) -> None:
        self._take_filter(event.value)

    @on(Input.Submitted, "#filter")
    def _kept(self) -> None:
        self.query_one("#filter", Input).display = False
        self.table.focus()
