"""What the review's key bar says: which keys there are, and which of them can act now. Pure."""

from __future__ import annotations

from agentcoord.tui import actions
from agentcoord.tui.diff_page import DiffPage
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.widgets.key_bar import Hint


def review_hints(
    model: DashboardModel, *, task: str | None, page: DiffPage, several: bool, can_try: bool, decidable: bool
) -> tuple[Hint, ...]:
    """The hints for a task and what is shown of it.

    `several`: there are other tasks to go to; `can_try`: the rejected hunks can be tried without, or,
    where they were (`decidable`), decided about.
    """
    judge, hunks = not actions.why_not_undo(model, task), bool(page.hunks)
    return (
        Hint("y", "accept", "accept", usable=not actions.why_not_accept(model, task)),
        Hint("r", "reject", "reject", usable=not actions.why_not_reject(model, task)),
        Hint("u", "undo", "undo", usable=judge),
        Hint("n N", "task", "step(1)", usable=several, rank=1),
        Hint("} {", "file", "file(1)", usable=bool(page.files), rank=5),
        Hint("J K", "hunk", "hunk(1)", usable=hunks, rank=2),
        Hint("+ -", "keep, drop hunk", "mark('keep')", usable=judge and hunks, rank=2),
        Hint(
            "t",
            "decide" if decidable else "try without",
            "try_without",
            usable=can_try,
            rank=1 if can_try else 6,
        ),
        Hint("s", "side by side", "layout", usable=hunks, rank=4),
        Hint("c", "comment", "comment", usable=judge, rank=4),
        Hint("d", "diff alone", "diff", usable=not actions.why_not_diff(model, task), rank=6),
        Hint("?", "help", "show_help", rank=1),
        Hint("esc", "back", "close"),
    )
