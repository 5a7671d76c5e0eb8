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
    """Spent."""
    tokens: TokensView
    """Used, by kind."""


class TaskCost(CostRow):
    id: str
    """The task."""


class WorkerCost(CostRow):
    worker: str
    """Its name."""


class ModelCost(CostRow):
    model: str
    """Its name."""


class CostsView(TypedDict):
    total_usd: float
    """Spent in the run."""
    cap_usd: float | None
    """Of the run; null: none."""
    reserved_usd: float
    """The worst case of the calls that are under way."""
    day_usd: float
    """Spent today, in all runs."""
    day_cap_usd: float | None
    """Of a day; null: none."""
    total_tokens: int
    """Of all kinds."""
    tokens_cap: int | None
    """Of the run; null: none."""
    day_tokens: int
    """Today, in all runs, of all kinds."""
    day_tokens_cap: int | None
    """Of a day; null: none."""
    forecast_usd: float | None
    """Spend at the end of the run with a chance of one half; None while too few tasks have ended."""
    forecast_p90_usd: float | None
    """The same, with a chance of nine in ten."""
    forecast_tasks: int
    """Ended tasks of this run that the forecast rests on."""
    forecast_earlier_tasks: int
    """The same, of earlier runs."""
    tokens: TokensView
    """Of the run, by kind."""
    by_task: list[TaskCost]
    """One a task that cost something."""
    by_worker: list[WorkerCost]
    """One a worker."""
    by_model: list[ModelCost]
    """One a model."""
    scripted: bool
    """Whether the model was the rehearsal server: nothing cost money."""


class SuccessView(TypedDict):
    """Attempts of a role or a model; those that a person or the environment ended are not counted."""

    name: str
    """The role's or the model's."""
    landed: int
    """Attempts that landed."""
    failed: int
    """Attempts that did not."""


class StatsView(TypedDict):
    run: str
    """Names the run."""
    wall_s: float
    """From the first task's begin to the last one's end, or until now; in seconds."""
    tasks_per_hour: float
    """Done."""
    tasks_done: int
    """How many."""
    tasks_failed: int
    """How many."""
    max_parallel: int
    """The most workers that were busy at once."""
    turns: int
    """Of the model."""
    tool_calls: int
    """That the model made."""
    checks_run: int
    """Check runs of tasks."""
    check_s: float
    """Seconds that checks took, all together."""
    landings: int
    """Changes that landed."""
    merges: int
    """Of these, such as were merged with what had landed meanwhile."""
    files: int
    """That tasks changed."""
    lines_added: int
    """By all tasks."""
    lines_removed: int
    """By all tasks."""
    lock_waits: int
    """How often a task waited for a file."""
    rate_limit_waits: int
    """How often a call waited for the provider's limits."""
    events: int
    """The newest event's `seq`."""
    by_role: list[SuccessView]
    """One a role."""
    by_model: list[SuccessView]
    """One a model."""
    loop_lag_ms_max: float
    """The longest that the daemon's event loop was held up, in milliseconds."""
    memory_mb: float
    """The most that the daemon ever held."""


class LoadView(TypedDict):
    run: str
    """Names the run that the tasks belong to."""
    added: list[str]
    """Ids of new tasks."""
    unchanged: list[str]
    """Ids of tasks that were there in the same words."""
    changed: list[str]
    """Ids of tasks that got new words."""


class DraftView(TypedDict):
    text: str
    """The plan, in TOML."""
    tasks: int
    """How many it has."""
    estimate_usd: float
    """What the model expects all tasks together to cost."""
    cost_usd: float
    """Of the draft itself."""
    model: str
    """Who wrote it."""


class CleanupView(TypedDict):
    locks: int
    """Locks of files that nobody held any more."""
    leases: int
    """Tasks of workers that are gone."""
    reservations: int
    """Money that no call holds."""
    workspaces: int
    """Private copies removed."""
    keys: int
    """Keys removed from the store."""
    landings: int
    """Of accepted work that can be undone no more (`undo.keep_days`)."""


class UndoView(TypedDict):
    id: str
    """The task."""
    restored: list[str]
    """Files put back exactly as before it landed; one that it created is gone."""
    merged: list[str]
    """Files that were edited since: only its part was taken out."""
    gone: list[str]
    """Files that you removed or renamed since: there was nothing to take its part out of."""
    absent: list[str]
    """Files in which nothing of it was. Should it come back, from a stash or a branch, undo it again."""
    conflicts: list[str]
    """Files that stand in the way; nothing was changed then."""
    patch: str
    """With conflicts: the reverse of what landed, for a person to apply; at most 200,000 characters."""


class SubsetView(TypedDict):
    """A landed task without some of its hunks (`domain.hunks` names them)."""

    id: str
    """The task."""
    hunks: list[str]
    """The keys of those left out."""
    state: str
    """`running`, `green`, `red`, or `broken`: it could not be tried."""
    checks: list[CheckView]
    """What the checks said, once they ran."""
    why: str
    """What went wrong; empty when nothing did."""
    files: list[str]
    """Those that change."""


class RejectView(UndoView):
    """With conflicts nothing happened: the task stays as it is."""

    state: str
    """The task's, afterwards."""
    spent_usd: float
    """What it has cost so far; counts against its cap."""
    cap_usd: float | None
    """Its cap; null: none."""


class BlamedLineView(TypedDict):
    task: str | None
    """None: no task wrote it."""
    text: str
    """At most 500 characters."""


class BlameView(TypedDict):
    path: str
    """As it was asked for."""
    lines: list[BlamedLineView]
    """In order, from `offset` on."""
    next_offset: int | None
    """None at the end."""


class Piece(TypedDict):
    text: str
    """This piece of the diff."""
    next_offset: int | None
    """Where the next piece begins; null at the end."""
    runs_here: list[str]
    """Changed files that run on the user's machine or in their CI; at most 2,000."""
    whole: bool
    """Whether it is what `git apply` makes the same bytes of: it was asked for, and is not too large."""
