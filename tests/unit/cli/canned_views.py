"""Views as the daemon sends them, for the tests of the commands that show them."""

from __future__ import annotations

from typing import Any

from agentcoord.wire.answers import StatsView
from agentcoord.wire.messages import StatusView, TaskView, TokensView, WorkerView
from agentcoord.wire.task_views import TaskDetail

TOKENS: TokensView = {"input": 1200, "cache_write": 30, "cache_read": 400, "output": 5}


def task_view(task_id: str, state: str, **changes: Any) -> TaskView:
    view: TaskView = {
        "id": task_id,
        "title": f"Title of {task_id}",
        "state": state,
        "priority": 3,
        "tags": ["testing"],
        "needs": [],
        "writes": ["tests/**"],
        "worker": "Testing-Engineer-1",
        "attempt": 1,
        "turns": 4,
        "cost_usd": 0.25,
        "budget_usd": 0.6,
        "budget_tokens": None,
        "tokens": TOKENS,
        "files": ["a.py", "b.py"] if state == "done" else [],
        "runs_here": [],
        "lines_added": 12,
        "lines_removed": 3,
        "review": "unreviewed",
        "why": "" if state == "done" else f"why {task_id} is {state}",
        "queued_at": 1_700_000_000_000,
        "started_at": 1_700_000_001_000,
        "ended_at": 1_700_000_061_000,
        "on_need_failed": "fail",
        "skipped": False,
        "dead_need": None,
        "setback": "",
        "setbacks": {},
        "retry_at": None,
    }
    view.update(changes)  # type: ignore[typeddict-item]  # a test may set any key
    return view


def status_view(*, ended: bool = True, **changes: Any) -> StatusView:
    view: StatusView = {
        "state": "running",
        "version": "0.1.0",
        "pid": 4711,
        "started_at": 1_700_000_000_000,
        "socket": "/run/x.sock",
        "state_dir": "/state/x",
        "project": {"id": "x-1", "root": "/src/x", "name": "x", "branch": "main"},
        "run": "r1",
        "model_source": "api.anthropic.com",
        "scripted": False,
        "sandbox": "bubblewrap",
        "counts": {"done": 1, "failed": 1, "running": 0 if ended else 1},
        "workers_busy": 2,
        "workers_total": 6,
        "max_parallel": 5,
        "spend": {
            "spent_usd": 1.5,
            "reserved_usd": 0.5,
            "cap_usd": 6.0,
            "day_spent_usd": 2.0,
            "day_cap_usd": None,
            "tokens": 1_000,
            "tokens_cap": None,
            "day_tokens": 0,
            "day_tokens_cap": None,
        },
        "tokens": TOKENS,
        "forecast_usd": 3.25,
        "forecast_p90_usd": 4.5,
        "needs_you": [{"task": "b", "kind": "failed", "text": "the checks stay red"}],
        "baseline": "green",
        "paused_why": "",
        "ended": ended,
        "ready": True,
    }
    view.update(changes)  # type: ignore[typeddict-item]  # a test may set any key
    return view


def worker_view(name: str, **changes: Any) -> WorkerView:
    view: WorkerView = {
        "name": name,
        "role": "backend-engineer",
        "tags": ["backend"],
        "state": "working",
        "task": "a",
        "title": "Title of a",
        "doing": "edit a.py",
        "since": 1_700_000_000_000,
        "turns": 3,
        "cost_usd": 0.1,
        "model": "m",
        "proving": None,
        "proving_doing": "",
    }
    view.update(changes)  # type: ignore[typeddict-item]  # a test may set any key
    return view


STATS: StatsView = {
    "run": "r1",
    "wall_s": 61.0,
    "tasks_per_hour": 59.0,
    "tasks_done": 1,
    "tasks_failed": 1,
    "max_parallel": 5,
    "turns": 8,
    "tool_calls": 9,
    "checks_run": 3,
    "check_s": 4.5,
    "landings": 1,
    "merges": 0,
    "files": 2,
    "lines_added": 12,
    "lines_removed": 3,
    "lock_waits": 1,
    "rate_limit_waits": 0,
    "events": 1234,
    "by_role": [{"name": "testing-engineer", "landed": 7, "failed": 1}],
    "by_model": [{"name": "claude-haiku-5-5", "landed": 7, "failed": 1}],
    "loop_lag_ms_max": 8.0,
    "memory_mb": 50.0,
}

DETAIL: TaskDetail = {
    "task": task_view("a", "failed"),
    "description": "What to do.\nAnd why.",
    "check": "make a",
    "checks": [
        {
            "name": "tests",
            "command": "make test",
            "exit_code": 2,
            "ok": False,
            "ms": 1500,
            "output": "assert 1 == 2",
        }
    ],
    "summary": "Did it.",
    "decisions": ["took the short way"],
    "questions": [{"number": 1, "question": "How many?", "default": "eight"}],
    "events": [
        {
            "kind": "task.failed",
            "at_ms": 1_700_000_000_000,
            "task": "a",
            "worker": "W",
            "data": {"why": "red"},
            "seq": 7,
        }
    ],
}

UNDONE: dict[str, Any] = {
    "restored": ["a.py"],
    "merged": [],
    "gone": [],
    "absent": [],
    "conflicts": [],
    "patch": "",
}
"""What is said of an undo, but for the task's id."""

ANSWERS: dict[str, dict[str, Any]] = {
    "status": {**status_view()},
    "tasks": {
        "tasks": [task_view("a", "done"), task_view("b", "failed", title="Wide\x1b[31m \u5bbd")],
        "next_offset": None,
    },
    "workers": {
        "workers": [worker_view("Backend-Engineer-1"), worker_view("Architect", state="idle", task=None)]
    },
    "stats": {**STATS},
    "task": {**DETAIL},
    "locks": {
        "locks": [
            {
                "path": "a.py",
                "task": "a",
                "since": 1_700_000_000_000,
                "waiters": ["b"],
                "waits": [{"task": "b", "since": 1_700_000_060_000}],
            }
        ]
    },
    "costs": {
        "total_usd": 1.5,
        "cap_usd": 6.0,
        "reserved_usd": 0.5,
        "day_usd": 2.0,
        "day_cap_usd": None,
        "total_tokens": 1_000,
        "tokens_cap": 2_000_000,
        "day_tokens": 3_000,
        "day_tokens_cap": 5_000_000,
        "forecast_usd": 3.25,
        "forecast_p90_usd": 4.5,
        "forecast_tasks": 2,
        "forecast_earlier_tasks": 6,
        "tokens": TOKENS,
        "by_task": [{"id": "a", "usd": 1.5, "tokens": TOKENS}],
        "by_worker": [{"worker": "Backend-Engineer-1", "usd": 1.5, "tokens": TOKENS}],
        "by_model": [{"model": "m", "usd": 1.5, "tokens": TOKENS}],
        "scripted": False,
    },
}
"""An answer for each reading method."""
