"""Tasks: what a plan asks for, and what the night has made of it so far.

They are msgspec's structs and not dataclasses: each claim makes three of them, with 37 fields, and a frozen
dataclass pays for each field several times what the whole struct costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from agentcoord.domain.ids import FencingToken, TaskId, WorkerName
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.usage import NO_USAGE, ZERO_USD, Usage, UsdMicros

PRIORITIES = range(1, 6)
"""1 idle, 2 low, 3 normal, 4 high, 5 critical."""


class OnNeedFailed(StrEnum):
    """What becomes of a task when one of its needs ends without a result (failed, cancelled, skipped)."""

    FAIL = "fail"
    """It fails too, with that need as the cause."""
    SKIP = "skip"
    """It is skipped: cancelled, with that need as the cause, which is nobody's failure."""
    RUN = "run"
    """It runs all the same, once each of its needs has ended one way or another."""


class TaskSpec(Struct, frozen=True):
    """One `[[task]]` of a plan: what to do, not how it went."""

    id: TaskId
    title: str
    description: str = ""
    """What and why, for the worker."""
    priority: int = 3
    tags: tuple[str, ...] = ()
    """Sorted and unique; a worker needs all of them."""
    needs: tuple[TaskId, ...] = ()
    writes: tuple[str, ...] = ()
    """Globs of files it expects to write: a hint to the scheduler."""
    check: str = ""
    """A shell command that must exit 0, beside the project's checks."""
    budget_usd_micros: UsdMicros | None = None
    """None: the configuration's `budget.task_usd`."""
    budget_tokens: int | None = None
    """Tokens of all kinds; None: the configuration's `budget.task_tokens`."""
    on_need_failed: OnNeedFailed = OnNeedFailed.FAIL

    @property
    def route(self) -> str:
        """The tag set as one string; tasks with equal routes queue together."""
        return ",".join(self.tags)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON; `budget_tokens` and `on_need_failed` only where they are not the usual."""
        raw: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "priority": self.priority,
            "tags": list(self.tags),
            "needs": list(self.needs),
            "writes": list(self.writes),
            "check": self.check,
            "budget_usd_micros": self.budget_usd_micros,
        }
        if self.budget_tokens is not None:
            raw["budget_tokens"] = self.budget_tokens
        if self.on_need_failed is not OnNeedFailed.FAIL:
            raw["on_need_failed"] = self.on_need_failed
        return raw

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TaskSpec:
        """Read what `to_dict` wrote."""
        budget = raw.get("budget_usd_micros")
        return cls(
            id=TaskId(raw["id"]),
            title=raw["title"],
            description=raw.get("description", ""),
            priority=raw.get("priority", 3),
            tags=tuple(raw.get("tags", ())),
            needs=tuple(TaskId(n) for n in raw.get("needs", ())),
            writes=tuple(raw.get("writes", ())),
            check=raw.get("check", ""),
            budget_usd_micros=None if budget is None else UsdMicros(budget),
            budget_tokens=raw.get("budget_tokens"),
            on_need_failed=OnNeedFailed(raw.get("on_need_failed", OnNeedFailed.FAIL)),
        )


_NONE: Mapping[str, int] = MappingProxyType({})


class Task(Struct, frozen=True):
    """A task as the store knows it now."""

    spec: TaskSpec
    state: TaskState
    attempt: int = 0
    """How many attempts were begun that count (environment faults count none)."""
    worker: WorkerName | None = None
    """Who holds it, or who held it last."""
    token: FencingToken | None = None
    """The fencing token of the newest claim."""
    why: str = ""
    """Why it is not running, or why it ended so; one sentence."""
    open_needs: int = 0
    review: ReviewState = ReviewState.UNREVIEWED
    cost_usd_micros: UsdMicros = ZERO_USD
    usage: Usage = NO_USAGE
    turns: int = 0
    files: tuple[str, ...] = ()
    """Paths that it landed."""
    lines_added: int = 0
    lines_removed: int = 0
    queued_at_ms: int = 0
    started_at_ms: int | None = None
    """First claim."""
    ended_at_ms: int | None = None
    setback: str = ""
    """What last sent it back, aside, or ended it: a `Setback`."""
    setbacks: Mapping[str, int] = _NONE
    """How often each came, since a person last brought it back."""
    earlier_setbacks: Mapping[str, int] = _NONE
    """How often each came before that."""
    due_at_ms: int | None = None
    """When the next try may begin, after a wait; past ones mean nothing."""
    dead_need: TaskId | None = None
    """The need by which it failed or was skipped."""

    @property
    def id(self) -> TaskId:
        return self.spec.id

    @property
    def skipped(self) -> bool:
        """Whether it was cancelled by its own rule, because of a need."""
        return self.state is TaskState.CANCELLED and self.dead_need is not None

    @property
    def all_setbacks(self) -> dict[str, int]:
        """How often each setback ever came, the most frequent first."""
        kinds = self.setbacks.keys() | self.earlier_setbacks.keys()
        sums = {kind: self.setbacks.get(kind, 0) + self.earlier_setbacks.get(kind, 0) for kind in kinds}
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))

    @property
    def word(self) -> str:
        """What people call its state: a done task that was taken back is undone, and some are skipped."""
        if self.skipped:
            return "skipped"
        return str(self.review if self.review is ReviewState.UNDONE else self.state)


class Claim(Struct, frozen=True):
    """The right to work on a task, as long as the lease holds."""

    task: Task
    token: FencingToken
    lease_deadline_ms: int
