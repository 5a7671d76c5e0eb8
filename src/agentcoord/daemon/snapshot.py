"""Views of the daemon: what crosses the socket, built from the store, the board and the hub.

Built once here, in the shapes of `wire.messages`; the dashboard and the command line show them
and compute nothing of their own.
"""

from __future__ import annotations

import asyncio
import json
import math
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agentcoord import __version__
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.money_views import Forecasting, costs_view, p50_usd, p90_usd, spend_view, tokens_view
from agentcoord.daemon.pausing import paused_why
from agentcoord.daemon.review_views import check_views, flag_views
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.setback_views import dead_letters, dead_task_view, fell_with, history_view
from agentcoord.daemon.task_run import SUMMARY_NAME
from agentcoord.daemon.worker_row import WorkerRow
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.graph import dependents_of
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, HELD_STATES, SETTLED_STATES, ReviewState, TaskState
from agentcoord.domain.task import OnNeedFailed, Task
from agentcoord.domain.usage import usd
from agentcoord.store.budget_ledger import Totals
from agentcoord.store.questions import OpenQuestion
from agentcoord.values import dataclass
from agentcoord.wire.messages import (
    FRAME_BYTES,
    CostsView,
    DeadTaskView,
    LockView,
    NeedsYou,
    ProjectView,
    Snapshot,
    StatsView,
    StatusView,
    TaskDetail,
    TaskView,
    WorkerView,
)
from agentcoord.workspace.names import runs_on_your_machine

SNAPSHOT_EVENTS = 200
FILES_SHOWN = 2_000
NEEDS_SHOWN = 500
PAGE_BYTES = FRAME_BYTES // 2
"""How much of a list goes into one line; the other half is room for what stands beside it."""
PAGE_ROWS = 500
DEAD_ROWS = 100
_Row = TypeVar("_Row", bound=TaskView)


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
        self._lag = lag
        self._counter = counter
        self._forecasting = Forecasting(shop.settings.budget)

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
        queue = self._shop.store.queue
        tasks, totals = await self._all(), await self._totals()
        counts = {str(state): 0 for state in TaskState}
        for task in tasks:
            counts[task.state] += 1
        state = self._state.state
        if state == "running" and queue.paused:
            state = "paused"
        busy = self._shop.board.busy
        at_the_end = self._forecasting.of(tasks, totals)
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
            "max_parallel": self._shop.board.max_parallel,
            "spend": spend_view(totals, self._shop.settings.budget),
            "tokens": tokens_view(totals.usage),
            "forecast_usd": p50_usd(at_the_end),
            "forecast_p90_usd": p90_usd(at_the_end),
            "needs_you": needs_you(tasks, await self._shop.store.questions.open()),
            "baseline": self._baseline(),
            "paused_why": await paused_why(self._shop),
            "ended": nothing_left_to_do(tasks),
            "ready": self._state.ready,
        }

    async def tasks(self) -> list[TaskView]:
        tasks = await self._all()
        by_id = {task.id: task for task in tasks}
        return [self.task_view(task, by_id) for task in tasks]

    async def dead(self, offset: int) -> tuple[list[DeadTaskView], int | None]:
        """A page of the dead letters from `offset` on, and where the next one begins."""
        tasks = await self._shop.store.queue.all()
        by_id = {task.id: task for task in tasks}
        dead = dead_letters(tasks)
        wanted = dead[offset : offset + DEAD_ROWS]
        histories = await self._shop.store.queue.histories([task.id for task in wanted])
        rows = [
            dead_task_view(self.task_view(task, by_id), histories[task.id], fell_with(tasks, task.id))
            for task in wanted
        ]
        page = next(pages(rows), [])
        following = offset + len(page)
        return page, following if following < len(dead) else None

    def task_view(self, task: Task, by_id: Mapping[TaskId, Task]) -> TaskView:
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

    def workers(self) -> list[WorkerView]:
        return [worker_view(row) for row in self._shop.board.rows.values()]

    async def task(self, task_id: TaskId) -> TaskDetail | None:
        tasks = {task.id: task for task in await self._shop.store.queue.all()}
        task = tasks.get(task_id)
        if task is None:
            return None
        report = await asyncio.to_thread(self._shop.check_book.stored, task_id)
        flagged = await asyncio.to_thread(self._shop.prover.flagging.book.of, task_id)
        words = await asyncio.to_thread(read_summary, self._shop.transcripts / task_id / SUMMARY_NAME)
        questions = [each for each in await self._shop.store.questions.open() if each.task == task_id]
        return {
            "task": self.task_view(task, tasks),
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
        at_the_end = self._forecasting.of(tasks, totals)
        return costs_view(totals, self._shop.settings.budget, at_the_end, scripted=self._state.scripted)

    async def stats(self) -> StatsView:
        tasks = await self._shop.store.queue.all()
        counts = self._counter.counts
        begun = [task.started_at_ms for task in tasks if task.started_at_ms is not None]
        ended = [task.ended_at_ms for task in tasks if task.ended_at_ms is not None]
        all_over = bool(tasks) and all(task.state in ENDED_STATES for task in tasks)
        until = max(ended) if all_over and ended else self._shop.clock.now_ms()
        return {
            "run": self._runs.run,
            "wall_s": (until - min(begun)) / 1000 if begun else 0.0,
            "tasks_done": sum(task.state is TaskState.DONE for task in tasks),
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
            "loop_lag_ms_max": round(self._lag.max_ms, 1),
            "memory_mb": round(_peak_memory_mb(), 1),
        }

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
        return {
            "epoch": self._shop.hub.epoch,
            "seq": seq,
            "status": await self.status(),
            # Those that fit a line; the others come as rows right afterwards.
            "tasks": next(pages(await self.tasks()), []),
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

    def _baseline(self) -> str:
        if not self._shop.settings.checks.commands:
            return "none"
        report = self._shop.prover.baseline
        if report is None:
            return "pending"
        return "green" if report.ok else "red: " + ", ".join(each.name for each in report.red)

    def _why(self, task: Task, by_id: Mapping[TaskId, Task]) -> str:
        """Why it is not running, or why it ended so."""
        if task.state in HELD_STATES or task.state is TaskState.DONE:
            return ""
        if task.state is TaskState.BLOCKED:
            met = {TaskState.DONE}
            if task.spec.on_need_failed is OnNeedFailed.RUN:
                met |= ENDED_STATES
            waiting = [need for need in task.spec.needs if need in by_id and by_id[need].state not in met]
            return f"needs {', '.join(waiting)}"
        if task.state is TaskState.QUEUED:
            return self._why_queued(task)
        return task.why

    def _retry_at(self, task: Task) -> int | None:
        """When a task that waits before its next try may begin it; None when it waits for no time."""
        waits = task.state is TaskState.QUEUED and (task.due_at_ms or 0) > self._shop.clock.now_ms()
        return task.due_at_ms if waits else None

    def _why_queued(self, task: Task) -> str:
        able = [row for row in self._shop.board.rows.values() if row.spec.covers(task.spec.tags)]
        before = f" ({task.why})" if task.why else ""
        if self._shop.store.queue.paused:
            return f"paused: agentcoord ctl resume{before}"
        if not able:
            return f"no worker has the tags {', '.join(task.spec.tags)}: agentcoord spawn{before}"
        if (retry_at := self._retry_at(task)) is not None:
            wait_s = math.ceil((retry_at - self._shop.clock.now_ms()) / 1000)
            return f"waits {wait_s} s before the next try{before}"
        if all(row.claim is not None for row in able):
            return f"waits for {' or '.join(row.spec.name for row in able)}{before}"
        return f"is about to be claimed{before}"


def read_summary(path: Path) -> dict[str, Any]:
    """What the worker said when it claimed to be finished; empty when it has not. Blocking."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def worker_view(row: WorkerRow) -> WorkerView:
    """One worker as people see it."""
    at, proven = row.at_hand, row.proven
    return {
        "name": row.spec.name,
        "role": str(row.spec.role),
        "tags": sorted(row.spec.tags),
        "state": str(row.state),
        "task": row.task,
        "title": row.claim.task.spec.title if row.claim else "",
        "doing": row.doing,
        "since": row.since_ms,
        "turns": at.turns if at else 0,
        "cost_usd": usd(at.cost_usd_micros if at else 0),
        "model": at.model if at else "",
        "proving": proven.claim.task.id if proven else None,
        "proving_doing": proven.doing if proven else "",
    }


def nothing_left_to_do(tasks: list[Task]) -> bool:
    """Whether the daemon can do no more by itself: what is not settled waits for a parked task."""
    parked = [task.id for task in tasks if task.state is TaskState.PARKED]
    waiting = dependents_of({task.id: task.spec.needs for task in tasks}, parked)
    return bool(tasks) and all(task.state in SETTLED_STATES or task.id in waiting for task in tasks)


def needs_you(tasks: list[Task], questions: list[OpenQuestion]) -> list[NeedsYou]:
    """What a person should look at, the most pressing first."""
    found: list[NeedsYou] = [
        {"task": each.task, "kind": "question", "text": f"{each.question} (assumed: {each.default})"}
        for each in questions
    ]
    found += [{"task": t.id, "kind": "parked", "text": t.why} for t in tasks if t.state is TaskState.PARKED]
    found += [{"task": t.id, "kind": "failed", "text": t.why} for t in tasks if t.state is TaskState.FAILED]
    found += [
        {"task": t.id, "kind": "review", "text": t.spec.title}
        for t in tasks
        if t.state is TaskState.DONE and t.review is ReviewState.UNREVIEWED
    ]
    return found[:NEEDS_SHOWN]


def pages(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Cut rows into lists that each fit a line; no rows, no list."""
    page: list[_Row] = []
    page_bytes = 0
    for row in rows:
        row_bytes = len(json.dumps(row))
        if page and (page_bytes + row_bytes > PAGE_BYTES or len(page) == PAGE_ROWS):
            yield page
            page, page_bytes = [], 0
        page.append(row)
        page_bytes += row_bytes
    if page:
        yield page


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024 / 1024
