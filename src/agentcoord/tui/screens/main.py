"""The main screen: header, workers, tasks, events, keys.

Under 100 columns the panes stack; from there on tasks and events stand side by side. Content
comes ready from the pure modules; this file only decides what is redrawn when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Input

from agentcoord.tui import actions
from agentcoord.tui.commands import Command, complete, parse_command
from agentcoord.tui.context import Context
from agentcoord.tui.effects import ACCEPT, CANCEL, RETRY, UNDO
from agentcoord.tui.empty_text import no_events, no_tasks, no_workers
from agentcoord.tui.filtering import TaskFilter, parse_filter
from agentcoord.tui.header import header_lines
from agentcoord.tui.link import Link, Mode
from agentcoord.tui.messages import LogWanted, ReviewWanted, TaskWanted, WorkerWanted
from agentcoord.tui.model import DashboardModel, Part
from agentcoord.tui.rows import (
    TASK_COLUMNS,
    WORKER_COLUMNS,
    Order,
    asking_tasks,
    sorted_tasks,
    task_row,
    worker_row,
)
from agentcoord.tui.screens.command_run import run_command
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.widgets.command_line import CommandLine
from agentcoord.tui.widgets.event_table import EventTable
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.header_bar import HeaderBar
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.line_table import HEADER_LINES, LineTable
from agentcoord.tui.widgets.rate_panel import RatePanel

EMPTY_LINES: Final = 2
"""What an empty worker table needs to say what to do next."""


class MainScreen(LiveScreen):
    """Everything at a glance."""

    AUTO_FOCUS = "#tasks"
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012 - as Screen declares it
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (140, "-broad")]  # noqa: RUF012 - as Screen declares it
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
    DEFAULT_CSS = """
    MainScreen {
        #upper {
            height: 9;
            max-height: 40%;
            layout: horizontal;
        }
        #workers { width: 1fr; height: 100%; }
        #rates { display: none; width: 30; height: 100%; }
        &.-broad #rates { display: block; }
        #workers, #rates, #tasks-pane, #events {
            border: round $foreground 25%;
            border-title-color: $foreground 70%;
            border-subtitle-color: $text-warning;
            border-subtitle-align: left;
        }
        #workers:focus, #tasks-pane:focus-within, #events:focus {
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
        }
        #lower {
            height: 1fr;
            layout: horizontal;
        }
        #tasks-pane { width: 60%; }
        #tasks { height: 1fr; }
        #events { width: 1fr; }
        #filter {
            display: none;
            height: 1;
            background: $boost;
        }
        &.-narrow #lower { layout: vertical; }
        &.-narrow #tasks-pane {
            width: 100%;
            height: 3fr;
        }
        &.-narrow #events {
            width: 100%;
            height: 2fr;
        }
        &.-short #workers, &.-short #events {
            border-bottom: none;
            border-left: none;
            border-right: none;
        }
        &.-short #tasks-pane {
            border-left: none;
            border-right: none;
        }
        &.-stale #workers, &.-stale #tasks, &.-stale #events { opacity: 55%; }
    }
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._filter = TaskFilter()
        self._order = Order.NEEDS
        self._marks: frozenset[str] = frozenset()
        self._need_shown: str | None = None
        """The task that `!` went to last."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="header")
        with Container(id="upper"):
            yield LineTable(WORKER_COLUMNS, id="workers")
            yield RatePanel(id="rates")
        with Container(id="lower"):
            with Vertical(id="tasks-pane"):
                yield Input(
                    placeholder="state:failed tag:testing worker:backend word !not", id="filter", compact=True
                )
                yield LineTable(TASK_COLUMNS, id="tasks")
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
            self._draw_tasks()
        if parts & (Part.EVENTS | Part.LINK):
            self._draw_events()
        self._draw_keys()

    # Keys.

    def action_filter(self) -> None:
        """Let the person type a filter."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_sort(self) -> None:
        """Sort the tasks the next way."""
        orders = list(Order)
        self._order = orders[(orders.index(self._order) + 1) % len(orders)]
        self._draw_tasks()
        self.say(
            f"Tasks are sorted {self._order}."
            if self._order is not Order.NEEDS
            else "What needs you is first."
        )

    def action_clear_filter(self) -> None:
        """Take the marks away; without any, show all tasks again."""
        if self._marks:
            self._mark(frozenset())
            return
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one("#tasks").focus()

    def action_pane(self, name: str) -> None:
        """Focus a pane."""
        self.query_one(f"#{name}").focus()

    def action_diff(self) -> None:
        """Show the diff of the selected task."""
        self.open_diff(self._selected_task())

    def action_kill(self) -> None:
        """Kill the selected worker, or cancel the selected task."""
        if self._focused_pane() == "workers":
            self.kill_worker(self.query_one("#workers", LineTable).cursor_key)
        else:
            self.act(CANCEL, self._wanted())

    def action_retry(self) -> None:
        """Queue the marked tasks again, or the selected one."""
        self.act(RETRY, self._wanted())

    def action_accept(self) -> None:
        """Mark the marked tasks as good, or the selected one."""
        self.act(ACCEPT, self._wanted())

    def action_undo(self) -> None:
        """Take the marked tasks back, or the selected one."""
        self.act(UNDO, self._wanted())

    def action_reject(self) -> None:
        """Take the selected task back and have it done again."""
        self.reject_task(self._selected_task())

    def action_answer(self) -> None:
        """Answer the question of the selected task."""
        self.answer_task(self._selected_task())

    def action_review(self) -> None:
        """Walk through what landed."""
        if why_not := actions.why_not_review(self.model):
            self.say(why_not, warn=True)
        else:
            self.post_message(ReviewWanted())

    def action_mark(self) -> None:
        """Mark the selected task, or take its mark away, and go on to the next."""
        tasks = self.query_one("#tasks", LineTable)
        if not tasks.has_focus or tasks.cursor_key is None:
            self.say("Marks are for tasks: press 2 first.", warn=True)
            return
        self._mark(self._marks ^ {tasks.cursor_key})
        tasks.action_move(1)

    def action_mark_shown(self) -> None:
        """Mark every task that the filter shows, or take all marks away."""
        shown = frozenset(row.key for row in self.query_one("#tasks", LineTable).rows)
        self._mark(frozenset() if self._marks >= shown else self._marks | shown)

    def action_command(self) -> None:
        """Let the person type a command."""
        self.query_one(CommandLine).begin()

    def acted(self, tasks: Sequence[str]) -> None:
        """Marks have served their purpose."""
        self._mark(self._marks - set(tasks))

    def action_log(self, bound: bool) -> None:
        """Show the daemon's log; `bound`: what it says of the selected task or worker."""
        worker = self.query_one("#workers", LineTable).cursor_key
        about = worker if self._focused_pane() == "workers" else self._selected_task()
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
        tasks = self.query_one("#tasks", LineTable)
        if not tasks.select(need["task"]):
            self.action_clear_filter()
            self._apply_filter("")
            tasks.select(need["task"])
        tasks.focus()
        self.say(f"{need['task']}: {need['text'] or need['kind']}")

    # Messages of the widgets.

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._apply_filter(event.value)

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one("#tasks").focus()

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
            self.query_one("#filter", Input).value = " ".join(command.words)
        else:
            run_command(self, event.line, self._wanted())

    @on(CommandLine.Left)
    def _command_left(self) -> None:
        self.query_one("#tasks").focus()

    @on(LineTable.Moved)
    def _moved(self, event: LineTable.Moved) -> None:
        if isinstance(event.table, EventTable) and event.by_hand:
            event.table.follow(event.table.at_end)
            self._draw_events()
        self._draw_task_frame()
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

    def _draw_tasks(self) -> None:
        table = self.query_one("#tasks", LineTable)
        asking = asking_tasks(self.model.needs_you)
        shown = [task for task in self.model.tasks.values() if self._filter.matches(task)]
        table.set_empty(no_tasks(self.model, self._filter))
        ordered = sorted_tasks(shown, asking, self._order)
        table.set_rows([task_row(task, asks=task["id"] in asking) for task in ordered])
        if gone := self._marks - set(self.model.tasks):
            self._mark(self._marks - gone)
        self._draw_task_frame()

    def _draw_task_frame(self) -> None:
        """The title counts; the lower edge tells why the selected task is where it is."""
        pane = self.query_one("#tasks-pane")
        table = self.query_one("#tasks", LineTable)
        count, total = len(table.rows), len(self.model.tasks)
        counted = f"{count} of {total}" if self._filter else str(total)
        shown_filter = f" /{self._filter.text}" if self._filter else ""
        marked = f" · {len(self._marks)} marked" if self._marks else ""
        order = f" · {self._order}" if self._order is not Order.NEEDS else ""
        write_title(pane, f"2 Tasks {counted}{shown_filter}{order}{marked}")
        task = self.model.tasks.get(table.cursor_key or "")
        write_subtitle(pane, f"{task['id']}: {task['why']}" if task and task["why"] else "")

    def _draw_events(self) -> None:
        events = self.query_one("#events", EventTable)
        events.set_empty(no_events(self.model))
        events.read(self.model)
        following = "follow" if events.following else f"{events.unseen} new, f follows"
        write_title(events, f"3 Events · {following}")

    def _draw_keys(self) -> None:
        model = self.model
        if model.mode is Mode.REPLAY:
            self.query_one(KeyBar).set_hints(_REPLAY_HINTS)
            return
        task = self._selected_task()
        in_workers = self._focused_pane() == "workers"
        worker = self.query_one("#workers", LineTable).cursor_key
        kill = actions.why_not_kill(model, worker) if in_workers else actions.why_not_cancel(model, task)
        paused = model.status is not None and model.status["state"] == "paused"
        self.query_one(KeyBar).set_hints(
            [
                Hint("enter", "open", "", usable=task is not None, rank=2),
                Hint("d", "diff", "diff", usable=not actions.why_not_diff(model, task)),
                Hint("x", "kill" if in_workers else "cancel", "kill", usable=not kill),
                *self._task_hints(model, task),
                Hint("!", "next that needs you", "next_need", usable=bool(model.needs_you), rank=1),
                Hint("p", "resume" if paused else "pause", "pause", usable=not actions.why_not_pause(model)),
                Hint("/", "filter", "filter"),
                Hint("space", "mark", "mark", rank=4),
                Hint(":", "command", "command", rank=2),
                Hint("l", "log", "log(True)", rank=3),
                Hint("f", "follow", "follow", rank=7),
                Hint("tab", "pane", "", rank=6),
                Hint("?", "help", "show_help"),
                Hint("q", "quit", "app.quit"),
            ]
        )

    def _task_hints(self, model: DashboardModel, task: str | None) -> list[Hint]:
        """Keys for what a person can decide about a task."""
        return [
            _decision("a", "answer", actions.why_not_answer(model, task)),
            _decision("r", "retry", actions.why_not_retry(model, task)),
            _decision("y", "accept", actions.why_not_accept(model, task)),
            _decision("u", "undo", actions.why_not_undo(model, task)),
            _decision("v", "review", actions.why_not_review(model)),
        ]

    # What is selected.

    def _mark(self, marks: frozenset[str]) -> None:
        self._marks = marks
        self.query_one("#tasks", LineTable).set_marks(marks)
        self._draw_task_frame()

    def _wanted(self) -> list[str]:
        """What an effect is for: the marked tasks, or the selected one."""
        if self._marks:
            return [task for task in self.model.tasks if task in self._marks]
        selected = self._selected_task()
        return [] if selected is None else [selected]

    def _apply_filter(self, text: str) -> None:
        self._filter = parse_filter(text)
        self._draw_tasks()

    def _focused_pane(self) -> str:
        return (self.focused.id or "") if self.focused is not None else ""

    def _selected_task(self) -> str | None:
        """The task under the cursor of the focused pane."""
        match self._focused_pane():
            case "workers":
                return self._task_of_worker(self.query_one("#workers", LineTable).cursor_key)
            case "events":
                return self.query_one("#events", EventTable).cursor_task
            case _:
                return self.query_one("#tasks", LineTable).cursor_key

    def _task_of_worker(self, name: str | None) -> str | None:
        return next((w["task"] for w in self.model.workers if w["name"] == name), None)


_REPLAY_HINTS: Final = (
    Hint("space", "play, pause", "app.replay_toggle"),
    Hint("+ -", "faster, slower", "app.replay_speed(1)", rank=1),
    Hint(". ,", "next, last event", "app.replay_event(1)", rank=1),
    Hint("← →", "back, on", "app.replay_shift(1)", rank=4),
    Hint("t", "go to a time", "app.replay_ask"),
    Hint("enter", "open", "", rank=3),
    Hint("d", "diff", "diff", rank=5),
    Hint("l", "log", "log(True)", rank=6),
    Hint("?", "help", "show_help", rank=2),
    Hint("q", "quit", "app.quit"),
)
"""In a replay nothing else does anything; the keys that would act say why not."""


def _decision(key: str, name: str, why_not: str) -> Hint:
    """A key that is possible now stands before those that are not."""
    return Hint(key, name, name, usable=not why_not, rank=5 if why_not else 1)
