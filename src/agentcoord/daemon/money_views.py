"""What crosses the socket about money: spend, costs by task, worker and model, and the forecast.

Separate from `snapshot` because all of it is made from the ledger's totals. Reads nothing by itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.forecast import ENOUGH, MOST_SAMPLES, Forecast, OpenTask, forecast
from agentcoord.daemon.task_caps import caps_of
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ENDED_STATES, SETTLED_STATES
from agentcoord.domain.task import Task
from agentcoord.domain.usage import Usage, usd
from agentcoord.store.budget_ledger import Spend, Totals

if TYPE_CHECKING:
    from agentcoord.wire.answers import CostRow, CostsView
    from agentcoord.wire.messages import SpendView, TokensView


class Forecasting:
    """Makes the forecast anew when something changed, and not for every reader."""

    def __init__(self, budget: BudgetSection) -> None:
        self._budget = budget
        self._asked: object = None
        self._answer: Forecast | None = None

    def of(
        self, tasks: Sequence[Task], ended: Sequence[Task], of_run: Collection[TaskId], totals: Totals
    ) -> Forecast | None:
        """Return the forecast for the run of `totals`.

        `tasks` are all of the store, `ended` those that `newest_ended` finds among them, `of_run` those of
        these that have cost something in this run.
        """
        own = [task.cost_usd_micros for task in ended if task.id in of_run]
        earlier = [task.cost_usd_micros for task in ended if task.id not in of_run]
        still_open = [
            OpenTask(task.cost_usd_micros, caps_of(task, self._budget).task)
            for task in tasks
            if task.state not in SETTLED_STATES
        ]
        asked = (totals.run_spent_usd_micros, own, earlier, still_open)
        if asked != self._asked:
            self._asked, self._answer = asked, forecast(*asked)
        return self._answer


def newest_ended(tasks: Sequence[Task]) -> list[Task]:
    """Return those that a forecast can rest on, newest first; no more than it looks at."""
    ended = (task for task in tasks if task.state in ENDED_STATES and task.turns)
    return heapq.nlargest(MOST_SAMPLES + ENOUGH, ended, key=lambda task: task.ended_at_ms or 0)


def spend_view(totals: Totals, budget: BudgetSection) -> SpendView:
    return {
        "spent_usd": usd(totals.run_spent_usd_micros),
        "reserved_usd": usd(totals.run_reserved_usd_micros),
        "cap_usd": budget.run_usd or None,
        "day_spent_usd": usd(totals.day_spent_usd_micros),
        "day_cap_usd": budget.day_usd or None,
        "tokens": totals.run_tokens,
        "tokens_cap": budget.run_tokens or None,
        "day_tokens": totals.day_tokens,
        "day_tokens_cap": budget.day_tokens or None,
    }


def costs_view(
    totals: Totals,
    by_task: Mapping[TaskId, Spend],
    budget: BudgetSection,
    at_the_end: Forecast | None,
    *,
    scripted: bool,
) -> CostsView:
    spend = spend_view(totals, budget)
    return {
        "total_usd": spend["spent_usd"],
        "cap_usd": spend["cap_usd"],
        "reserved_usd": spend["reserved_usd"],
        "day_usd": spend["day_spent_usd"],
        "day_cap_usd": spend["day_cap_usd"],
        "total_tokens": spend["tokens"],
        "tokens_cap": spend["tokens_cap"],
        "day_tokens": spend["day_tokens"],
        "day_tokens_cap": spend["day_tokens_cap"],
        "forecast_usd": p50_usd(at_the_end),
        "forecast_p90_usd": p90_usd(at_the_end),
        "forecast_tasks": 0 if at_the_end is None else at_the_end.tasks_of_this_run,
        "forecast_earlier_tasks": 0 if at_the_end is None else at_the_end.tasks_of_earlier_runs,
        "tokens": tokens_view(totals.usage),
        "by_task": [{"id": task, **_cost_row(each)} for task, each in by_task.items()],
        "by_worker": [{"worker": name, **_cost_row(each)} for name, each in totals.by_worker.items()],
        "by_model": [{"model": model, **_cost_row(each)} for model, each in totals.by_model.items()],
        "scripted": scripted,
    }


def tokens_view(usage: Usage) -> TokensView:
    return {
        "input": usage.input_tokens,
        "cache_write": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_read": usage.cache_read_tokens,
        "output": usage.output_tokens,
    }


def p50_usd(at_the_end: Forecast | None) -> float | None:
    return None if at_the_end is None else usd(at_the_end.p50_usd_micros)


def p90_usd(at_the_end: Forecast | None) -> float | None:
    return None if at_the_end is None else usd(at_the_end.p90_usd_micros)


def _cost_row(spend: Spend) -> CostRow:
    return {"usd": usd(spend.usd_micros), "tokens": tokens_view(spend.usage)}
