"""What a run will have cost: from what is known, and only from that."""

from __future__ import annotations

import random

import pytest

from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.forecast import Forecast, OpenTask, forecast
from agentcoord.daemon.money_views import Forecasting, newest_ended
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.store.budget_ledger import Totals

CENT = 10_000


def made(*arguments: object) -> Forecast:
    found = forecast(*arguments)  # type: ignore[arg-type]  # each test names what it gives
    assert found is not None
    return found


def test_nothing_is_foretold_from_fewer_than_three_tasks() -> None:
    assert forecast(0, [CENT], [CENT], [OpenTask()]) is None
    assert forecast(0, [CENT], [CENT, CENT], [OpenTask()]) is not None


def test_a_run_without_open_tasks_ends_at_what_it_has_spent() -> None:
    found = made(7 * CENT, [CENT, 2 * CENT, 4 * CENT], [], [])
    assert (found.p50_usd_micros, found.p90_usd_micros) == (7 * CENT, 7 * CENT)


def test_tasks_that_all_cost_the_same_leave_no_doubt() -> None:
    found = made(10 * CENT, [5 * CENT] * 4, [], [OpenTask(), OpenTask(2 * CENT)])
    assert (found.p50_usd_micros, found.p90_usd_micros) == (18 * CENT, 18 * CENT)


def test_the_ninety_lies_above_the_fifty_and_both_between_the_extremes() -> None:
    found = made(0, [CENT, 2 * CENT, 3 * CENT, 30 * CENT], [], [OpenTask()] * 3)
    assert 3 * CENT < found.p50_usd_micros < found.p90_usd_micros <= 90 * CENT


def test_earlier_runs_help_only_where_this_one_has_too_few() -> None:
    few = made(0, [CENT] * 2, [9 * CENT] * 20, [OpenTask()])
    assert (few.tasks_of_this_run, few.tasks_of_earlier_runs) == (2, 6)
    enough = made(0, [CENT] * 8, [9 * CENT] * 20, [OpenTask()])
    assert (enough.tasks_of_this_run, enough.tasks_of_earlier_runs) == (8, 0)
    assert enough.p90_usd_micros == CENT


def test_no_task_is_expected_to_pass_its_own_cap() -> None:
    found = made(0, [50 * CENT] * 5, [], [OpenTask(cap_usd_micros=10 * CENT)] * 2)
    assert found.p90_usd_micros == 20 * CENT


def test_a_task_that_has_cost_more_than_any_is_counted_as_if_it_began_anew() -> None:
    found = made(20 * CENT, [3 * CENT] * 5, [], [OpenTask(20 * CENT)])
    assert found.p50_usd_micros == 23 * CENT


def test_the_same_state_gives_the_same_forecast() -> None:
    state = (CENT, [CENT, 3 * CENT, 8 * CENT], [2 * CENT], [OpenTask(), OpenTask(CENT)])
    assert forecast(*state) == forecast(*state)


def test_very_many_open_tasks_cost_about_what_as_many_ended_ones_did() -> None:
    sample = [CENT, 2 * CENT, 3 * CENT, 2 * CENT] * 20
    found = made(0, sample, [], [OpenTask()] * 5_000)
    assert found.p50_usd_micros == pytest.approx(10_000 * CENT, rel=0.1)
    assert found.p50_usd_micros < found.p90_usd_micros < 11_500 * CENT


@pytest.mark.parametrize(("ended_count", "open_count"), [(4, 6), (10, 20), (10, 2)])
def test_what_happens_lies_below_the_fifty_and_the_ninety_about_as_often_as_they_say(
    ended_count: int, open_count: int
) -> None:
    dice = random.Random(17)

    def cost() -> int:
        return round(dice.lognormvariate(2.0, 0.8) * CENT)

    nights, below_fifty, below_ninety = 200, 0, 0
    for _ in range(nights):
        ended = [cost() for _ in range(ended_count)]
        end = sum(ended) + sum(cost() for _ in range(open_count))
        found = made(sum(ended), ended, [], [OpenTask()] * open_count)
        below_fifty += end <= found.p50_usd_micros
        below_ninety += end <= found.p90_usd_micros
    assert 0.35 * nights < below_fifty < 0.65 * nights
    assert 0.70 * nights < below_ninety <= 0.98 * nights


def test_tasks_that_spent_in_this_run_are_its_own_and_the_others_are_history() -> None:
    def task(name: str, state: TaskState, cost: int, *, turns: int = 5, ended_at_ms: int = 1) -> Task:
        spec = TaskSpec(id=TaskId(name), title=name)
        money = UsdMicros(cost)
        return Task(spec=spec, state=state, cost_usd_micros=money, turns=turns, ended_at_ms=ended_at_ms)

    tasks = [
        task("new-1", TaskState.DONE, 4 * CENT),
        task("new-2", TaskState.FAILED, 4 * CENT),
        task("never-begun", TaskState.FAILED, 0, turns=0),
        task("open", TaskState.RUNNING, CENT),
        task("waits-for-you", TaskState.PARKED, 4 * CENT),
        *(task(f"old-{n}", TaskState.DONE, 4 * CENT) for n in range(9)),
    ]
    totals = Totals(UsdMicros(9 * CENT), UsdMicros(0), UsdMicros(0), UsdMicros(0), NO_USAGE, {})
    of_run = {TaskId(name) for name in ("new-1", "new-2", "open")}
    found = Forecasting(BudgetSection()).of(tasks, newest_ended(tasks), of_run, totals)
    assert found == Forecast(UsdMicros(12 * CENT), UsdMicros(12 * CENT), 2, 6)
