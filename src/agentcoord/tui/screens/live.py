"""What all live screens share: asking the daemon, telling the outcome, and the common keys.

Effects live here once, so that cancelling means the same in the table and in the detail. Every
effect first asks `actions` whether it is possible, and a key that cannot act says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.messages import Prune
from textual.screen import Screen

from agentcoord.domain.states import ReviewState
from agentcoord.errors import AgentCoordError, RpcError
from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.effects import Effect, choose, question
from agentcoord.tui.follow_up import follow_up
from agentcoord.tui.messages import DiffWanted
from agentcoord.tui.model import Part
from agentcoord.tui.rejection import landed_on_top, rejected_words, what_happens
from agentcoord.tui.screens.ask import AskScreen
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.help import HelpScreen
from agentcoord.tui.text import harmless, plural
from agentcoord.tui.widgets.scrubber import Scrubber
from agentcoord.wire.messages import Method

if TYPE_CHECKING:  # The shapes of one task are for those screens that show one.
    from agentcoord.wire.task_views import TaskDetail


class LiveScreen(Screen[None]):
    """A screen that is told what changed in the model."""

    HELP: ClassVar[str] = ""
    """The title of the part of the help that is about this screen."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "show_help", "Help", show=False),
        Binding("p", "pause", "Pause or resume", show=False),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.model = context.model

    def on_mount(self) -> None:
        """Each screen of a replay has the scrubber; Textual calls the screen's own `on_mount` as well."""
        if (replay := self.context.replay) is not None:
            self.mount(Scrubber(replay.player, replay.marks, self.context.zone))

    async def on_prune(self, event: Prune) -> None:
        """Stop asking the daemon before the widgets go that an answer would be drawn on.

        Textual cancels a screen's workers too, yet after its widgets are gone; it calls this before its own.
        """
        self.workers.cancel_node(self)

    def show(self, parts: Part) -> None:
        """Redraw the given parts of the model."""
        raise NotImplementedError

    def say(self, text: str, *, warn: bool = False) -> None:
        """Tell the person something in a toast."""
        self.notify(harmless(text), severity="warning" if warn else "information", markup=False)

    async def ask(self, method: Method, **params: Any) -> dict[str, Any] | None:
        """Ask the daemon; a refusal becomes a toast, and the answer None."""
        try:
            return await self.context.source.call(method, **params)
        except AgentCoordError as error:
            problems = "".join(f" {each}." for each in error.problems) if isinstance(error, RpcError) else ""
            mend = f" Try: {error.mend}" if error.mend else ""
            self.notify(harmless(f"{error.message}{problems}{mend}"), severity="error", markup=False)
            return None

    def action_show_help(self) -> None:
        """Show what every key does."""
        self.app.push_screen(HelpScreen(self.HELP))

    def action_pause(self) -> None:
        """Pause the run, or resume a paused one."""
        if why_not := actions.why_not_pause(self.model):
            self.say(why_not, warn=True)
            return
        status = self.model.status
        paused = status is not None and status["state"] == "paused"
        self.run_worker(self._pause_or_resume(paused=paused), group="effects")

    def act(self, effect: Effect, wanted: Sequence[str]) -> None:
        """Do something to tasks, after a person confirmed what needs it; say why not for the others."""
        choice = choose(effect, self.model, wanted)
        if choice.refused:
            more = f" And {len(choice.refused) - 1} more." if len(choice.refused) > 1 else ""
            self.say(f"{choice.refused[0]}{more}", warn=True)
        if not choice.possible:
            return
        if not effect.always_ask and len(choice.possible) == 1:
            self.run_worker(self._act(effect, choice.possible), group="effects")
            return

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._act(effect, choice.possible), group="effects")

        consequence = effect.consequence(self.model, choice.possible)
        self.app.push_screen(ConfirmScreen(question(effect, choice.possible), consequence), decided)

    def answer_task(self, task_id: str | None) -> None:
        """Ask the person for the answer to a task's question."""
        if (why_not := actions.why_not_answer(self.model, task_id)) or task_id is None:
            self.say(why_not, warn=True)
            return
        need = next(n for n in self.model.needs_you if n["task"] == task_id and n["kind"] == actions.QUESTION)

        def decided(text: str | None) -> None:
            if text:
                self.run_worker(self.send_answer(task_id, text), group="effects")

        self.app.push_screen(AskScreen(f"{task_id} asks", need["text"], placeholder="Your answer"), decided)

    def reject_task(self, task_id: str | None, reason: str = "") -> None:
        """Take a landed task back and have it done again, with the reason that the person gives.

        What landed on top of it is named before the person decides.
        """
        if (why_not := actions.why_not_reject(self.model, task_id)) or task_id is None:
            self.say(why_not, warn=True)
            return
        landed = landed_on_top(self.model.tasks, task_id)
        undone = self.model.tasks[task_id]["review"] == ReviewState.UNDONE

        def decided(text: str | None) -> None:
            if text:
                self.run_worker(self._reject(task_id, text, landed), group="effects")

        self.app.push_screen(
            AskScreen(
                f"Why do you reject {task_id}?",
                what_happens(landed, undone=undone),
                placeholder="The reason, for the next worker",
                text=reason,
            ),
            decided,
        )

    def comment_on(self, task_id: str | None, comment: str = "") -> None:
        """Ask for a change on top of what a task landed, with the person's words."""
        if (why_not := actions.why_not_comment(self.model, task_id)) or task_id is None:
            self.say(why_not, warn=True)
            return

        def decided(text: str | None) -> None:
            if text:
                self.run_worker(self._comment(task_id, text), group="effects")

        more = "It stays as it landed; a further task begins from it and is asked to follow your words."
        self.app.push_screen(
            AskScreen(f"What should change about {task_id}?", more, placeholder="Your comment", text=comment),
            decided,
        )

    async def _comment(self, task_id: str, text: str) -> None:
        detail = await self.ask(Method.TASK, id=task_id)
        if detail is None:
            return
        further = follow_up(cast("TaskDetail", detail), text, self.model.tasks)
        if await self.ask(Method.LOAD, text=further.plan, format="toml", source="comment") is not None:
            self.say(f"{further.id} is asked to follow your comment.")

    async def _reject(self, task_id: str, reason: str, despite: list[str]) -> None:
        answer = await self.ask(Method.REJECT, id=task_id, reason=reason, despite=despite)
        if answer is None:
            return
        self.say(f"{rejected_words(answer)}.", warn=bool(answer["conflicts"]))
        if not answer["conflicts"]:
            self.acted([task_id])

    async def send_answer(self, task_id: str, text: str) -> None:
        """Tell a worker what it asked for."""
        if await self.ask(Method.ANSWER, id=task_id, text=text) is not None:
            self.say(f"{task_id} has its answer.")

    def kill_worker(self, name: str | None) -> None:
        """Kill a worker, after a person confirmed it."""
        if (why_not := actions.why_not_kill(self.model, name)) or name is None:
            self.say(why_not, warn=True)
            return
        task = next((w["task"] for w in self.model.workers if w["name"] == name), None)
        consequence = f"Its task {task} goes back to the queue." if task else "It has no task now."

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._kill(name), group="effects")

        self.app.push_screen(ConfirmScreen(f"Kill {name}?", consequence), decided)

    def open_diff(self, task_id: str | None) -> None:
        """Show what a task changed."""
        if (why_not := actions.why_not_diff(self.model, task_id)) or task_id is None:
            self.say(why_not, warn=True)
            return
        self.post_message(DiffWanted(task_id))

    async def _pause_or_resume(self, *, paused: bool) -> None:
        if await self.ask(Method.RESUME if paused else Method.PAUSE) is not None:
            self.say("Resumed: workers claim tasks again." if paused else "Paused: running tasks go on.")

    async def _act(self, effect: Effect, tasks: Sequence[str]) -> None:
        """One request a task; a refusal of one does not keep the others."""
        told = []
        for task_id in tasks:
            answer = await self.ask(effect.method, id=task_id, **dict(effect.parameters))
            if answer is not None:
                told.append(effect.told(task_id, answer))
        if told:
            self.say(told[0] if len(told) == 1 else f"{effect.verb}: {plural(len(told), 'task')} done.")
            self.acted(tasks)

    def acted(self, tasks: Sequence[str]) -> None:
        """An effect on these tasks was carried out."""

    async def _kill(self, name: str) -> None:
        answer = await self.ask(Method.KILL, worker=name)
        if answer is not None:
            killed = answer.get("killed", [])
            self.say(f"Killed {', '.join(killed) or plural(0, 'worker')}.")
