"""What happened: past facts, numbered, for the dashboard, the report and the log.

Events carry facts, not instructions. They are appended to the store's bounded stream by
the daemon alone; `(epoch, seq)` lets a reader resume without a gap or a duplicate.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct, field


class EventKind(StrEnum):
    """The closed list of facts; `data` holds the particulars."""

    DAEMON_STARTED = "daemon.started"
    """`pid`, `sandbox`."""
    DAEMON_STOPPING = "daemon.stopping"
    """`now`, `restarting`, and `why` when it stops by itself."""
    RUN_PAUSED = "run.paused"
    RUN_RESUMED = "run.resumed"
    PLAN_LOADED = "plan.loaded"
    """`run`, `added`, `unchanged`."""
    BASELINE_ENDED = "baseline.ended"
    """`ok`, `checks`."""
    TASK_QUEUED = "task.queued"
    """`why`; after a lost lease `lease_lost` and `setback`."""
    TASK_CLAIMED = "task.claimed"
    """`token`, `attempt`, `resumed`, `model`, `effort`."""
    TASK_TURN = "task.turn"
    """A model turn ended: `turn`, `model`, `stop_reason`, `usage`, `cost_usd_micros`, `ms` with its waits."""
    TASK_TOOL = "task.tool"
    """A tool call ended: `tool`, `summary`, `is_error`, `ms`."""
    TASK_CHECKING = "task.checking"
    TASK_CHECKED = "task.checked"
    """`check`, `exit_code`, `ms`, `ok`, `excused`, and tests: `new_failures`, `old_failures`, `flaky`.
    `on_top_of`: how many changes of others, which may yet not land, were in the tree."""
    TASK_LANDING = "task.landing"
    TASK_DONE = "task.done"
    """`files`, `lines_added`, `lines_removed`, `cost_usd_micros`, `time_spent_ms` by what it was spent on."""
    TASK_REQUEUED = "task.requeued"
    """`why`, `setback`, and `wait_ms` when it waits before the next try."""
    TASK_PARKED = "task.parked"
    """`why`, `setback`."""
    TASK_FAILED = "task.failed"
    """`why`, and `setback` unless a need failed."""
    TASK_CANCELLED = "task.cancelled"
    """`why`, and `skipped` when its own rule for a failed need ended it."""
    TASK_UNDONE = "task.undone"
    TASK_ACCEPTED = "task.accepted"
    TASK_SUBSET_PROVEN = "task.subset_proven"
    """The checks ran on a landed task without some hunks: `hunks` (how many), `state`, `why`."""
    TASK_TRIMMED = "task.trimmed"
    """Hunks were taken out of the tree at a person's word: `hunks`, `files`, `state` of their proof."""
    TASK_REJECTED = "task.rejected"
    """Taken back and asked for again: `reason`, `restored`, `merged`, `despite`."""
    QUESTION_ASKED = "question.asked"
    """`question`, `default`."""
    LOCK_TAKEN = "lock.taken"
    """`path`."""
    LOCK_WAITED = "lock.waited"
    """`path`, `holder`, `outcome`, `ms`."""
    LOCKS_RELEASED = "locks.released"
    """`paths`."""
    WORKER_STARTED = "worker.started"
    WORKER_STATE = "worker.state"
    """`state`, `doing`."""
    WORKER_CRASHED = "worker.crashed"
    """`error`."""
    WORKER_STOPPED = "worker.stopped"
    RATE_LIMITED = "rate.limited"
    """`model`, `wait_s`, `why`."""
    BUDGET_WARNED = "budget.warned"
    """`scope`, and `spent_usd_micros` and `cap_usd_micros`, or `spent_tokens` and `cap_tokens`."""
    BUDGET_REACHED = "budget.reached"
    """`scope`, and `unit`: `usd_micros` or `tokens`."""
    CLEANED = "cleaned"
    """`locks`, `leases`, `reservations`, `workspaces`."""
    ERROR = "error"
    """`error`, `where`."""


class Event(Struct, frozen=True):
    """One fact. Not yet stored while `seq` is 0."""

    kind: EventKind
    at_ms: int
    task: str | None = None
    worker: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    """Its number in the log: starts at 1 and has no holes within an epoch, but of what a fail-over lost."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "at_ms": self.at_ms,
            "task": self.task,
            "worker": self.worker,
            "data": self.data,
            "seq": self.seq,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Event:
        """Read what `to_dict` wrote."""
        return cls(
            kind=EventKind(raw["kind"]),
            at_ms=raw["at_ms"],
            task=raw.get("task"),
            worker=raw.get("worker"),
            data=raw.get("data", {}),
            seq=raw.get("seq", 0),
        )
