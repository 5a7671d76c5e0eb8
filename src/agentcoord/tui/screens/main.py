"""The main screen: header, workers, tasks, events, keys.

Content comes ready from the pure modules; this file only decides what is redrawn when, and what keys do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from agentcoord.tui import actions
from agentcoord.tui.commands import Command, complete, parse_command
from agentcoord.tui.context import Context
from agentcoord.tui.empty_text import no_events, no_workers
from agentcoord.tui.header import header_lines
from agentcoord.tui.link import Link
from agentcoord.tui.messages import LogWanted, ReviewWanted, TaskWanted, WorkerWanted
from agentcoord.tui.model import Part
from agentcoord.tui.rows import WORKER_COLUMNS, worker_row
from agentcoord.tui.screens.command_run import run_command
from agentcoord.tui.screens.deciding import DecidingScreen
from agentcoord.tui.screens.main_hints import main_hints
from agentcoord.tui.screens.main_layout import HEIGHTS, LAYOUT, WIDTHS
from agentcoord.tui.widgets.command_line import CommandLine
from agentcoord.tui.widgets.event_table import EventTable
from agentcoord.tui.widgets.frame import write_title
from agentcoord.tui.widgets.header_bar import HeaderBar
from agentcoord.tui.widgets.key_bar import KeyBar
from agentcoord.tui.widgets.line_table import HEADER_LINES, LineTable
from agentcoord.tui.widgets.rate_panel import RatePanel
from agentcoord.tui.widgets.task_pane import TaskPane

EMPTY_LINES: Final = 2
"""What an empty worker table needs to say what to do next."""


class MainScreen(DecidingScreen):
    """Everything at a glance."""

    AUTO_FOCUS = "#tasks"
    VERTICAL_BREAKPOINTS = HEIGHTS
    HORIZONTAL_BREAKPOINTS = WIDTHS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "Quit", show=False),
        Binding("slash", "filter", "Filter", show=False),
        Binding("s", "sort", "Sort", show=False),
        Binding("escape", "clear_filter", "Clear the filter", show=False),
        Binding("d", "diff", "Diff", show=False),
        Binding("x", "kill", "Kill or cancel", show=False),
        Binding("a", "answer", "Answer", show=False),
        Binding("r", "retry", "Retry", show=False),
        Binding("y", "accept", "Accept", show=False),
        Binding("u", "undo", "Undo", show=False),
        Binding("R", "reject", "Reject", show=False),
        Binding("v", "review", "Review", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("asterisk", "mark_shown", "Mark all shown", show=False),
        Binding("colon", "command", "Command", show=False),
        Binding("f", "follow", "Follow events", show=False),
        Binding("l", "log(True)", "Log of the selected", show=False),
        Binding("L", "log(False)", "Log", show=False),
        Binding("exclamation_mark", "next_need", "Next that needs you", show=False),
        Binding("1", "pane('workers')", "Workers", show=False),
        Binding("2", "pane('tasks')", "Tasks", show=False),
        Binding("3", "pane('events')", "Events", show=False),
    ]
    DEFAULT_CSS = LAYOUT

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._need_shown: str | None = None
        """The task that `!` went to last."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="header")
        with Container(id="upper"):
            yield LineTable(WORKER_COLUMNS, id="workers")
            yield RatePanel(id="rates")
        with Container(id="lower"):
            yield TaskPane(self.model, id="tasks-pane")
            yield EventTable(id="events", zone=self.context.zone)
        yield CommandLine(lambda line: complete(line, self.model), self.context.command_history)
        yield KeyBar()

    def on_mount(self) -> None:
        self.show(Part.ALL)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show, Part.ALL)

    def show(self, parts: Part) -> None:
        """Redraw what changed; ages change with the clock."""
        stale = self.model.link.link is Link.LOST
        self.set_class(stale, "-stale")
        if parts & (Part.LINK | Part.STATUS | Part.CLOCK):
            self._draw_header()
        if parts & (Part.WORKERS | Part.CLOCK | Part.LINK):
            self._draw_workers()
        if parts & (Part.EVENTS | Part.STATUS | Part.CLOCK):
            self._draw_rates()
        if parts & (Part.TASKS | Part.LINK):
            self._pane.draw()
        if parts & (Part.EVENTS | Part.LINK):
            self._draw_events()
        self._draw_keys()

    # Keys.

    def action_filter(self) -> None:
        """Let the person type a filter."""
        self._pane.begin_filter()

    def action_sort(self) -> None:
        """Sort the tasks the next way."""
        self.say(self._pane.sort_next())

    def action_clear_filter(self) -> None:
        """Take the marks away; without any, show all tasks again."""
        if marked := self._pane.marked:
            self._pane.unmark(marked)
        else:
            self._pane.show_all()

    def action_pane(self, name: str) -> None:
        """Focus a pane."""
        self.query_one(f"#{name}").focus()

    def action_kill(self) -> None:
        """Kill the selected worker, or cancel the selected task."""
        if self._focused_pane() == "workers":
            self.kill_worker(self.query_one("#workers", LineTable).cursor_key)
        else:
            self.action_cancel()

    def action_review(self) -> None:
        """Walk through what landed."""
        if why_not := actions.why_not_review(self.model):
            self.say(why_not, warn=True)
        else:
            self.post_message(ReviewWanted())

    def action_mark(self) -> None:
        """Mark the selected task, or take its mark away, and go on to the next."""
        if not self._pane.mark_selected():
            self.say("Marks are for tasks: press 2 first.", warn=True)

    def action_mark_shown(self) -> None:
        """Mark every task that the filter shows, or take all marks away."""
        self._pane.mark_shown()

    def action_command(self) -> None:
        """Let the person type a command."""
        self.query_one(CommandLine).begin()

    def acted(self, tasks: Sequence[str]) -> None:
        """Marks have served their purpose."""
        self._pane.unmark(tasks)

    def action_log(self, bound: bool) -> None:
        """Show the daemon's log; `bound`: what it says of the selected task or worker."""
        worker = self.query_one("#workers", LineTable).cursor_key
        about = worker if self._focused_pane() == "workers" else self.selected_task
        self.post_message(LogWanted((about or "") if bound else ""))

    def action_follow(self) -> None:
        """Follow the newest event, or stop following."""
        events = self.query_one("#events", EventTable)
        events.follow(not events.following)
        self._draw_events()

    def action_next_need(self) -> None:
        """Select the next task that needs a person."""
        need = actions.next_need(self.model.needs_you, self._need_shown)
        if need is None:
            self.say(actions.why_not_next_need(self.model))
            return
        self._need_shown = need["task"]
        tasks = self._pane.table
        if not tasks.select(need["task"]):
            self._pane.show_all()
            tasks.select(need["task"])
        tasks.focus()
        self.say(f"{need['task']}: {need['text'] or need['kind']}")

    # Messages of the widgets.

    @on(LineTable.Chosen, "#tasks")
    def _task_chosen(self, event: LineTable.Chosen) -> None:
        self.post_message(TaskWanted(event.key))

    @on(LineTable.Chosen, "#workers")
    def _worker_chosen(self, event: LineTable.Chosen) -> None:
        self.post_message(WorkerWanted(event.key))

    @on(LineTable.Chosen, "#events")
    def _event_chosen(self) -> None:
        task = self.query_one("#events", EventTable).cursor_task
        if task is None:
            self.say("This event belongs to no task.")
        else:
            self.post_message(TaskWanted(task))

    @on(CommandLine.Entered)
    def _command_entered(self, event: CommandLine.Entered) -> None:
        command = parse_command(event.line)
        if isinstance(command, Command) and command.name == "filter":
            self._pane.filter_by(" ".join(command.words))
        else:
            run_command(self, event.line, self.wanted_tasks)

    @on(CommandLine.Left)
    def _command_left(self) -> None:
        self.query_one("#tasks").focus()

    @on(LineTable.Moved)
    def _moved(self, event: LineTable.Moved) -> None:
        if isinstance(event.table, EventTable) and event.by_hand:
            event.table.follow(event.table.at_end)
            self._draw_events()
        self._pane.draw_frame()
        self._draw_keys()

    def on_descendant_focus(self) -> None:
        self._draw_keys()

    # Drawing.

    def _draw_header(self) -> None:
        header = self.query_one("#header", HeaderBar)
        now_ms = self.context.clock.now_ms()
        width = self.size.width
        header.set_lines(header_lines(self.model, self.context.project_name, width=width, now_ms=now_ms))

    def _draw_workers(self) -> None:
        table = self.query_one("#workers", LineTable)
        # A stale view keeps the ages of the moment when it was true.
        now_ms = self.context.clock.now_ms() if self.model.live else self.model.link.since_ms
        table.set_empty(no_workers(self.model))
        short = self.has_class("-narrow")
        table.set_rows([worker_row(worker, now_ms=now_ms, short=short) for worker in self.model.workers])
        write_title(table, "1 Workers")
        rows = max(EMPTY_LINES, len(table.rows))
        self.query_one("#upper").styles.height = rows + HEADER_LINES + table.gutter.height

    def _draw_rates(self) -> None:
        panel = self.query_one(RatePanel)
        write_title(panel, "Last hour")
        panel.read(self.model, now_ms=self.context.clock.now_ms())

    def _draw_events(self) -> None:
        events = self.query_one("#events", EventTable)
        events.set_empty(no_events(self.model))
        events.read(self.model)
        following = "follow" if events.following else f"{events.unseen} new, f follows"
        write_title(events, f"3 Events · {following}")

    def _draw_keys(self) -> None:
        self.query_one(KeyBar).set_hints(
            main_hints(
                self.model,
                task=self.selected_task,
                worker=self.query_one("#workers", LineTable).cursor_key,
                in_workers=self._focused_pane() == "workers",
            )
        )

    # What is selected.

    @property
    def wanted_tasks(self) -> list[str]:
        """The marked tasks, or the selected one."""
        return self._pane.marked or super().wanted_tasks

    @property
    def _pane(self) -> TaskPane:
        return self.query_one(TaskPane)

    def _focused_pane(self) -> str:
        return (self.focused.id or "") if self.focused is not None else ""

    @property
    def selected_task(self) -> str | None:
        """The task under the cursor of the focused pane."""
        match self._focused_pane():
            case "workers":
                return self._task_of_worker(self.query_one("#workers", LineTable).cursor_key)
            case "events":
                return self.query_one("#events", EventTable).cursor_task
            case _:
                return self._pane.table.cursor_key

    def _task_of_worker(self, name: str | None) -> str | None:
        return next((w["task"] for w in self.model.workers if w["name"] == name), None)
