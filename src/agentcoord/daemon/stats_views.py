"""What a run did, in numbers: the answer to `stats`.

Separate from `snapshot`, because nothing else is made of counts over all tasks and all events of a run.
Tasks that had ended before the run began are still there, and are not counted: else a second night would
last since the first one.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.success_views import success_views, with_own_faults
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import run_began_ms
from agentcoord.domain.states import ENDED_STATES, SETTLED_STATES, TaskState
from agentcoord.domain.task import Task

if TYPE_CHECKING:
    from agentcoord.wire.answers import StatsView


class StatsViews:
    """Counts what a run did. Reads only."""

    def __init__(self, shop: Workshop, runs: RunBook, lag: LoopLag, counter: RunCounter) -> None:
        self._shop = shop
        self._runs = runs
        self._lag = lag
        self._counter = counter

    async def of_this_run(self) -> StatsView:
        now_ms = self._shop.clock.now_ms()
        began_ms = run_began_ms(self._runs.run)
        if now_ms < began_ms:
            began_ms = 0  # The clock was set back: by it nothing is of this run.
        tasks = [task for task in await self._shop.store.queue.all() if _is_of_run(task, began_ms)]
        counts = self._counter.counts
        begun = [max(task.started_at_ms, began_ms) for task in tasks if task.started_at_ms is not None]
        ended = [task.ended_at_ms for task in tasks if task.ended_at_ms is not None]
        all_over = bool(tasks) and all(task.state in ENDED_STATES for task in tasks)
        until = max(ended) if all_over and ended else now_ms
        wall_s = max(0, until - min(begun)) / 1000 if begun else 0.0
        done = sum(task.state is TaskState.DONE for task in tasks)
        histories = await self._shop.store.queue.histories(with_own_faults(tasks))
        ends = {task: [end for end in told if end.at_ms >= began_ms] for task, told in histories.items()}
        by_role, by_model = success_views(tasks, ends, self._roles(), self._shop.retries.model_of)
        return {
            "run": self._runs.run,
            "wall_s": wall_s,
            "tasks_per_hour": round(done * 3600 / wall_s, 1) if wall_s > 0 else 0.0,
            "tasks_done": done,
            "tasks_failed": sum(task.state is TaskState.FAILED for task in tasks),
            "max_parallel": counts.max_parallel,
            "turns": sum(task.turns for task in tasks),
            "tool_calls": counts.kinds[EventKind.TASK_TOOL],
            "checks_run": counts.kinds[EventKind.TASK_CHECKED],
            "check_s": counts.check_ms / 1000,
            "landings": counts.kinds[EventKind.TASK_DONE],
            "merges": counts.merges,
            "files": len({path for task in tasks for path in task.files}),
            "lines_added": sum(task.lines_added for task in tasks),
            "lines_removed": sum(task.lines_removed for task in tasks),
            "lock_waits": counts.kinds[EventKind.LOCK_WAITED],
            "rate_limit_waits": counts.kinds[EventKind.RATE_LIMITED],
            "events": self._shop.hub.seq,
            "by_role": by_role,
            "by_model": by_model,
            "loop_lag_ms_max": round(self._lag.max_ms, 1),
            "memory_mb": round(_peak_memory_mb(), 1),
        }

    def _roles(self) -> dict[str, str]:
        """The role of each worker by its name; of those that are gone, of the configured ones."""
        specs = [*self._shop.settings.workers, *(row.spec for row in self._shop.board.rows.values())]
        return {str(spec.name): str(spec.role) for spec in specs}


def _is_of_run(task: Task, began_ms: int) -> bool:
    """Whether a task was loaded in the run that began then, or was at least not settled before it."""
    return task.state not in SETTLED_STATES or max(task.queued_at_ms, task.ended_at_ms or 0) >= began_ms


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024 / 1024
