"""When most of a cap is spent: of which, and of what."""

from __future__ import annotations

from dataclasses import replace

from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.budget_watch import Nearly, nearly_spent, nearly_spent_by
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.domain.usage import NO_USAGE, CapUnit, UsdMicros
from agentcoord.store.budget_ledger import CapScope, Totals

NONE = Totals(UsdMicros(0), UsdMicros(0), UsdMicros(0), UsdMicros(0), NO_USAGE, {})
DOLLARS, TOKENS = CapUnit.USD_MICROS, CapUnit.TOKENS


def found(totals: Totals, budget: BudgetSection) -> list[tuple[CapScope, str, CapUnit]]:
    return [(each.scope, each.of, each.unit) for each in nearly_spent(totals, budget, run="r", day="d")]


def test_four_fifths_of_a_cap_on_dollars_are_worth_a_warning() -> None:
    budget = BudgetSection(run_usd=1.0, day_usd=10.0)
    spent = replace(NONE, run_spent_usd_micros=UsdMicros(799_999), day_spent_usd_micros=UsdMicros(7_999_999))
    assert found(spent, budget) == []
    assert found(replace(NONE, run_spent_usd_micros=UsdMicros(800_000)), budget) == [
        (CapScope.RUN, "r", DOLLARS)
    ]
    assert found(replace(NONE, day_spent_usd_micros=UsdMicros(9_000_000)), budget) == [
        (CapScope.DAY, "d", DOLLARS)
    ]


def test_four_fifths_of_a_cap_on_tokens_are_worth_a_warning() -> None:
    budget = BudgetSection(run_tokens=1_000, day_tokens=5_000)
    assert found(replace(NONE, run_tokens=799, day_tokens=3_999), budget) == []
    assert found(replace(NONE, run_tokens=800, day_tokens=4_000), budget) == [
        (CapScope.RUN, "r", TOKENS),
        (CapScope.DAY, "d", TOKENS),
    ]


def test_no_cap_is_never_nearly_spent() -> None:
    many = UsdMicros(10**9)
    spent = replace(NONE, run_spent_usd_micros=many, day_spent_usd_micros=many, run_tokens=10**9)
    assert found(spent, BudgetSection(run_usd=0, day_usd=0)) == []


def test_a_tasks_cap_is_its_own_or_the_settings() -> None:
    def warned(
        budget_usd_micros: int | None, spent: int, tokens: int = 0, own_tokens: int | None = None
    ) -> list[Nearly]:
        own = None if budget_usd_micros is None else UsdMicros(budget_usd_micros)
        spec = TaskSpec(id=TaskId("t"), title="T", budget_usd_micros=own, budget_tokens=own_tokens)
        task = Task(spec=spec, state=TaskState.RUNNING)
        budget = BudgetSection(task_usd=1.0, task_tokens=100)
        return list(nearly_spent_by(task, {DOLLARS: spent, TOKENS: tokens}, budget))

    assert warned(None, 799_999, 79) == []
    assert warned(None, 800_000) == [Nearly(CapScope.TASK, "t", DOLLARS, 800_000, 1_000_000)]
    assert warned(100_000, 80_000) == [Nearly(CapScope.TASK, "t", DOLLARS, 80_000, 100_000)]
    assert warned(100_000, 0, 80) == [Nearly(CapScope.TASK, "t", TOKENS, 80, 100)]
    assert warned(100_000, 0, 80, 10) == [Nearly(CapScope.TASK, "t", TOKENS, 80, 10)]
