"""One night with everything in it, as the daemon's answers: for the report's tests and pictures.

Six workers from 23:04 to 04:52 UTC, ten tasks: six landed, one accepted, one failed, one parked, one asks.
"""

from __future__ import annotations

from typing import Any

from agentcoord.domain.events import Event, EventKind
from agentcoord.review.report.night import Answers

START_MS = 1_795_302_240_000
"""23:04 UTC, 21 November 2026."""
MINUTE_MS = 60_000
END_MS = START_MS + 348 * MINUTE_MS
WORKERS = (
    "Testing-Engineer-1",
    "Testing-Engineer-2",
    "Backend-Engineer-1",
    "Backend-Engineer-2",
    "Platform-Engineer",
    "Architect",
)
HOSTILE = "<script>alert(1)</script> & `rm` | [x](javascript:1)"
RED_OUTPUT = "\n".join(
    [
        "...........F....",
        "=" * 40,
        "FAIL: test_events_are_exported_once (tests.test_metrics.ExportTest)",
        "-" * 40,
        "Traceback (most recent call last):",
        '  File "tests/test_metrics.py", line 61, in test_events_are_exported_once',
        "    self.assertEqual(len(exported), 1)",
        "AssertionError: 2 != 1",
        *[f"exported[{i}] = Event(order={1001 + i // 2})" for i in range(20)],
        "Ran 214 tests in 8.412s",
        "FAILED (failures=1)",
    ]
)
DIFF = """--- a/tests/test_rates.py
+++ b/tests/test_rates.py
@@ -10,6 +10,8 @@ class RateTest:
     def test_refill(self):
-        self.assertEqual(bucket.level, 4)
-        self.assertTrue(bucket.full)
+        bucket.refill()
+    @unittest.skip("slow")
+    def test_long(self):
+        bucket.wait()
--- a/src/shop/rates.py
+++ b/src/shop/rates.py
@@ -1,2 +1,3 @@
 import time
+import random  # noqa: F401
"""


def row(task_id: str, state: str, title: str, **more: Any) -> dict[str, Any]:
    """A row of `agentcoord tasks`."""
    started = more.pop("at_min", 0)
    took = more.pop("took_min", 30)
    ended = state in ("done", "failed", "cancelled", "parked")
    return {
        "id": task_id,
        "title": title,
        "state": state,
        "priority": 3,
        "tags": ["backend"],
        "needs": [],
        "writes": [],
        "worker": WORKERS[2],
        "attempt": 1,
        "turns": 18,
        "cost_usd": 0.4,
        "budget_usd": 0.6,
        "budget_tokens": None,
        "tokens": {"input": 2110, "cache_write": 38_402, "cache_read": 412_800, "output": 14_804},
        "files": [],
        "lines_added": 0,
        "lines_removed": 0,
        "review": "unreviewed",
        "why": "",
        "queued_at": START_MS,
        "started_at": START_MS + started * MINUTE_MS,
        "ended_at": START_MS + (started + took) * MINUTE_MS if ended else None,
    } | more


def green(
    name: str, command: str, ms: int = 8_400, output: str = "Ran 214 tests in 8.1s\n\nOK"
) -> dict[str, Any]:
    return {"name": name, "command": command, "exit_code": 0, "ok": True, "ms": ms, "output": output}


def detail(task: dict[str, Any], **more: Any) -> dict[str, Any]:
    """All that is known of one task."""
    checks = [green("tests", "python -m unittest -q")] if task["state"] == "done" else []
    return {
        "task": task,
        "description": f"{task['title']}. Existing behaviour must not change.",
        "check": "",
        "checks": checks,
        "summary": "",
        "decisions": [],
        "questions": [],
        "events": [],
    } | more


def rows() -> list[dict[str, Any]]:
    return [
        row(
            "unit-tests",
            "done",
            "Add missing unit tests",
            worker=WORKERS[0],
            priority=5,
            took_min=74,
            writes=["tests/**"],
            files=["tests/test_money.py", "tests/test_cart.py"],
            lines_added=412,
            lines_removed=3,
            cost_usd=0.51,
            turns=24,
        ),
        row(
            "integration-tests",
            "done",
            "Integration tests for checkout",
            worker=WORKERS[1],
            at_min=2,
            took_min=96,
            writes=["tests/**"],
            files=["tests/test_checkout.py"],
            lines_added=231,
            lines_removed=0,
            cost_usd=0.47,
            review="accepted",
        ),
        row(
            "error-handling",
            "done",
            "Errors with a cause and a mend",
            took_min=58,
            writes=["src/shop/errors.py"],
            files=["src/shop/errors.py", "src/shop/client.py", ".github/workflows/ci.yml"],
            lines_added=148,
            lines_removed=61,
            cost_usd=0.38,
        ),
        row(
            "connection-pooling",
            "done",
            "Pool connections to the warehouse",
            worker=WORKERS[3],
            took_min=121,
            attempt=2,
            files=["src/shop/pool.py", "pyproject.toml"],
            lines_added=204,
            lines_removed=17,
            cost_usd=0.92,
            turns=41,
        ),
        row(
            "health-checks",
            "done",
            "Health checks for the service",
            worker=WORKERS[4],
            took_min=43,
            files=["src/shop/health.py", "tests/test_health.py"],
            lines_added=121,
            lines_removed=2,
            cost_usd=0.22,
        ),
        row(
            "documentation",
            "done",
            "Document the public API",
            worker=WORKERS[5],
            took_min=66,
            files=["docs/api.md", "README.md"],
            lines_added=302,
            lines_removed=44,
            cost_usd=0.31,
        ),
        row(
            "rate-limiter",
            "done",
            "Fair rate limiter",
            worker=WORKERS[2],
            at_min=64,
            took_min=88,
            files=["src/shop/rates.py", "tests/test_rates.py"],
            lines_added=133,
            lines_removed=29,
            cost_usd=0.44,
        ),
        row(
            "metrics",
            "failed",
            "Export metrics once",
            worker=WORKERS[4],
            at_min=50,
            took_min=160,
            attempt=3,
            why="the same checks failed twice alike: tests",
            cost_usd=0.6,
            turns=55,
            tags=["platform"],
        ),
        row(
            "cli-commands",
            "parked",
            "Add `shop export` and `shop import`",
            worker=WORKERS[3],
            at_min=130,
            took_min=82,
            why="you saved src/shop/cli.py meanwhile; merging both left a conflict",
            cost_usd=0.52,
        ),
        row(
            "refactoring",
            "running",
            f"Split the order module {HOSTILE}",
            worker=WORKERS[5],
            at_min=84,
            needs=["error-handling"],
            cost_usd=0.27,
        ),
    ]


def details(tasks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    by_id = {task["id"]: detail(task) for task in tasks}
    by_id["unit-tests"] |= {
        "summary": "Covers rounding, refunds and empty carts, where no test stood before.",
        "decisions": [
            "Rounding is pinned as it is (banker's), not as the old comment says.",
            "Left alone: Cart.total() accepts a negative quantity.",
        ],
        "checks": [
            green(
                "task",
                "python -m unittest -q tests.test_money tests.test_cart",
                940,
                "Ran 31 tests in 0.7s\n\nOK",
            ),
            green("tests", "python -m unittest -q"),
        ],
    }
    by_id["rate-limiter"] |= {
        "summary": "Callers are served in turn; a greedy one waits for the others.",
        "decisions": ["One bucket a customer, since the plan does not say."],
    }
    by_id["metrics"] |= {
        "checks": [
            green("lint", "ruff check ."),
            green("tests", "python -m unittest -q") | {"exit_code": 1, "ok": False, "output": RED_OUTPUT},
        ]
    }
    by_id["refactoring"] |= {
        "questions": [
            {"number": 1, "question": "May Order lose its alias `Purchase`?", "default": "no, it stays"}
        ]
    }
    return by_id


def events() -> list[dict[str, Any]]:
    """What happened, oldest first."""
    found: list[tuple[float, EventKind, str | None, str | None, dict[str, Any]]] = []

    def work(
        worker: int, task: str, begin: float, end: float, kind: EventKind, usd: float, **data: Any
    ) -> None:
        name = WORKERS[worker]
        found.append((begin, EventKind.TASK_CLAIMED, task, name, {"attempt": 1, "token": 1}))
        turn = {"turn": 1, "model": "claude-haiku-5-5", "cost_usd_micros": round(usd * 1e6)}
        found.append((begin + 1, EventKind.TASK_TURN, task, name, turn))
        found.append((end - 4, EventKind.TASK_CHECKING, task, name, {}))
        found.append((end, kind, task, name, data))

    work(0, "unit-tests", 0, 74, EventKind.TASK_DONE, 0.51)
    work(1, "integration-tests", 2, 98, EventKind.TASK_DONE, 0.47)
    work(2, "error-handling", 0, 58, EventKind.TASK_DONE, 0.38)
    work(3, "connection-pooling", 0, 47, EventKind.TASK_REQUEUED, 0.3, why="all turns are used")
    work(3, "connection-pooling", 49, 121, EventKind.TASK_DONE, 0.62, merged=["src/shop/pool.py"])
    work(4, "health-checks", 0, 43, EventKind.TASK_DONE, 0.22)
    work(5, "documentation", 0, 66, EventKind.TASK_DONE, 0.31)
    work(2, "rate-limiter", 64, 152, EventKind.TASK_DONE, 0.44)
    work(4, "metrics", 50, 210, EventKind.TASK_FAILED, 0.6, why="the same checks failed twice alike")
    work(3, "cli-commands", 130, 212, EventKind.TASK_PARKED, 0.52, why="conflict")
    found.append((84, EventKind.TASK_CLAIMED, "refactoring", WORKERS[5], {"attempt": 1}))
    wait = {"path": "src/shop/client.py", "holder": "rate-limiter", "outcome": "taken", "ms": 11 * MINUTE_MS}
    found.append((118, EventKind.LOCK_WAITED, "refactoring", WORKERS[5], wait))
    found.append((60, EventKind.TASK_TURN, "connection-pooling", WORKERS[3],
                  {"turn": 9, "model": "claude-sonnet-5-5", "cost_usd_micros": 0}))  # fmt: skip
    limited = {"model": "claude-haiku-5-5", "wait_s": 18, "why": "429"}
    found += [(minute, EventKind.RATE_LIMITED, None, None, limited) for minute in (71, 72.5, 140)]
    found.sort(key=lambda each: each[0])
    return [
        Event(kind, START_MS + round(minute * MINUTE_MS), task, worker, data, seq=i).to_dict()
        for i, (minute, kind, task, worker, data) in enumerate(found, 1)
    ]


def answers(**more: Any) -> Answers:
    """The whole night."""
    tasks = rows()
    tokens = {"input": 21_100, "cache_write": 384_020, "cache_read": 4_128_000, "output": 148_040}
    facts: dict[str, Any] = {
        "status": {
            "project": {"id": "shop-1", "root": "/home/user/shop", "name": "shop", "branch": "main"},
            "run": "r1",
            "version": "0.1.0",
            "ended": False,
            "scripted": False,
            "model_source": "api.anthropic.com",
            "sandbox": "bubblewrap",
            "baseline": "green",
            "paused_why": "",
        },
        "tasks": tasks,
        "workers": [{"name": name} for name in WORKERS],
        "costs": {
            "total_usd": 4.62,
            "cap_usd": 6.0,
            "tokens": tokens,
            "by_model": [
                {"model": "claude-haiku-5-5", "usd": 3.1, "tokens": tokens},
                {"model": "claude-sonnet-5-5", "usd": 1.52, "tokens": tokens},
            ],
        },
        "stats": {"wall_s": 348 * 60, "max_parallel": 6, "tool_calls": 402, "checks_run": 31, "events": 40},
        "details": details(tasks),
        "diffs": {"rate-limiter": (DIFF, False)},
        "events": events(),
    }
    return Answers(**(facts | more))
