"""The ledger as the model's gateway uses it, over short absences of the store.

Separate because the ledger itself never repeats a call, and a turn that was paid for must not be lost
because the store was being started again when it was to be booked. Every operation here may be repeated:
a reservation is made once, settled once and released once, however often that is asked. Deliberately
absent: long absences; the gateway gives its bookings ten seconds, and then the turn fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from agentcoord.clock import Clock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import StoreUnavailableError
from agentcoord.store.budget_ledger import BudgetLedger, Caps, Refusal
from agentcoord.values import dataclass

PATIENCE_S = 8.0
PAUSE_S = 0.2

T = TypeVar("T")

log = structlog.get_logger("ledger")


@dataclass(frozen=True, slots=True)
class PatientLedger:
    """Repeats what the store was not there for. Satisfies `llm.gateway.LedgerPort`."""

    ledger: BudgetLedger
    clock: Clock

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        tokens: int,
        caps: Caps,
        worker: str,
        sent_amount: UsdMicros,
        sent_tokens: int,
    ) -> Refusal | None:
        return await self._repeated(
            lambda: self.ledger.reserve(
                reservation,
                run=run,
                task=task,
                day=day,
                amount=amount,
                tokens=tokens,
                caps=caps,
                worker=worker,
                sent_amount=sent_amount,
                sent_tokens=sent_tokens,
            )
        )

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> None:
        await self._repeated(lambda: self.ledger.settle(reservation, actual=actual, usage=usage, model=model))

    async def release(self, reservation: str) -> None:
        await self._repeated(lambda: self.ledger.release(reservation))

    async def mark_started(self, reservation: str) -> None:
        await self._repeated(lambda: self.ledger.mark_started(reservation))

    async def _repeated(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while the store is away. Raises StoreUnavailableError after 8 s of that."""
        give_up_at = self.clock.monotonic() + PATIENCE_S
        while True:
            try:
                return await operation()
            except StoreUnavailableError as error:
                if self.clock.monotonic() >= give_up_at:
                    raise
                log.info("store_away", error=error.message)
            await self.clock.sleep(PAUSE_S)
