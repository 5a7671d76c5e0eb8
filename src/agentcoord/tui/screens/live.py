"""What all live screens share: asking the daemon, telling the outcome, and the common keys.

Effects live here once, so that cancelling means the same in the table and in the detail. Every
effect first asks `actions` whether it is possible, and a key that cannot act says why.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.screen import Screen

from agentcoord.domain.states import HELD_STATES
from agentcoord.errors import AgentCoordError
from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.messages import DiffWanted
from agentcoord.tui.model import Part
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.help import HelpScreen
from agentcoord.tui.text import harmless, plural
from agentcoord.wire.messages import Method

CANCEL_WHY: Final = "cancelled in the dashboard"


class LiveScreen(Screen[None]):
    """A screen that is told what changed in the model."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "show_help", "Help", show=False),
        Binding("p", "pause", "Pause or resume", show=False),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.model = context.model

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
            mend = f" Try: {error.mend}" if error.mend else ""
            self.notify(harmless(f"{error.message}{mend}"), severity="error", markup=False)
            return None

    def action_show_help(self) -> None:
        """Show what every key does."""
        self.app.push_screen(HelpScreen())

    def action_pause(self) -> None:
        """Pause the run, or resume a paused one."""
        if why_not := actions.why_not_pause(self.model):
            self.say(why_not, warn=True)
            return
        status = self.model.status
        paused = status is not None and status["state"] == "paused"
        self.run_worker(self._pause_or_resume(paused=paused), group="effects")

    def cancel_task(self, task_id: str | None) -> None:
        """Cancel a task, after a person confirmed it."""
        if (why_not := actions.why_not_cancel(self.model, task_id)) or task_id is None:
            self.say(why_not, warn=True)
            return
        task = self.model.tasks[task_id]
        consequence = f"Nobody works on it any more; `agentcoord retry {task_id}` brings it back."
        if task["worker"] and task["state"] in HELD_STATES:
            consequence = f"{task['worker']} stops working on it; what it did so far does not land."

        def decided(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._cancel(task_id), group="effects")

        self.app.push_screen(ConfirmScreen(f"Cancel {task_id}?", consequence), decided)

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

    async def _cancel(self, task_id: str) -> None:
        answer = await self.ask(Method.CANCEL, id=task_id, why=CANCEL_WHY)
        if answer is not None:
            self.say(f"{task_id} is {answer.get('state', 'cancelled')}.")

    async def _kill(self, name: str) -> None:
        answer = await self.ask(Method.KILL, worker=name)
        if answer is not None:
            killed = answer.get("killed", [])
            self.say(f"Killed {', '.join(killed) or plural(0, 'worker')}.")
