"""The shapes that answer a single question, or tell what became of an order: costs, loads, verdicts.

Separate from `messages` because nobody is told of these unasked.
"""

from __future__ import annotations

from typing import TypedDict

from agentcoord.wire.messages import TokensView
from agentcoord.wire.task_views import CheckView


class CostRow(TypedDict):
    """What one task, one worker or one model cost in the run."""

    usd: float
    tokens: TokensView


class TaskCost(CostRow):
    id: str


class WorkerCost(CostRow):
    worker: str


class ModelCost(CostRow):
    model: str


class CostsView(TypedDict):
    total_usd: float
    cap_usd: float | None
    reserved_usd: float
    day_usd: float
    day_cap_usd: float | None
    total_tokens: int
    """Of all kinds."""
    tokens_cap: int | None
    day_tokens: int
    day_tokens_cap: int | None
    forecast_usd: float | None
    """Spend at the end of the run with a chance of one half; None while too few tasks have ended."""
    forecast_p90_usd: float | None
    """The same, with a chance of nine in ten."""
    forecast_tasks: int
    """Ended tasks of this run that the forecast rests on."""
    forecast_earlier_tasks: int
    """The same, of earlier runs."""
    tokens: TokensView
    by_task: list[TaskCost]
    by_worker: list[WorkerCost]
    by_model: list[ModelCost]
    scripted: bool


class SuccessView(TypedDict):
    """Attempts of a role or a model; those that a person or the environment ended are not counted."""

    name: str
    landed: int
    failed: int


class StatsView(TypedDict):
    run: str
    wall_s: float
    tasks_per_hour: float
    tasks_done: int
    tasks_failed: int
    max_parallel: int
    turns: int
    tool_calls: int
    checks_run: int
    check_s: float
    landings: int
    merges: int
    files: int
    lines_added: int
    lines_removed: int
    lock_waits: int
    rate_limit_waits: int
    events: int
    by_role: list[SuccessView]
    by_model: list[SuccessView]
    loop_lag_ms_max: float
    memory_mb: float


class LoadView(TypedDict):
    run: str
    added: list[str]
    unchanged: list[str]
    changed: list[str]


class DraftView(TypedDict):
    text: str
    """The plan, in TOML."""
    tasks: int
    estimate_usd: float
    """What the model expects all tasks together to cost."""
    cost_usd: float
    """Of the draft itself."""
    model: str


class CleanupView(TypedDict):
    locks: int
    leases: int
    reservations: int
    workspaces: int
    keys: int
    landings: int
    """Of accepted work that can be undone no more (`undo.keep_days`)."""


class UndoView(TypedDict):
    id: str
    restored: list[str]
    merged: list[str]
    conflicts: list[str]
    patch: str


class SubsetView(TypedDict):
    """A landed task without some of its hunks (`domain.hunks` names them)."""

    id: str
    hunks: list[str]
    state: str
    """`running`, `green`, `red`, or `broken`: it could not be tried."""
    checks: list[CheckView]
    why: str
    files: list[str]
    """Those that change."""


class RejectView(UndoView):
    """With conflicts nothing happened: the task stays as it is."""

    state: str
    """The task's, afterwards."""
    spent_usd: float
    """What it has cost so far; counts against its cap."""
    cap_usd: float | None


class BlamedLineView(TypedDict):
    task: str | None
    """None: no task wrote it."""
    text: str
    """At most 500 characters."""


class BlameView(TypedDict):
    path: str
    lines: list[BlamedLineView]
    next_offset: int | None
    """None at the end."""


class Piece(TypedDict):
    text: str
    next_offset: int | None
    """None at the end."""
