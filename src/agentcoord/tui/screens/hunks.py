"""Judging the hunks of a landed task: a cursor, marks, and a proof of the task without some of them.

The daemon runs the checks on exactly what would be left, in a private copy; only with their verdict is a
person asked whether those hunks are taken out of the tree. Separate from `review`, which walks from task
to task. Which hunk is marked how is `hunk_marks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agentcoord.tui import actions
from agentcoord.tui.context import Context
from agentcoord.tui.diff_page import DiffPage, Mark
from agentcoord.tui.hunk_marks import HunkMarks
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.deciding import DecidingScreen
from agentcoord.tui.subset_text import subset_words, taken_words
from agentcoord.tui.text import plural
from agentcoord.wire.protocol import Method

ASK_AGAIN_S: Final = 0.5
"""How often the daemon is asked whether the checks of a subset have ended."""


class HunkScreen(DecidingScreen):
    """A screen that shows one task's diff at a time, hunk by hunk."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.page = DiffPage([], [], [])
        """What is shown of the selected task."""
        self.hunks = HunkMarks()
        self._trying: str | None = None
        """The task whose checks run without some hunks."""

    # What the screen does.

    def draw_case(self) -> None:
        """Draw the selected task, with the cursor and the marks."""
        raise NotImplementedError

    def draw_keys(self) -> None:
        """Say what the keys can do now."""
        raise NotImplementedError

    def show_line(self, line: int) -> None:
        """Scroll to a line of the page."""
        raise NotImplementedError

    async def read_again(self, task: str) -> None:
        """The task's diff is another one now."""
        raise NotImplementedError

    # Keys.

    def action_hunk(self, by: int) -> None:
        """Move the cursor to the next or the previous hunk."""
        task, hunks = self.selected_task, [hunk for _, hunk in self.page.hunks]
        if task is None or not hunks:
            self.say("There are no hunks here.")
            return
        self.hunks.move(task, by, hunks)
        self.draw_case()
        self.show_hunk()

    def action_mark(self, mark: str) -> None:
        """Accept the hunk at the cursor, or mark it to be taken out; again: unmark. Go on to the next."""
        task, hunks = self.selected_task, [hunk for _, hunk in self.page.hunks]
        if task is None or not hunks:
            self.say("There are no hunks here.")
            return
        if why_not := actions.why_not_undo(self.model, task):
            self.say(why_not, warn=True)
            return
        self.hunks.mark(task, Mark(mark), hunks)
        self.draw_case()
        self.show_hunk()
        self.draw_keys()
        if self.hunks.all_kept(task, hunks):
            self.say("Every hunk is accepted: y accepts the task.")

    def action_try_without(self) -> None:
        """Run the checks on the task without the rejected hunks; with their verdict, ask whether to do it."""
        if why_not := self.why_not_try():
            self.say(why_not, warn=True)
            return
        task = self.selected_task
        assert task is not None
        if (answer := self.hunks.verdict(task)) is not None:
            self._decide(task, answer)
            return
        self._trying = task
        self.draw_keys()
        self.run_worker(self._try_without(task, self.hunks.dropped(task)), group="subset", exclusive=True)

    def why_not_try(self) -> str:
        """Why the task cannot be tried without some hunks now; empty when it can."""
        task = self.selected_task
        if why_not := actions.why_not_undo(self.model, task):
            return why_not
        if self.decidable:
            return ""
        if self._trying is not None:
            return f"The checks run for {self._trying} already."
        return "" if task is not None and self.hunks.dropped(task) else "Reject hunks with - first."

    @property
    def decidable(self) -> bool:
        """Whether the checks have said what they say of the task without the rejected hunks."""
        return self.selected_task is not None and self.hunks.verdict(self.selected_task) is not None

    def show_hunk(self) -> None:
        """Have the hunk at the cursor in sight, with a line or two before it."""
        at = self.hunks.at(self.selected_task or "", [hunk for _, hunk in self.page.hunks])
        if at is not None:
            self.show_line(max(0, self.page.hunks[at][0] - 2))

    # Work.

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
            self.hunks.heard(task, answer)
            without = f"{task} without {plural(len(hunks), 'hunk')} is {answer['state']}"
            self.say(f"{without}: t decides.", warn=answer["state"] == "red")
        self.draw_keys()

    def _decide(self, task: str, answer: Mapping[str, Any]) -> None:
        """Show the verdict of the checks, and ask."""

        def decided(yes: bool | None) -> None:
            if yes:
                red = answer["state"] == "red"
                self.run_worker(self._take_out(task, answer["hunks"], anyway=red), group="effects")

        asked = f"Take {plural(len(answer['hunks']), 'hunk')} out of {task}?"
        self.app.push_screen(ConfirmScreen(asked, subset_words(answer)), decided)

    async def _take_out(self, task: str, hunks: list[str], *, anyway: bool) -> None:
        self.hunks.void(task)  # Whatever comes of it: the next verdict is about another tree.
        answer = await self.ask(Method.TAKE_OUT, id=task, hunks=hunks, anyway=anyway)
        self.draw_keys()
        if answer is None:
            return
        self.say(f"{taken_words(answer)}.")
        await self.read_again(task)
