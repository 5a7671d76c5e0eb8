"""Runs that broke: the crash is told, and the claim goes back to the queue, however long that takes.

Separate from `fleet`, which keeps workers going.
"""

from __future__ import annotations

import traceback

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.handing_back import set_back, tell_set_back
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.daemon.worker_row import WorkerRow
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.retries import Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerState
from agentcoord.errors import AgentCoordError, LeaseLostError, StoreUnavailableError

ASK_AGAIN_S = 1.0
STORE_AWAY = "the store is away"
_TOLD_BY_OTHERS = frozenset(
    {Setback.LEASE_EXPIRED, Setback.ABSENT, Setback.RESTARTED, Setback.CANCELLED, Setback.ASKED}
)
"""Whoever takes a task out of a run's hands for one of these says so."""

log = structlog.get_logger("fleet")


class BrokenRuns:
    """Gives claims back whose runs broke."""

    def __init__(self, shop: Workshop, clock: Clock) -> None:
        self._shop = shop
        self._clock = clock
        self.owed: dict[FencingToken, Claim] = {}
        """Claims of runs that broke while the store was away: their leases are kept until it is back."""

    async def give_back(self, row: WorkerRow, claim: Claim, error: Exception) -> None:
        """Give a broken run's claim back, if need be when the store is there again."""
        self.owed[claim.token] = claim
        in_doubt = isinstance(error, StoreUnavailableError)
        try:
            while not await to_its_end(self._given_back(row, claim, error, in_doubt=in_doubt)):
                in_doubt = True
                self._shop.board.set_own_state(row, WorkerState.WAITING, STORE_AWAY)
                await self._clock.sleep(ASK_AGAIN_S)
        finally:
            del self.owed[claim.token]

    async def _given_back(
        self, row: WorkerRow, claim: Claim, error: Exception, *, in_doubt: bool = False
    ) -> bool:
        """Queue the task again, the attempt counted, or fail it when they are spent.

        False when the store is away. What has landed already never fails: the next claim finds it in
        the journal and says done. `in_doubt`: it may have been done before, and the answer was lost.
        """
        task, shop = claim.task, self._shop
        store_away = isinstance(error, StoreUnavailableError)
        why = f"the store was away: {error}" if store_away else f"the worker crashed: {error!r}"
        setback = Setback.STORE_AWAY if store_away else Setback.CRASHED
        try:
            if await shop.lander.landed(task.id, since_ms=task.queued_at_ms) is not None:
                verdict = Verdict(TaskState.QUEUED, counts_attempt=False)
            else:
                verdict = shop.retries.decide(task, setback)
            told = verdict.told(why)
            try:
                await set_back(shop, claim, setback, verdict, told, worker=row.spec.name)
            except LeaseLostError:  # It ended or moved on before.
                if in_doubt:
                    await self._tell_own_end(row, claim)
        except StoreUnavailableError:
            return False
        except (AgentCoordError, OSError) as failure:
            # The lease runs out by itself, and the reaper queues the task again.
            log.warning("give_back_failed", task=task.id, error=str(failure))
        return True

    async def _tell_own_end(self, row: WorkerRow, claim: Claim) -> None:
        """Tell how the run ended its claim, as the store has it: the answer was lost, nobody has told it."""
        for end in reversed(await self._shop.store.queue.history(claim.task.id)):
            if end.token == claim.token:
                if end.setback not in _TOLD_BY_OTHERS:
                    verdict = Verdict(TaskState(end.to), counts_attempt=False)
                    setback, worker = Setback(end.setback), row.spec.name
                    tell_set_back(self._shop.hub, claim.task.id, setback, verdict, end.why, worker=worker)
                return

    def tell_crash(self, row: WorkerRow, error: Exception) -> None:
        """Tell clients in a line, and the log with its traceback."""
        self._shop.hub.emit(
            EventKind.WORKER_CRASHED, worker=row.spec.name, error=f"{type(error).__name__}: {error}"
        )
        log.error(
            "worker_crashed", worker=row.spec.name, traceback="".join(traceback.format_exception(error))
        )
