"""Views of what went against tasks: the history of one, and the dead letters with theirs.

Separate from `snapshot`, which shows the run as it goes. Pure: handed what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import AttemptEnd
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task

if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView
    from agentcoord.wire.task_views import AttemptView, DeadTaskView

WHY_CHARS = 1_000
FELL_SHOWN = 500


def history_view(history: Iterable[AttemptEnd]) -> list[AttemptView]:
    """A task's attempts as people see them, the oldest first."""
    return [
        {
            "at": each.at_ms,
            "setback": each.setback,
            "why": each.why[:WHY_CHARS],
            "to": each.to,
            "attempt": each.attempt,
            "worker": each.worker or None,
            "model": each.model or None,
            "token": each.token,
        }
        for each in history
    ]


def dead_letters(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that failed by themselves, the newest first; not those that a need took down."""
    dead = [task for task in tasks if task.state is TaskState.FAILED and task.dead_need is None]
    return sorted(dead, key=lambda task: -(task.ended_at_ms or 0))


def fell_with(tasks: Iterable[Task], dead: TaskId) -> list[TaskId]:
    """What failed or was skipped because of `dead`, directly or through others."""
    by_need: dict[TaskId, list[TaskId]] = {}
    for task in tasks:
        if task.dead_need is not None:
            by_need.setdefault(task.dead_need, []).append(task.id)
    fell = list(by_need.get(dead, ()))
    for task_id in fell:  # Grows while it is walked; each task fell by one need, so none comes twice.
        fell += by_need.get(task_id, ())
    return fell


def dead_task_view(row: TaskView, history: Sequence[AttemptEnd], fell: Sequence[TaskId]) -> DeadTaskView:
    """A dead letter: the row, how its attempts ended, and what fell with it."""
    return {**row, "history": history_view(history), "fell": list(fell[:FELL_SHOWN])}
