"""What a person can decide about tasks, by a key: the same on every screen that shows some.

A screen says which task is selected, and which are wanted where it can mark several; which key does what
is the screen's own. Separate from `live`, which carries the decisions out and which screens without tasks
need too.
"""

from __future__ import annotations

from agentcoord.tui.effects import ACCEPT, CANCEL, RETRY, UNDO
from agentcoord.tui.screens.live import LiveScreen


class DecidingScreen(LiveScreen):
    """A screen on which tasks are accepted, undone, rejected, retried, answered."""

    @property
    def selected_task(self) -> str | None:
        """The task that a decision is about."""
        raise NotImplementedError

    @property
    def wanted_tasks(self) -> list[str]:
        """The tasks that a decision is about, where it may be about several."""
        return [] if self.selected_task is None else [self.selected_task]

    def action_accept(self) -> None:
        """It is good."""
        self.act(ACCEPT, self.wanted_tasks)

    def action_undo(self) -> None:
        """Take it back."""
        self.act(UNDO, self.wanted_tasks)

    def action_retry(self) -> None:
        """Queue it again."""
        self.act(RETRY, self.wanted_tasks)

    def action_cancel(self) -> None:
        """It is not wanted any more."""
        self.act(CANCEL, self.wanted_tasks)

    def action_reject(self) -> None:
        """Take it back and have it done again, with the reason."""
        self.reject_task(self.selected_task)

    def action_comment(self) -> None:
        """Ask for a change on top of it."""
        self.comment_on(self.selected_task)

    def action_answer(self) -> None:
        """Answer its question."""
        self.answer_task(self.selected_task)

    def action_diff(self) -> None:
        """Show what it changed."""
        self.open_diff(self.selected_task)
