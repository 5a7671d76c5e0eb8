"""The answers of a field or two, as types.

Separate from `answers` because the daemon spells them where it gives them: only the page of the protocol and
its test need these.
"""

from __future__ import annotations

from typing import TypedDict

from agentcoord.wire import answers, messages, task_views


class TasksPage(TypedDict):
    tasks: list[messages.TaskView]
    """At most 500, in the order of the plans."""
    next_offset: int | None
    """Where the next page begins; null at the end."""


class DeadTasksPage(TypedDict):
    tasks: list[task_views.DeadTaskView]
    """The newest failure first."""
    next_offset: int | None
    """Where the next page begins; null at the end."""


class Workers(TypedDict):
    workers: list[messages.WorkerView]
    """All of them."""


class Locks(TypedDict):
    locks: list[task_views.LockView]
    """Every lock of a file that is held or waited for."""


class Spawned(TypedDict):
    workers: list[str]
    """Their names; fewer than asked for when the fleet was full before."""


class Killed(TypedDict):
    killed: list[str]
    """The names of the workers that were stopped."""


class Paused(TypedDict):
    paused: bool
    """Whether new tasks are held back now."""


class Draining(TypedDict):
    draining: bool
    """Always true."""


class Stopping(TypedDict):
    stopping: bool
    """Always true."""


class TaskState(TypedDict):
    id: str
    """The task."""
    state: str
    """What it is now, as in `TaskView`."""


class Answered(TypedDict):
    id: str
    """The task."""


class AllUndone(TypedDict):
    tasks: list[answers.UndoView]
    """One each, newest first; accepted ones stay as they are."""


class Accepted(TypedDict):
    id: str
    """The task."""
    review: str
    """`accepted`."""


class AllAccepted(TypedDict):
    tasks: list[str]
    """The ids of those that were not reviewed before."""
