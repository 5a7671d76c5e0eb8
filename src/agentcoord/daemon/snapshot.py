"""Views of the daemon: what crosses the socket, built from the store, the board and the hub.

Built once here, in the shapes of `wire.messages`; the dashboard and the command line show them
and compute nothing of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcoord import __version__
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.forecast import Forecast
from agentcoord.daemon.money_views import (
    Forecasting,
    costs_view,
    newest_ended,
    p50_usd,
    p90_usd,
    spend_view,
    tokens_view,
)
from agentcoord.daemon.pages import PAGE_ROWS, Pages
from agentcoord.daemon.pausing import paused_why
from agentcoord.daemon.review_views import check_views, flag_views
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.seen_tasks import SeenTasks
from agentcoord.daemon.setback_views import dead_letters, dead_task_view, fell_with, history_view
from agentcoord.daemon.stats_views import StatsViews
from agentcoord.daemon.task_files import SUMMARY_NAME
from agentcoord.daemon.task_views import TaskViews, needs_you, nothing_left_to_do
from agentcoord.daemon.worker_row import worker_view
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.store.budget_ledger import Totals
from agentcoord.values import dataclass

if TYPE_CHECKING:
    from agentcoord.wire.answers import CostsView, StatsView
    from agentcoord.wire.messages import ProjectView, Snapshot, StatusView, TaskView, WorkerView
    from agentcoord.wire.task_views import DeadTaskView, LockView, TaskDetail

SNAPSHOT_EVENTS = 200
DEAD_ROWS = 100


@dataclass(slots=True)
class DaemonState:
    """What the daemon knows of itself."""

    pid: int
    started_at_ms: int
    model_source: str
    scripted: bool
    sandbox: str
    state: str = "starting"
    ready: bool = False
    stopping_why: str = ""
    """When it stops by itself; empty when a person asked for it."""

    @property
    def is_ending(self) -> bool:
        """Whether it stops, be it for a new start."""
        return self.state in ("stopping", "restarting")


class Views:
    """Builds every view. Reads only."""

    def __init__(
        self,
        shop: Workshop,
        paths: ProjectPaths,
        state: DaemonState,
        runs: RunBook,
        lag: LoopLag,
        counter: RunCounter,
    ) -> None:
        self._shop = shop
        self._paths = paths
        self._state = state
        self._runs = runs
        self._counter = counter
        self._stats = StatsViews(shop, runs, lag, counter)
        self._forecasting = Forecasting(shop.settings.budget)
        self._rows = TaskViews(shop, state.model_source, lambda: state.state)

    @property
    def journal_home(self) -> Path:
        return self._paths.journal_dir

    def project(self) -> ProjectView:
        root = self._paths.root
        return {
            "id": self._paths.project_id,
            "root": str(root),
            "name": root.name,
            "branch": self._shop.repo.branch,
        }

    async def status(self) -> StatusView:
        return await self._status_of(await self._all())

    async def _status_of(self, tasks: list[Task]) -> StatusView:
        queue, totals = self._shop.store.queue, await self._totals()
        counts = {str(state): 0 for state in TaskState}
        for task in tasks:
            counts[task.state] += 1
        state = self._state.state
        if state == "running" and queue.paused:
            state = "paused"
        busy = self._shop.board.busy
        at_the_end = await self._at_the_end(tasks, totals)
        questions, why = await self._shop.store.questions.open(), await paused_why(self._shop)
        return {
            "state": state,
            "version": __version__,
            "pid": self._state.pid,
            "started_at": self._state.started_at_ms,
            "socket": str(self._paths.socket),
            "state_dir": str(self._paths.state_dir),
            "project": self.project(),
            "run": self._runs.run,
            "model_source": self._state.model_source,
            "scripted": self._state.scripted,
            "sandbox": self._state.sandbox,
            "counts": counts,
            "workers_busy": busy,
            "workers_total": len(self._shop.board.rows),
            "max_parallel": self._counter.counts.max_parallel,
            "spend": spend_view(totals, self._shop.settings.budget),
            "tokens": tokens_view(totals.usage),
            "forecast_usd": p50_usd(at_the_end),
            "forecast_p90_usd": p90_usd(at_the_end),
            "needs_you": needs_you(tasks, questions),
            "baseline": self._baseline(),
            "paused_why": why,
            "ended": nothing_left_to_do(tasks),
            "ready": self._state.ready,
        }

    async def tasks(self, offset: int = 0) -> tuple[list[TaskView], int | None]:
        """A page of the tasks from `offset` on, and where the next one begins. No others are read."""
        ids, total = await self._shop.store.queue.reader.page(offset, PAGE_ROWS)
        if not total:
            await self._shop.store.memory.check()
        tasks = await self._shop.store.queue.reader.read(ids)
        page = self._page(tasks, await self._with_needs(tasks))
        following = offset + len(page)
        gone_meanwhile = len(ids) - len(tasks)
        return page, following if page and following < total - gone_meanwhile else None

    async def _with_needs(self, tasks: Sequence[Task]) -> dict[TaskId, Task]:
        """These tasks by name, and what those of them need that wait for it."""
        by_id = {task.id: task for task in tasks}
        waiting = (task for task in tasks if task.state is TaskState.BLOCKED)
        more = dict.fromkeys(need for task in waiting for need in task.spec.needs if need not in by_id)
        return by_id | {task.id: task for task in await self._shop.store.queue.reader.read(list(more))}

    def _page(self, tasks: Sequence[Task], by_id: Mapping[TaskId, Task]) -> list[TaskView]:
        return next(Pages(self._rows.of(task, by_id) for task in tasks), [])

    async def tasks_new_to(self, seen: SeenTasks) -> Iterator[TaskView]:
        """The rows that are new to a reader, each made when it is asked for."""
        tasks = await self._all()
        by_id = {task.id: task for task in tasks}
        return seen.news(tasks, lambda task: self._rows.of(task, by_id))

    async def dead(self, offset: int) -> tuple[list[DeadTaskView], int | None]:
        """A page of the dead letters from `offset` on, and where the next one begins."""
        tasks = await self._shop.store.queue.all()
        by_id = {task.id: task for task in tasks}
        dead = dead_letters(tasks)
        wanted = dead[offset : offset + DEAD_ROWS]
        histories = await self._shop.store.queue.histories([task.id for task in wanted])
        rows = [
            dead_task_view(self._rows.of(task, by_id), histories[task.id], fell_with(tasks, task.id))
            for task in wanted
        ]
        page = next(Pages(rows), [])
        following = offset + len(page)
        return page, following if following < len(dead) else None

    def workers(self) -> list[WorkerView]:
        return [worker_view(row) for row in self._shop.board.rows.values()]

    async def task(self, task_id: TaskId) -> TaskDetail | None:
        task = await self._shop.store.queue.get(task_id)
        if task is None:
            return None
        report = await asyncio.to_thread(self._shop.check_book.stored, task_id)
        flagged = await asyncio.to_thread(self._shop.prover.flagging.book.of, task_id)
        words = await asyncio.to_thread(read_summary, self._shop.transcripts / task_id / SUMMARY_NAME)
        questions = [each for each in await self._shop.store.questions.open() if each.task == task_id]
        return {
            "task": self._rows.of(task, await self._with_needs([task])),
            "description": task.spec.description,
            "check": task.spec.check,
            "checks": check_views(report),
            "flags": flag_views(flagged.flags if flagged else ()),
            "summary": str(words.get("summary", "")),
            "decisions": [str(each) for each in words.get("decisions", [])],
            "questions": [
                {"number": each.number, "question": each.question, "default": each.default}
                for each in questions
            ],
            "locks": [each for each in await self.locks() if task_id in (each["task"], *each["waiters"])],
            "events": [event.to_dict() for event in self._shop.hub.recent if event.task == task_id][-200:],
            "model": self._shop.retries.model_of(task) if task.attempt else "",
            "history": history_view(await self._shop.store.queue.history(task_id)),
        }

    async def costs(self) -> CostsView:
        tasks, totals = await self._shop.store.queue.all(), await self._totals()
        at_the_end = await self._at_the_end(tasks, totals)
        by_task = await self._shop.store.ledger.by_task(self._runs.run)
        budget = self._shop.settings.budget
        return costs_view(totals, by_task, budget, at_the_end, scripted=self._state.scripted)

    async def stats(self) -> StatsView:
        return await self._stats.of_this_run()

    async def locks(self) -> list[LockView]:
        return [
            {
                "path": each.path,
                "task": each.task,
                "since": each.since_ms,
                "waiters": list(each.waiters),
                "waits": [{"task": one.task, "since": one.since_ms} for one in each.waits],
            }
            for each in await self._shop.store.locks.holders()
        ]

    async def snapshot(self) -> Snapshot:
        seq = self._shop.hub.seq
        tasks = await self._all()
        status = await self._status_of(tasks)
        return {
            "epoch": self._shop.hub.epoch,
            "seq": seq,
            "status": status,
            # Those that fit a line; the others come as rows right afterwards.
            "tasks": self._page(tasks, {task.id: task for task in tasks}),
            "workers": self.workers(),
            "events": [event.to_dict() for event in self._shop.hub.recent if event.seq <= seq][
                -SNAPSHOT_EVENTS:
            ],
        }

    async def _all(self) -> list[Task]:
        """Every task. None at all may mean that the server was wiped: then it raises, in words."""
        tasks = await self._shop.store.queue.all()
        if not tasks:
            await self._shop.store.memory.check()
        return tasks

    async def _totals(self) -> Totals:
        return await self._shop.store.ledger.totals(run=self._runs.run, day=self._runs.day())

    async def _at_the_end(self, tasks: Sequence[Task], totals: Totals) -> Forecast | None:
        ended = newest_ended(tasks)
        of_run = await self._shop.store.ledger.spenders(self._runs.run, [task.id for task in ended])
        return self._forecasting.of(tasks, ended, of_run, totals)

    def _baseline(self) -> str:
        if not self._shop.settings.checks.commands:
            return "none"
        report = self._shop.prover.baseline
        if report is None:
            return "pending"
        return "green" if report.ok else "red: " + ", ".join(each.name for each in report.red)


def read_summary(path: Path) -> dict[str, Any]:
    """What the worker said when it claimed to be finished; empty when it has not. Blocking."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
