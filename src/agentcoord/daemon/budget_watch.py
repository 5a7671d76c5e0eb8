"""Warns once when four fifths of a cap are spent: of the run's, of the day's, of a task's.

Separate from the ledger, which enforces the caps; this only tells. Looks after a turn was paid for, at
most once a second, so that an idle daemon does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentcoord.clock import Clock
from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.task_caps import caps_of
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Task
from agentcoord.domain.usage import CapUnit, usd_micros
from agentcoord.errors import StoreError
from agentcoord.store.budget_ledger import CapScope, Totals
from agentcoord.store.connection import Store
from agentcoord.values import dataclass

WARNED_AT = 0.8
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Nearly:
    """A cap of which most is spent."""

    scope: CapScope
    of: str
    """The run, the task or the day."""
    unit: CapUnit
    spent: int
    cap: int


def nearly_spent(totals: Totals, budget: BudgetSection, *, run: str, day: str) -> Iterator[Nearly]:
    """Yield the caps of a run and a day of which `WARNED_AT` is spent."""
    dollars, tokens = CapUnit.USD_MICROS, CapUnit.TOKENS
    yield from _worth_warning(
        (
            Nearly(CapScope.RUN, run, dollars, totals.run_spent_usd_micros, usd_micros(budget.run_usd)),
            Nearly(CapScope.DAY, day, dollars, totals.day_spent_usd_micros, usd_micros(budget.day_usd)),
            Nearly(CapScope.RUN, run, tokens, totals.run_tokens, budget.run_tokens),
            Nearly(CapScope.DAY, day, tokens, totals.day_tokens, budget.day_tokens),
        )
    )


def nearly_spent_by(task: Task, spent: Mapping[CapUnit, int], budget: BudgetSection) -> Iterator[Nearly]:
    """Yield the caps of a task of which `WARNED_AT` is spent."""
    caps = caps_of(task, budget)
    in_units = {CapUnit.USD_MICROS: caps.task or 0, CapUnit.TOKENS: caps.task_tokens or 0}
    yield from _worth_warning(
        Nearly(CapScope.TASK, task.id, unit, spent[unit], cap) for unit, cap in in_units.items()
    )


def _worth_warning(caps: Iterable[Nearly]) -> Iterator[Nearly]:
    """Those that are nearly spent; 0 is no cap."""
    return (each for each in caps if each.cap > 0 and each.spent >= each.cap * WARNED_AT)


class BudgetWatch:
    """Emits `budget.warned`, once a cap and what it is on. `run()` belongs in the daemon's task group."""

    def __init__(
        self, store: Store, runs: RunBook, budget: BudgetSection, hub: EventHub, clock: Clock
    ) -> None:
        self._store = store
        self._runs = runs
        self._budget = budget
        self._hub = hub
        self._clock = clock
        self._warned: set[tuple[CapScope, str, CapUnit]] = set()

    async def run(self) -> None:
        """Watch, for ever."""
        with self._hub.subscribed() as subscription:
            while True:
                await subscription.ready.wait()
                subscription.lagged = False
                paid = [e.task for e in subscription.take_all() if e.kind is EventKind.TASK_TURN]
                if paid:
                    await self.look({TaskId(task) for task in paid if task is not None})
                    await self._clock.sleep(LOOK_EVERY_S)

    async def look(self, tasks: Iterable[TaskId]) -> None:
        """Compare once, the caps of `tasks` too; a store that is away is asked again after the next turn."""
        run, day = self._runs.run, self._runs.day()
        try:
            totals = await self._store.ledger.totals(run=run, day=day)
            found = list(nearly_spent(totals, self._budget, run=run, day=day))
            for task_id in tasks:
                if (task := await self._store.queue.get(task_id)) is not None:
                    spent = await self._store.ledger.task_spent(task_id)
                    found += nearly_spent_by(task, spent, self._budget)
        except StoreError:
            return
        for nearly in found:
            self._warn_once(nearly)

    def _warn_once(self, nearly: Nearly) -> None:
        key = (nearly.scope, nearly.of, nearly.unit)
        if key in self._warned:
            return
        self._warned.add(key)
        data: dict[str, Any] = {f"spent_{nearly.unit}": nearly.spent, f"cap_{nearly.unit}": nearly.cap}
        task = TaskId(nearly.of) if nearly.scope is CapScope.TASK else None
        self._hub.emit(EventKind.BUDGET_WARNED, task=task, scope=str(nearly.scope), **data)
