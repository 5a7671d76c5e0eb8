"""One worker, live: what it does now, and everything it did that the dashboard saw, newest last."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.messages import LogWanted, TaskWanted
from agentcoord.tui.model import Part
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.tui.worker_text import worker_lines
from agentcoord.wire.messages import WorkerView

LINES_SHOWN: Final = 1000


class WorkerScreen(LiveScreen):
    """Follows the newest line until a person scrolls away from it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back", show=False),
        Binding("enter", "task", "Its task", show=False),
        Binding("l", "log", "Log", show=False),
        Binding("x", "kill", "Kill", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("right_square_bracket", "step(1)", "Next worker", show=False),
        Binding("left_square_bracket", "step(-1)", "Previous worker", show=False),
    ]
    DEFAULT_CSS = """
    WorkerScreen #doings { border: round $primary; height: 1fr; border-subtitle-color: $text-warning; }
    """

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context)
        self.worker_name = name
        self.following = True
        self._placed_y: float | None = None
        """Where following put the view; above it, a person has scrolled. None: not placed yet."""

    def compose(self) -> ComposeResult:
        yield LinesView(id="doings")
        yield KeyBar()

    def on_mount(self) -> None:
        self.show(Part.ALL)

    def on_resize(self) -> None:
        self._placed_y = None
        self.call_after_refresh(self.show, Part.ALL)

    def show(self, parts: Part) -> None:
        """Draw again what this worker did."""
        view = self.query_one("#doings", LinesView)
        worker = self._worker
        if parts & (Part.WORKERS | Part.EVENTS | Part.LINK):
            if self._placed_y is not None and view.scroll_y < self._placed_y:
                self.following = False
            lines = worker_lines(
                worker, self.model.events, self.worker_name, width=view.size.width, zone=self.context.zone
            )
            if tuple(lines) != view.lines:
                view.set_lines(lines[-LINES_SHOWN:])
            if self.following:
                self.call_after_refresh(self._to_end)
        write_title(
            view, f"{self.worker_name} · {worker['doing'] or worker['state'] if worker else 'is gone'}"
        )
        stale = "no connection: this may be stale"
        write_subtitle(view, stale if not self.model.live else "" if self.following else "f follows")
        self.query_one(KeyBar).set_hints(
            [
                Hint("esc", "back", "close"),
                Hint("enter", "its task", "task", usable=bool(worker and worker["task"])),
                Hint("x", "kill", "kill", usable=not actions.why_not_kill(self.model, self.worker_name)),
                Hint("] [", "next, previous worker", "step(1)", rank=2),
                Hint("f", "stop following" if self.following else "follow", "follow", rank=1),
                Hint("l", "log", "log", rank=2),
                Hint("?", "help", "show_help"),
            ]
        )

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()

    def action_log(self) -> None:
        """Show what the daemon's log says of it."""
        self.post_message(LogWanted(self.worker_name))

    def action_task(self) -> None:
        """Open what it works on."""
        worker = self._worker
        if worker is None or not worker["task"]:
            self.say(f"{self.worker_name} has no task now.")
        else:
            self.post_message(TaskWanted(worker["task"]))

    def action_kill(self) -> None:
        """Stop this worker."""
        self.kill_worker(self.worker_name)

    def action_follow(self) -> None:
        """Follow the newest line, or stop."""
        self.following = not self.following
        self._placed_y = None
        self.show(Part.LINK)

    def action_step(self, by: int) -> None:
        """Watch the next or the previous worker."""
        names = [worker["name"] for worker in self.model.workers]
        if self.worker_name in names:
            self.worker_name = names[(names.index(self.worker_name) + by) % len(names)]
            self.following, self._placed_y = True, None
            self.show(Part.ALL)

    def _to_end(self) -> None:
        view = self.query_one("#doings", LinesView)
        view.scroll_to(y=view.max_scroll_y, animate=False, immediate=True)
        self._placed_y = view.scroll_y

    @property
    def _worker(self) -> WorkerView | None:
        return next((w for w in self.model.workers if w["name"] == self.worker_name), None)
