"""The row of a task as it crosses the socket, why it is not running, and what of all tasks needs a person.

Separate from `snapshot`, which asks the store; here is only what follows from what it said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from agentcoord.daemon.money_views import tokens_view
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.graph import dependents_of
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, HELD_STATES, SETTLED_STATES, ReviewState, TaskState
from agentcoord.domain.task import OnNeedFailed, Task
from agentcoord.domain.usage import usd
from agentcoord.domain.worker import Role, WorkerState, worker_of
from agentcoord.store.questions import OpenQuestion
from agentcoord.wire.protocol import NO_MODEL
from agentcoord.workspace.names import runs_on_your_machine

if TYPE_CHECKING:
    from agentcoord.wire.messages import NeedsYou, TaskView

FILES_SHOWN = 2_000
NEEDS_SHOWN = 500
_ENDING: Final = {
    "draining": "the daemon begins nothing new and stops: agentcoordd start goes on",
    "stopping": "the daemon stops: agentcoordd start goes on",
    "restarting": "the daemon is being started again",
}
"""Why nobody takes a task, by what the daemon says of itself."""


class TaskViews:
    """Builds the row of a task. Reads only."""

    def __init__(self, shop: Workshop, model_source: str, state: Callable[[], str]) -> None:
        """`model_source`: as in the status; where it names no model, nobody can be spawned.

        `state`: what the daemon says of itself.
        """
        self._shop = shop
        self._state = state
        self._no_model = model_source.removeprefix(NO_MODEL) if model_source.startswith(NO_MODEL) else ""

    def of(self, task: Task, by_id: Mapping[TaskId, Task]) -> TaskView:
        spec = task.spec
        return {
            "id": task.id,
            "title": spec.title,
            "state": str(task.state),
            "priority": spec.priority,
            "tags": list(spec.tags),
            "needs": list(spec.needs),
            "writes": list(spec.writes),
            "worker": task.worker,
            "attempt": task.attempt,
            "turns": task.turns,
            "cost_usd": usd(task.cost_usd_micros),
            "budget_usd": None if spec.budget_usd_micros is None else usd(spec.budget_usd_micros),
            "budget_tokens": spec.budget_tokens,
            "tokens": tokens_view(task.usage),
            "files": list(task.files[:FILES_SHOWN]),
            "runs_here": [path for path in task.files if runs_on_your_machine(path)][:FILES_SHOWN],
            "lines_added": task.lines_added,
            "lines_removed": task.lines_removed,
            "review": str(task.review),
            "why": self._why(task, by_id),
            "queued_at": task.queued_at_ms,
            "started_at": task.started_at_ms,
            "ended_at": task.ended_at_ms,
            "on_need_failed": str(spec.on_need_failed),
            "skipped": task.skipped,
            "dead_need": task.dead_need,
            "setback": task.setback,
            "setbacks": task.all_setbacks,
            "retry_at": self._retry_at(task),
        }

    def _why(self, task: Task, by_id: Mapping[TaskId, Task]) -> str:
        """Why it is not running, or why it ended so."""
        if task.state in HELD_STATES or task.state is TaskState.DONE:
            return ""
        if task.state is TaskState.BLOCKED:
            met = {TaskState.DONE}
            if task.spec.on_need_failed is OnNeedFailed.RUN:
                met |= ENDED_STATES
            waiting = [need for need in task.spec.needs if need in by_id and by_id[need].state not in met]
            # None when the last of them ended after the task was read: it is about to be queued.
            return f"needs {', '.join(waiting)}" if waiting else ""
        if task.state is TaskState.QUEUED:
            return self._why_queued(task)
        return task.why

    def _retry_at(self, task: Task) -> int | None:
        """When a task that waits before its next try may begin it; None when it waits for no time."""
        waits = task.state is TaskState.QUEUED and (task.due_at_ms or 0) > self._shop.clock.now_ms()
        return task.due_at_ms if waits else None

    def _why_queued(self, task: Task) -> str:
        rows = list(self._shop.board.rows.values())
        able = [row for row in rows if row.spec.covers(task.spec.tags)]
        before = f" ({task.why})" if task.why else ""
        if self._shop.store.queue.paused:
            return f"paused: agentcoord ctl resume{before}"
        if self._state() in _ENDING:
            return f"{_ENDING[self._state()]}{before}"
        if not rows and self._no_model:
            return f"there is no model: {self._no_model}{before}"
        if not rows:
            return f"there is no worker: {self._mend_for(task)}{before}"
        if not able:
            return f"no worker has the tags {', '.join(task.spec.tags)}: {self._mend_for(task)}{before}"
        if (retry_at := self._retry_at(task)) is not None:
            wait_s = math.ceil((retry_at - self._shop.clock.now_ms()) / 1000)
            return f"waits {wait_s} s before the next try{before}"
        if all(row.claim is not None or row.state is WorkerState.CRASHED for row in able):
            names = "a free worker" if able == rows else " or ".join(row.spec.name for row in able)
            return f"waits for {names}{before}"
        return f"is about to be claimed{before}"

    def _mend_for(self, task: Task) -> str:
        """What gives a task a worker that may take it: one of a role, or those of the settings once more."""
        usual = [worker_of(role, role) for role in (Role.BACKEND_ENGINEER, *Role)]
        if role := next((worker.role for worker in usual if worker.covers(task.spec.tags)), None):
            return f"agentcoord spawn --role {role}"
        if any(worker.covers(task.spec.tags) for worker in self._shop.settings.workers):
            return "agentcoordd restart"
        return "give them to a [[worker]] of agentcoord.toml, then agentcoordd restart"


def nothing_left_to_do(tasks: list[Task]) -> bool:
    """Whether the daemon can do no more by itself: what is not settled waits for a parked task."""
    parked = [task.id for task in tasks if task.state is TaskState.PARKED]
    waiting = dependents_of({task.id: task.spec.needs for task in tasks}, parked)
    return bool(tasks) and all(task.state in SETTLED_STATES or task.id in waiting for task in tasks)


def needs_you(tasks: list[Task], questions: list[OpenQuestion]) -> list[NeedsYou]:
    """What a person should look at, the most pressing first."""
    ended = {task.id for task in tasks if task.state in ENDED_STATES}
    found: list[NeedsYou] = [
        {"task": each.task, "kind": "question", "text": f"{each.question} (assumed: {each.default})"}
        for each in questions
        if each.task not in ended
    ]
    found += [{"task": t.id, "kind": "parked", "text": t.why} for t in tasks if t.state is TaskState.PARKED]
    found += [{"task": t.id, "kind": "failed", "text": t.why} for t in tasks if t.state is TaskState.FAILED]
    found += [
        {"task": t.id, "kind": "review", "text": t.spec.title}
        for t in tasks
        if t.state is TaskState.DONE and t.review is ReviewState.UNREVIEWED
    ]
    return found[:NEEDS_SHOWN]
