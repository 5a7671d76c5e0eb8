"""What the main screen's key bar says: which keys there are, and which of them can act now. Pure.

Separate from the screen because what can be done depends on the model and on what is selected, and on
nothing that is drawn.
"""

from __future__ import annotations

from typing import Final

from agentcoord.tui import actions
from agentcoord.tui.link import Mode
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.widgets.key_bar import Hint


def main_hints(
    model: DashboardModel, *, task: str | None, worker: str | None, in_workers: bool
) -> tuple[Hint, ...]:
    """The hints for a selected task; `in_workers`: the cursor is in the pane of workers, on this one."""
    if model.mode is Mode.REPLAY:
        return _REPLAY_HINTS
    kill = actions.why_not_kill(model, worker) if in_workers else actions.why_not_cancel(model, task)
    paused = model.status is not None and model.status["state"] == "paused"
    return (
        Hint("enter", "open", "", usable=task is not None, rank=2),
        Hint("d", "diff", "diff", usable=not actions.why_not_diff(model, task)),
        Hint("x", "kill" if in_workers else "cancel", "kill", usable=not kill),
        # What a person can decide about a task.
        _decision("a", "answer", actions.why_not_answer(model, task)),
        _decision("r", "retry", actions.why_not_retry(model, task)),
        _decision("y", "accept", actions.why_not_accept(model, task)),
        _decision("u", "undo", actions.why_not_undo(model, task)),
        _decision("v", "review", actions.why_not_review(model)),
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
    )


def _decision(key: str, name: str, why_not: str) -> Hint:
    """A key that is possible now stands before those that are not."""
    return Hint(key, name, name, usable=not why_not, rank=5 if why_not else 1)


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
