"""The baseline: the project's checks on the untouched tree, once a run.

So that a red test is later known to be ours or to have been there before. It runs beside the
workers' first turns, and never holds them up; that it failed is told, and no worker's business. A
check that cannot even run proves nothing of anybody: then the run pauses, and who has claimed to be
finished is handed back without a counted attempt (`attempt_ends`).
"""

from __future__ import annotations

import asyncio

from agentcoord.daemon.pausing import pause
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.errors import AgentCoordError, ReviewError, StoreError
from agentcoord.review.checks import BASELINE, CheckReport
from agentcoord.review.unrunnable import why_unrunnable

STORE_AWAY_S = 5.0
_SETTING = "baseline_run"


class BaselineKeeper:
    """Runs the baseline when a run begins, and remembers it across restarts."""

    def __init__(self, shop: Workshop, runs: RunBook) -> None:
        self._shop = shop
        self._runs = runs
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Ask for a baseline of the current run, if it has none; nothing is proven until it is settled."""
        self._shop.prover.expect_baseline()
        self._wanted.set()

    async def run(self) -> None:
        """Serve requests, for ever."""
        shop = self._shop
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if shop.settings.checks.commands:
                    await self._take()
            except (AgentCoordError, OSError) as error:
                shop.hub.emit(EventKind.ERROR, where="baseline", error=str(error))
                if isinstance(error, StoreError):
                    self._wanted.set()
                    await shop.clock.sleep(STORE_AWAY_S)
            finally:
                shop.prover.settle_baseline()
            shop.board.touch()

    async def _take(self) -> None:
        shop, run = self._shop, self._runs.run
        if await shop.store.get_setting(_SETTING) == run:
            stored = await self._stored()
            # After a start with other checks it says nothing of them.
            commands = {} if stored is None else {each.name: each.command for each in stored.outcomes}
            same = commands == shop.settings.checks.commands
            if stored is not None and same and not why_unrunnable(stored):
                known = await asyncio.to_thread(shop.check_book.stored_known)
                shop.prover.adopt_baseline(stored, known)
                return
        report = await shop.prover.run_baseline()
        if why := why_unrunnable(report):
            await pause(shop, why)
        else:  # Else it is made again at the next start, or when the run goes on: it may be mended by then.
            await shop.store.set_setting(_SETTING, run)

    async def _stored(self) -> CheckReport | None:
        try:
            return await asyncio.to_thread(self._shop.check_book.stored, BASELINE)
        except (ReviewError, OSError):
            return None  # Damaged: it is made again.
