"""What the table says of a task after hunks were taken out of it: the files and lines that still stand.

The journal knows: what it says goes into the store after each taking out. A daemon that died in between
finds at its next start, by the journal, which tasks were trimmed, and counts those again.
"""

from __future__ import annotations

from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import WorkspaceError
from agentcoord.store.connection import Store
from agentcoord.workspace.landing import Lander


async def count_anew(store: Store, lander: Lander, task: Task) -> bool:
    """Store what stands of a done task; return whether that differs from what was stored."""
    lines = await lander.lines(task.id, since_ms=task.queued_at_ms)
    counted = (
        tuple(each.path for each in lines),
        sum(each.lines_added for each in lines),
        sum(each.lines_removed for each in lines),
    )
    if counted == (tuple(sorted(task.files)), task.lines_added, task.lines_removed):
        return False
    await store.queue.set_landed(task.id, lines)
    return True


async def finish_trims(store: Store, lander: Lander) -> tuple[TaskId, ...]:
    """Count again what a daemon that died had trimmed and not counted. Returns those tasks."""
    trimmed = await lander.trimmed()
    counted = []
    for task in await store.queue.all() if trimmed else ():
        if task.id not in trimmed or task.state is not TaskState.DONE or task.review is ReviewState.UNDONE:
            continue
        try:
            if await count_anew(store, lander, task):
                counted.append(task.id)
        except WorkspaceError:
            continue  # Compacted, or of an earlier task of this name: there is nothing to count by.
    return tuple(counted)
