"""One task in full. Reads it from the daemon, and again when its row changes."""

from __future__ import annotations

from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.detail_text import detail_lines
from agentcoord.tui.messages import LogWanted, TaskWanted
from agentcoord.tui.model import Part
from agentcoord.tui.screens.deciding import DecidingScreen
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method, TaskView
from agentcoord.wire.task_views import TaskDetail


class TaskDetailScreen(DecidingScreen):
    """Description, checks, files, questions, decisions and events of a task."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("l", "log", "Log", show=False),
        Binding("x", "cancel", "Cancel the task", show=False),
        Binding("d", "diff", "Diff", show=False),
        Binding("a", "answer", "Answer", show=False),
        Binding("r", "retry", "Retry", show=False),
        Binding("y", "accept", "Accept", show=False),
        Binding("u", "undo", "Undo", show=False),
        Binding("R", "reject", "Reject", show=False),
        Binding("exclamation_mark", "next_need", "Next that needs you", show=False),
    ]
    DEFAULT_CSS = """
    TaskDetailScreen #detail { border: round $primary; height: 1fr; }
    """

    def __init__(self, context: Context, task_id: str) -> None:
        super().__init__(context)
        self.task_id = task_id
        self._detail: TaskDetail | None = None
        self._read_row: TaskView | None = None
        """The row as it was when the detail was read; another row means that it is out of date."""

    def compose(self) -> ComposeResult:
        view = LinesView(id="detail")
        view.set_lines([(Span(" Reading the task from the daemon ...", Tone.MUTED),)])
        yield view
        yield KeyBar()

    def on_mount(self) -> None:
        self._read()
        self.show(Part.ALL)

    @on(LinesView.Resized)
    def _resized(self) -> None:
        self._draw()

    def show(self, parts: Part) -> None:
        """Follow the task's row; read the task again at most once a second."""
        row = self.model.tasks.get(self.task_id)
        title = f"{self.task_id} · {row['title']}" if row is not None else self.task_id
        view = self.query_one("#detail", LinesView)
        write_title(view, title)
        write_subtitle(view, "" if self.model.live else "no connection: this may be stale")
        if Part.CLOCK in parts and self.model.live and row != self._read_row:
            self._read()
        elif Part.CLOCK in parts:
            self._draw()
        self.query_one(KeyBar).set_hints(self._hints())

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_log(self) -> None:
        """Show what the daemon's log says of it."""
        self.post_message(LogWanted(self.task_id))

    @property
    def selected_task(self) -> str:
        return self.task_id

    def action_next_need(self) -> None:
        """Go on to the next task that needs a person."""
        need = actions.next_need(self.model.needs_you, self.task_id)
        if need is None or need["task"] == self.task_id:
            self.say("Nothing else needs you now.")
            return
        self.post_message(TaskWanted(need["task"]))
        self.dismiss()

    def _read(self) -> None:
        self._read_row = self.model.tasks.get(self.task_id)
        self.run_worker(self._read_detail(), group="detail", exclusive=True)

    async def _read_detail(self) -> None:
        detail = await self.ask(Method.TASK, id=self.task_id)
        if detail is not None:
            self._detail = cast("TaskDetail", detail)
            self._draw()

    def _draw(self) -> None:
        if self._detail is None:
            return
        view = self.query_one("#detail", LinesView)
        now_ms = self.context.clock.now_ms()
        lines = detail_lines(self._detail, width=view.size.width, now_ms=now_ms, zone=self.context.zone)
        if tuple(lines) != view.lines:
            view.set_lines(lines)

    def _hints(self) -> list[Hint]:
        model, task = self.model, self.task_id
        return [
            Hint("esc", "back", "close"),
            Hint("d", "diff", "diff", usable=not actions.why_not_diff(model, task)),
            Hint("x", "cancel", "cancel", usable=not actions.why_not_cancel(model, task)),
            Hint("a", "answer", "answer", usable=not actions.why_not_answer(model, task), rank=4),
            Hint("r", "retry", "retry", usable=not actions.why_not_retry(model, task), rank=4),
            Hint("y", "accept", "accept", usable=not actions.why_not_accept(model, task), rank=4),
            Hint("u", "undo", "undo", usable=not actions.why_not_undo(model, task), rank=4),
            Hint(
                "R", "reject with a reason", "reject", usable=not actions.why_not_reject(model, task), rank=4
            ),
            Hint("!", "next that needs you", "next_need", usable=bool(model.needs_you), rank=1),
            Hint("p", "pause", "pause", usable=not actions.why_not_pause(model), rank=3),
            Hint("j k", "scroll", "", rank=2),
            Hint("l", "log", "log", rank=2),
            Hint("?", "help", "show_help"),
        ]
