"""Rejections: a task whose change was taken back with a reason, and that is done anew.

Theory of operation. The reason stands in the journal's record of the undo, so taking back and asking
again are one step on the disk: it happened when that record says so. Only then is the task put back in
line. When the daemon dies in between, the next start finds a task that is done in the store and rejected
in the journal, and puts it back (`finish_rejections`). Reasons are told to every later attempt from there.
What a person had undone before can be rejected too: the reason goes into the record of that undo. Should the
daemon die then, the task stays undone, as it was, and can be rejected again.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import WorkspaceError
from agentcoord.store.connection import Store
from agentcoord.workspace.history import LandedRecord
from agentcoord.workspace.landing import Lander


def rejections_of(task: Task, history: Sequence[LandedRecord]) -> list[str]:
    """Why what the task had landed was rejected, each reason once, the newest last."""
    reasons = [each.rejected for each in _landings(task, history) if each.rejected]
    return list(dict.fromkeys(reasons))


def pending_rejection(task: Task, history: Sequence[LandedRecord]) -> str:
    """The reason of a rejection of which the store has not heard; empty when there is none."""
    if task.state is not TaskState.DONE or task.review is ReviewState.UNDONE:
        return ""
    newest = next(iter(reversed(_landings(task, history))), None)
    return newest.rejected if newest is not None else ""


async def rejected_diff(lander: Lander, task: Task) -> str:
    """What the task had landed; empty when that is not kept any more."""
    try:
        return await lander.diff(task.id, since_ms=task.queued_at_ms)
    except (WorkspaceError, OSError):
        return ""  # The reasons are told all the same.


async def ask_again(store: Store, task: TaskId, reason: str) -> str:
    """Put a task back in line whose change was taken back; return why not in words, or nothing.

    A task that cannot come back is undone, and stays so.
    """
    why_not = await store.queue.reject(task, why=f"rejected: {reason}")
    if why_not:
        found = await store.queue.get(task)
        if found is not None and found.state is TaskState.DONE:
            await store.queue.set_review(task, ReviewState.UNDONE)
    return why_not


async def finish_rejections(store: Store, lander: Lander) -> tuple[TaskId, ...]:
    """Put back in line what a daemon that died had taken back and not queued. Returns those tasks."""
    history = await lander.history()
    pending = [(task.id, pending_rejection(task, history)) for task in await store.queue.all()]
    return tuple([task for task, reason in pending if reason and not await ask_again(store, task, reason)])


def _landings(task: Task, history: Sequence[LandedRecord]) -> list[LandedRecord]:
    return [each for each in history if each.task == task.id and each.at_ms >= task.queued_at_ms]
