"""Putting a done task back in line that a person rejected.

Separate from the queue because it looks at every task first: who needs it waits for it again, and the
edges to those were forgotten when it was done. Deliberately absent: taking its files out of the tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState, advance
from agentcoord.domain.task import Task
from agentcoord.errors import StoreError
from agentcoord.store.place_in_line import encode_writes
from agentcoord.store.scripts import ScriptName, Scripts
from agentcoord.store.setback_records import HISTORY_LINES
from agentcoord.store.spreading import Spreader

MOST_DEPENDENTS = 5_000
"""Tasks that need the rejected one directly, all of which one script tells."""


async def reject(
    scripts: Scripts, spreader: Spreader, tasks: Sequence[Task], task_id: TaskId, why: str
) -> str | None:
    """Put `task_id` back; return why not in words, or nothing. None: `tasks` is not how it is any more.

    Raises StoreError when too many tasks need it.
    """
    await spreader.finish()
    task = next((each for each in tasks if each.id == task_id), None)
    if task is None:
        return "there is no such task"
    dependents = [each.id for each in tasks if task_id in each.spec.needs]
    if len(dependents) > MOST_DEPENDENTS:
        raise StoreError(f"more than {MOST_DEPENDENTS} tasks need {task_id}: it cannot be put back in line")
    advance(TaskState.DONE, TaskState.QUEUED)
    code, word = await scripts.run(
        ScriptName.REJECT,
        *spreader.args(),
        task_id,
        TaskState.DONE,
        Setback.ASKED,
        why,
        HISTORY_LINES,
        len(tasks),
        encode_writes(task.spec.writes),
        *dependents,
    )
    match code:
        case 1:
            return ""
        case 2:
            return None
        case 0:
            return f"it is {word}" if word else "there is no such task"
        case _:
            return f"it needs {word}, which has ended without a result"
