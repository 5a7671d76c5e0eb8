"""Which rows of the tasks one reader has not been told yet.

Separate from who is told (`due_views`, `night_recorder`), because each of them must recognise thousands of
ended tasks for almost nothing: as long as nobody changed it, the store gives the same object for an ended
task, and its row says nothing that is not in the task. So no row of it is made or kept, about 100 bytes a
task. Rows of the few that are under way change with the workers and the time of day: they are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES
from agentcoord.domain.task import Task

if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView


class SeenTasks:
    """What one reader was told last."""

    def __init__(self) -> None:
        self._ended: dict[TaskId, Task] = {}
        self._rows: dict[TaskId, TaskView] = {}

    def __iter__(self) -> Iterator[TaskId]:
        """Give the names of all tasks that were told."""
        yield from self._ended
        yield from self._rows

    def forget(self) -> None:
        """Everything is new again."""
        self._ended.clear()
        self._rows.clear()

    def news(self, tasks: Sequence[Task], row_of: Callable[[Task], TaskView]) -> Iterator[TaskView]:
        """Yield the rows of `tasks`, which are all there are, that are new or changed.

        Each row is made when it is asked for, and counts as told from then on.
        """
        for task in tasks:
            if task.state in ENDED_STATES:
                known = self._ended.get(task.id)
                self._ended[task.id] = task
                self._rows.pop(task.id, None)
                if known is not task and known != task:
                    yield row_of(task)
            else:
                row = row_of(task)
                self._ended.pop(task.id, None)
                if self._rows.get(task.id) != row:
                    self._rows[task.id] = row
                    yield row
        if len(self._ended) + len(self._rows) > len(tasks):
            there = {task.id for task in tasks}
            for told in (self._ended, self._rows):
                for gone in told.keys() - there:
                    del told[gone]
