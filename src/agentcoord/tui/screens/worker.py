"""One worker, live: what it does now, and its conversation as it goes on, newest last.

`e` shows its events instead: what it did over several tasks. While it is idle its last task is shown.
"""

from __future__ import annotations

from typing import ClassVar, Final, cast

from textual.binding import Binding, BindingType

from agentcoord.errors import AgentCoordError
from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.link import Mode
from agentcoord.tui.messages import LogWanted, TaskWanted
from agentcoord.tui.model import Part
from agentcoord.tui.screens.pager import PagerScreen, no_lines
from agentcoord.tui.styled import Line
from agentcoord.tui.transcript_text import gauge, transcript_lines
from agentcoord.tui.widgets.frame import write_subtitle, write_title
from agentcoord.tui.widgets.key_bar import Hint, KeyBar
from agentcoord.tui.worker_text import event_lines, last_task_of, worker_facts
from agentcoord.wire.messages import Method, WorkerView
from agentcoord.wire.task_views import StepView, TranscriptView

LINES_SHOWN: Final = 5_000
STEPS_KEPT: Final = 2_000
READ_S: Final = 0.5


class WorkerScreen(PagerScreen):
    """A worker's conversation; follows until a person scrolls away."""

    HELP = "Worker"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "task", "Its task", show=False),
        Binding("x", "kill", "Kill", show=False),
        Binding("l", "log", "Log", show=False),
        Binding("z", "fold", "Fold", show=False),
        Binding("e", "events", "Events", show=False),
        Binding("right_square_bracket", "step(1)", "Next worker", show=False),
        Binding("left_square_bracket", "step(-1)", "Previous worker", show=False),
    ]

    def __init__(self, context: Context, name: str) -> None:
        super().__init__(context)
        self.worker_name = name
        self.folded = True
        self._events_wanted = False
        self._forget()

    def on_mount(self) -> None:
        self.run_worker(self._follow_conversation(), group="transcript", exclusive=True)
        self.draw()

    def show(self, parts: Part) -> None:
        """The frame says what it does now; events are drawn as they come."""
        if parts & Part.EVENTS and (self._events_wanted or not self._steps):
            self.draw()
        elif parts:
            self.draw_frame()

    # Keys.

    def action_task(self) -> None:
        """Open what it works on, or did last."""
        task = self._shown_task
        if task is None:
            self.say(f"{self.worker_name} has no task now.")
        else:
            self.post_message(TaskWanted(task))

    def action_log(self) -> None:
        """Show what the daemon's log says of it."""
        self.post_message(LogWanted(self.worker_name))

    def action_kill(self) -> None:
        """Stop this worker."""
        self.kill_worker(self.worker_name)

    def action_fold(self) -> None:
        """Show calls and results as one line each, or in full."""
        self.folded = not self.folded
        self.draw()

    def action_events(self) -> None:
        """Show its events, or its conversation."""
        self._events_wanted = not self._events_wanted
        self.follow_anew()
        self.draw()

    def action_step(self, by: int) -> None:
        """Watch the next or the previous worker."""
        names = [worker["name"] for worker in self.model.workers]
        if self.worker_name in names:
            self.worker_name = names[(names.index(self.worker_name) + by) % len(names)]
            self._forget()
            self.follow_anew()
            self.run_worker(self._follow_conversation(), group="transcript", exclusive=True)
            self.draw()

    # Reading.

    def _forget(self) -> None:
        self._steps: list[StepView] = []
        self._says = ""
        self._read_of: tuple[str, int] = ("", 0)
        """Task and attempt whose steps these are."""
        self._offset = self._context_tokens = self._window_tokens = 0
        self._seen_at: object = None

    async def _follow_conversation(self) -> None:
        """Read what is new, for ever; a daemon that is away or too old to tell is asked again."""
        while True:
            while (piece := await self._read_more()) is not None:
                self.draw()
                if not piece["more"]:
                    break
            await self.context.clock.sleep(READ_S)

    async def _read_more(self) -> TranscriptView | None:
        """Read one piece; None when nothing can have changed, or nobody answers."""
        task = self._shown_task
        now = (task, self._read_of, self.context.clock.now_ms() if self.model.mode is Mode.REPLAY else 0)
        worker = self._worker
        at_work = worker is not None and worker["task"] is not None and self.model.mode is not Mode.REPLAY
        if task is None or not self.model.live or (now == self._seen_at and not at_work):
            return None
        offset = self._offset if self._read_of[0] == task else 0
        try:
            answer = await self.context.source.call(Method.TRANSCRIPT, id=task, offset=offset)
        except AgentCoordError:
            return None
        piece = cast("TranscriptView", answer)
        read_of = (task, piece["attempt"])
        if read_of != self._read_of or piece["next_offset"] < self._offset:
            begun_anew = offset > 0
            self._forget()
            self._read_of = read_of
            if begun_anew:
                # This piece began in the middle: the next one begins where the conversation does.
                return {**piece, "more": True}
        # A replay tells all that was said by now each time: its time goes back, too.
        before = [] if self.model.mode is Mode.REPLAY else self._steps
        self._steps = [*before, *piece["steps"]][-STEPS_KEPT:]
        self._offset, self._says = piece["next_offset"], piece["says"]
        self._context_tokens = piece["context_tokens"] or self._context_tokens
        self._window_tokens = piece["window_tokens"] or self._window_tokens
        self._seen_at = now
        return piece

    # Drawing.

    def draw(self) -> None:
        """Put its facts and its conversation."""
        worker = self._worker
        width = self.view.size.width
        lines: list[Line] = []
        if worker is not None:
            lines += worker_facts(worker, gauge(self._context_tokens, self._window_tokens))
        if self._events_wanted or not self._steps:
            lines += event_lines(self.model.events, self.worker_name, width=width, zone=self.context.zone)
        else:
            lines += transcript_lines(self._steps, self._says, width=width, folded=self.folded)
        self.put(lines[-LINES_SHOWN:] or no_lines(f"{self.worker_name} is gone."))

    def draw_frame(self) -> None:
        """What it does now, and what the keys do."""
        worker = self._worker
        doing = worker["doing"] or worker["state"] if worker else "is gone"
        write_title(self.view, f"{self.worker_name} · {doing}{self.search_words}")
        stale = "no connection: this may be stale"
        write_subtitle(self.view, stale if not self.model.live else "" if self.following else "f follows")
        self.query_one(KeyBar).set_hints(
            [
                Hint("esc", "back", "close"),
                Hint("enter", "its task", "task", usable=self._shown_task is not None),
                Hint("z", "unfold" if self.folded else "fold", "fold", usable=bool(self._steps)),
                Hint("e", "conversation" if self._events_wanted else "events", "events", rank=1),
                Hint("x", "kill", "kill", usable=not actions.why_not_kill(self.model, self.worker_name)),
                Hint("] [", "next, previous worker", "step(1)", rank=2),
                Hint("l", "log", "log", rank=2),
                *self.pager_hints(),
            ]
        )

    @property
    def _worker(self) -> WorkerView | None:
        return next((w for w in self.model.workers if w["name"] == self.worker_name), None)

    @property
    def _shown_task(self) -> str | None:
        """What it works on; else what it worked on last."""
        worker = self._worker
        return (worker["task"] if worker else None) or last_task_of(self.model.events, self.worker_name)
