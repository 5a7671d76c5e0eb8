"""The caps that a task's calls are held under, by its own words and the settings."""

from __future__ import annotations

from agentcoord.config.sections import BudgetSection
from agentcoord.domain.task import Task
from agentcoord.domain.usage import UsdMicros, usd_micros
from agentcoord.store.budget_ledger import Caps


def caps_of(task: Task, budget: BudgetSection) -> Caps:
    """The caps that a task's calls are held under; None where there is none."""
    own, own_tokens = task.spec.budget_usd_micros, task.spec.budget_tokens
    return Caps(
        run=_cap(budget.run_usd),
        task=own if own is not None else _cap(budget.task_usd),
        day=_cap(budget.day_usd),
        run_tokens=budget.run_tokens or None,
        task_tokens=own_tokens if own_tokens is not None else budget.task_tokens or None,
        day_tokens=budget.day_tokens or None,
    )


def _cap(dollars: float) -> UsdMicros | None:
    return usd_micros(dollars) if dollars > 0 else None
