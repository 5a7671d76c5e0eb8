"""Whether a key may be used now, and if not, why: asked by the key bar and before every effect.

Each function returns an empty string when the action is possible, else the reason in words
for the user. Pure; the daemon has the last word all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentcoord.domain.states import ENDED_STATES, ReviewState, TaskState
from agentcoord.domain.worker import WorkerState
from agentcoord.tui.model import DashboardModel
from agentcoord.wire.messages import NeedsYou

NO_CONNECTION: Final = "There is no connection to the daemon now."
REVIEW: Final = "review"
"""The kind of need that is no hurry: a landed task that nobody judged yet."""
NO_TASK: Final = "Select a task first."
QUESTION: Final = "question"
"""The kind of need that an answer ends."""


def why_not_act(model: DashboardModel) -> str:
    """Acting needs a daemon, and a view that may."""
    return model.mode.why_not or ("" if model.live else NO_CONNECTION)


def why_not_pause(model: DashboardModel) -> str:
    """Pausing and resuming share a key."""
    if (refusal := why_not_act(model)) or model.status is None:
        return refusal or NO_CONNECTION
    state = model.status["state"]
    return "" if state in ("running", "paused") else f"The daemon is {state}."


def why_not_kill(model: DashboardModel, worker_name: str | None) -> str:
    """Killing a worker hands its task back."""
    if refusal := why_not_act(model):
        return refusal
    worker = next((w for w in model.workers if w["name"] == worker_name), None)
    if worker is None:
        return "Select a worker first."
    if worker["state"] == WorkerState.STOPPED:
        return f"{worker['name']} is stopped already."
    return ""


def why_not_cancel(model: DashboardModel, task_id: str | None) -> str:
    """A task that ended stays as it ended."""
    if refusal := why_not_act(model):
        return refusal
    task = model.tasks.get(task_id or "")
    if task is None:
        return NO_TASK
    if task["state"] in ENDED_STATES:
        return f"{task['id']} has ended: it is {task['state']}."
    if task["state"] == TaskState.LANDING:
        return f"{task['id']} is landing: that takes a moment and cannot be interrupted."
    return ""


def why_not_diff(model: DashboardModel, task_id: str | None) -> str:
    """A diff shows what landed."""
    if not model.live:
        return NO_CONNECTION
    task = model.tasks.get(task_id or "")
    if task is None:
        return NO_TASK
    if task["state"] != TaskState.DONE and not task["files"]:
        return f"{task['id']} has landed nothing to show: it is {task['state']}."
    return ""


def why_not_next_need(model: DashboardModel) -> str:
    """Whether anything waits for a person."""
    return "" if model.needs_you else "Nothing needs you now."


def urgent(needs: Sequence[NeedsYou]) -> tuple[NeedsYou, ...]:
    """What waits for a person now: questions, parked and failed tasks, but no reviews."""
    return tuple(need for need in needs if need["kind"] != REVIEW)


def next_need(needs: Sequence[NeedsYou], after: str | None) -> NeedsYou | None:
    """Return the need after the one of task `after`, round and round; None when there is none.

    Reviews have time until the morning: they come only when nothing else waits.
    """
    waiting = urgent(needs) or tuple(needs)
    if not waiting:
        return None
    tasks = [need["task"] for need in waiting]
    last = len(tasks) - 1 - tasks[::-1].index(after) if after in tasks else -1
    return waiting[(last + 1) % len(waiting)]


def why_not_retry(model: DashboardModel, task_id: str | None) -> str:
    """Only what ended without a result, or waits for a person, can be tried again."""
    if refusal := why_not_act(model):
        return refusal
    task = model.tasks.get(task_id or "")
    if task is None:
        return NO_TASK
    if task["state"] not in (TaskState.FAILED, TaskState.CANCELLED, TaskState.PARKED):
        return f"{task['id']} is {task['state']}: only failed, cancelled and parked tasks can be retried."
    return ""


def why_not_accept(model: DashboardModel, task_id: str | None) -> str:
    """A person judges what landed, once."""
    return _why_not_judge(model, task_id, ReviewState.ACCEPTED)


def why_not_undo(model: DashboardModel, task_id: str | None) -> str:
    """Only what stands in the tree can be taken out of it."""
    return _why_not_judge(model, task_id, ReviewState.UNDONE)


def why_not_reject(model: DashboardModel, task_id: str | None) -> str:
    """What is rejected is taken out of the tree first, unless that was done before."""
    task = model.tasks.get(task_id or "")
    if task is not None and task["state"] == TaskState.DONE and task["review"] == ReviewState.UNDONE:
        return why_not_act(model)
    return _why_not_judge(model, task_id, ReviewState.UNDONE)


def why_not_comment(model: DashboardModel, task_id: str | None) -> str:
    """A further task begins from what stands in the tree."""
    return _why_not_judge(model, task_id, ReviewState.UNDONE)


def why_not_answer(model: DashboardModel, task_id: str | None) -> str:
    """Only a question can be answered."""
    if refusal := why_not_act(model):
        return refusal
    if task_id is None or task_id not in model.tasks:
        return NO_TASK
    asks = any(need["task"] == task_id and need["kind"] == QUESTION for need in model.needs_you)
    return "" if asks else f"{task_id} asks nothing."


def why_not_review(model: DashboardModel) -> str:
    """A review needs something that landed."""
    if not model.live:
        return NO_CONNECTION
    waiting = any(
        task["state"] == TaskState.DONE and task["review"] == ReviewState.UNREVIEWED
        for task in model.tasks.values()
    )
    return "" if waiting else "Nothing waits for a review."


def _why_not_judge(model: DashboardModel, task_id: str | None, verdict: ReviewState) -> str:
    if refusal := why_not_act(model):
        return refusal
    task = model.tasks.get(task_id or "")
    if task is None:
        return NO_TASK
    if task["state"] != TaskState.DONE:
        return f"{task['id']} has not landed: it is {task['state']}."
    if task["review"] in (verdict, ReviewState.UNDONE):
        return f"{task['id']} is {task['review']} already."
    return ""


def why_not_land(model: DashboardModel, task_id: str | None) -> str:
    """Only what is held can be let go; whether for its flags, the daemon knows."""
    if refusal := why_not_act(model):
        return refusal
    task = model.tasks.get(task_id or "")
    if task is None:
        return NO_TASK
    return "" if task["state"] == TaskState.PARKED else f"{task['id']} is not held: it is {task['state']}."
