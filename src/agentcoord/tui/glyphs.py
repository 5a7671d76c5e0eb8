"""The sign and the tone of each state: one table for tasks, one for workers.

Every sign is in every terminal font, and no two states that matter share both sign and word,
so that the dashboard reads without colour. An unknown state (a newer daemon) gets a dot.
"""

from __future__ import annotations

from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.worker_state import WorkerState
from agentcoord.tui.styled import Span, Tone

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Final

    from agentcoord.wire.messages import TaskView

LIVE: Final = "●"
NEEDS_YOU: Final = "◆"
TROUBLE: Final = "▲"
DOT: Final = "·"

_TASK: Final[dict[str, Span]] = {
    TaskState.BLOCKED: Span("·", Tone.MUTED),
    TaskState.QUEUED: Span("●", Tone.MUTED),
    TaskState.RUNNING: Span("▶", Tone.ACCENT),
    TaskState.CHECKING: Span("◐", Tone.ACCENT),
    TaskState.LANDING: Span("◐", Tone.GOOD),
    TaskState.DONE: Span("✔", Tone.GOOD),
    TaskState.PARKED: Span("◆", Tone.WARN),
    TaskState.FAILED: Span("✗", Tone.BAD),
    TaskState.CANCELLED: Span("✗", Tone.MUTED),
}
_WORKER: Final[dict[str, Span]] = {
    WorkerState.STARTING: Span("◐", Tone.MUTED),
    WorkerState.IDLE: Span("·", Tone.MUTED),
    WorkerState.WORKING: Span("●", Tone.GOOD),
    WorkerState.WAITING: Span("▲", Tone.WARN),
    WorkerState.PAUSED: Span("◆", Tone.MUTED),
    WorkerState.CRASHED: Span("✗", Tone.BAD),
    WorkerState.STOPPED: Span("✗", Tone.MUTED),
}


def task_glyph(state: str, review: str = ReviewState.UNREVIEWED) -> Span:
    """The sign of a task's state; an undone task reads like a cancelled one."""
    if review == ReviewState.UNDONE:
        return Span("✗", Tone.MUTED)
    return _TASK.get(state, Span(DOT))


def worker_glyph(state: str) -> Span:
    """The sign of a worker's state."""
    return _WORKER.get(state, Span(DOT))


def task_word(task: TaskView) -> str:
    """What to call a task's state: a done task that a person judged is called by the judgement."""
    if task.get("skipped"):
        return "skipped"
    judged = task["state"] == TaskState.DONE and task["review"] != ReviewState.UNREVIEWED
    return task["review"] if judged else task["state"]


TASK_LEGEND: Final = tuple((span, str(state)) for state, span in _TASK.items())
"""For the help screen."""
WORKER_LEGEND: Final = tuple((span, str(state)) for state, span in _WORKER.items())
"""For the help screen."""
