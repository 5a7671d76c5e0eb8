"""Warns once when four fifths of a cap are spent: of the run's, of the day's.

Separate from the ledger, which enforces the caps; this only tells. Looks after a turn was paid for, at
most once a second, so that an idle daemon does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentcoord.clock import Clock
from agentcoord.config.sections import BudgetSection
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.run_book import RunBook
from agentcoord.domain.events import EventKind
from agentcoord.domain.usage import UsdMicros, usd_micros
from agentcoord.errors import StoreError
from agentcoord.store.budget_ledger import BudgetLedger, CapScope, Totals

WARNED_AT = 0.8
LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Nearly:
    """A cap of which most is spent."""

    scope: CapScope
    spent_usd_micros: UsdMicros
    cap_usd_micros: UsdMicros


def nearly_spent(totals: Totals, budget: BudgetSection) -> Iterator[Nearly]:
    """Yield the caps of which `WARNED_AT` is spent; 0 is no cap."""
    for scope, spent, cap_usd in (
        (CapScope.RUN, totals.run_spent_usd_micros, budget.run_usd),
        (CapScope.DAY, totals.day_spent_usd_micros, budget.day_usd),
    ):
        cap = usd_micros(cap_usd)
        if cap > 0 and spent >= cap * WARNED_AT:
            yield Nearly(scope, spent, cap)


class BudgetWatch:
    """Emits `budget.warned`, once a cap and run or day. `run()` belongs in the daemon's task group."""

    def __init__(
        self, ledger: BudgetLedger, runs: RunBook, budget: BudgetSection, hub: EventHub, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._runs = runs
        self._budget = budget
        self._hub = hub
        self._clock = clock
        self._warned: set[tuple[CapScope, str]] = set()

    async def run(self) -> None:
        """Watch, for ever."""
        with self._hub.subscribed() as subscription:
            while True:
                await subscription.ready.wait()
                subscription.lagged = False
                if any(event.kind is EventKind.TASK_TURN for event in subscription.take_all()):
                    await self.look()
                    await self._clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Compare once; a store that is away is asked again after the next turn."""
        run, day = self._runs.run, self._runs.day()
        try:
            totals = await self._ledger.totals(run=run, day=day)
        except StoreError:
            return
        for nearly in nearly_spent(totals, self._budget):
            of = (nearly.scope, run if nearly.scope is CapScope.RUN else day)
            if of not in self._warned:
                self._warned.add(of)
                self._hub.emit(
                    EventKind.BUDGET_WARNED,
                    scope=str(nearly.scope),
                    spent_usd_micros=nearly.spent_usd_micros,
                    cap_usd_micros=nearly.cap_usd_micros,
                )
