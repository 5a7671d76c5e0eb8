"""On whose account a call is made, and how a call is fitted under the caps of that account.

Separate from the gateway because it makes no calls: it asks the ledger, shrinks `max_tokens`, and says
whether the room under a cap is gone for good or only set aside. Deliberately absent: what the caps are
(the ledger is handed them as they came) and where the ledger lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import CapUnit, Usage, UsdMicros
from agentcoord.llm.api import SpendRefused, TurnRequest
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.prompt_size import PromptSize
from agentcoord.values import dataclass

MIN_MAX_TOKENS = 1_024
"""A call that may answer with less is not worth making: it is refused instead."""
_MAX_SHRINKS = 16
_COMFORTABLE_MAX_TOKENS = 8_192
"""Below this a call often ends in the middle of its answer: waiting for room comes first."""


class LedgerRefusal(Protocol):
    """Why a reservation was refused: the cap it would have passed. Amounts are in `unit`."""

    @property
    def scope(self) -> str: ...
    @property
    def unit(self) -> CapUnit: ...
    @property
    def cap(self) -> int: ...
    @property
    def spent(self) -> int: ...
    @property
    def reserved(self) -> int: ...


class LedgerPort(Protocol):
    """Where money and tokens are reserved and settled, atomically for everybody. Operations on a
    reservation that is not there do nothing."""

    async def reserve(
        self,
        reservation: str,
        *,
        run: str,
        task: TaskId,
        day: str,
        amount: UsdMicros,
        tokens: int,
        caps: Any,
        worker: str,
        sent_amount: UsdMicros,
        sent_tokens: int,
    ) -> LedgerRefusal | None:
        """Set `amount` and `tokens` aside under every cap, or refuse and change nothing.

        If nobody ever closes it, because we died, it counts as `sent_amount` and `sent_tokens`.
        """
        ...

    async def settle(self, reservation: str, *, actual: UsdMicros, usage: Usage, model: str) -> object:
        """Replace the reservation with what was really spent."""
        ...

    async def release(self, reservation: str) -> object:
        """Drop the reservation: nothing was spent."""
        ...

    async def mark_started(self, reservation: str) -> object:
        """The provider bills this one: after a crash it counts as spent, not as released."""
        ...


class Settlements:
    """Tells those who wait for room that a reservation was closed, by any worker."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def note(self) -> None:
        self.count += 1
        self._changed.set()

    async def wait_beyond(self, count: int, *, at_most_s: float) -> bool:
        """Return once more than `count` were noted; False when the time is over first."""
        try:
            async with asyncio.timeout(at_most_s):
                while self.count <= count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Crowded:
    """There would be room under the cap, were it not set aside for calls under way."""

    settlements_seen: int


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """The ledger with what stays the same for a task filled in."""

    port: LedgerPort
    prices: PriceList
    settlements: Settlements
    new_id: Callable[[], str]
    run: str
    task: TaskId
    worker: str
    day: Callable[[], str]
    caps: object

    def cost_when_sent(self, prompt: PromptSize, model: str) -> tuple[UsdMicros, Usage]:
        """Return what a call may cost of which nothing but the sending is known: its prompt, at the dearest.

        Raises LlmPriceError when `model` has no price.
        """
        priced = [(self.prices.cost_usd_micros(usage, model), usage) for usage in prompt.dearest_usages()]
        return max(priced, key=lambda each: each[0])

    async def reserve(
        self, reservation: str, request: TurnRequest, prompt: PromptSize, *, patient: bool
    ) -> TurnRequest | SpendRefused | Crowded:
        """Set the worst case aside, and return the request with the `max_tokens` that fitted.

        `patient`: rather tell that it is crowded than shrink the call to a stump.
        """
        input_tokens, max_tokens = prompt.tokens, request.max_tokens
        sent_amount, sent_usage = self.cost_when_sent(prompt, request.model)
        floor = min(MIN_MAX_TOKENS, max_tokens)
        comfortable = min(_COMFORTABLE_MAX_TOKENS, max_tokens)
        for attempt in range(_MAX_SHRINKS):
            seen = self.settlements.count
            refusal = await self.port.reserve(
                reservation,
                run=self.run,
                task=self.task,
                day=self.day(),
                amount=self.prices.worst_case_usd_micros(input_tokens, max_tokens, request.model),
                tokens=input_tokens + max_tokens,
                caps=self.caps,
                worker=self.worker,
                sent_amount=sent_amount,
                sent_tokens=sent_usage.total_tokens,
            )
            if refusal is None:
                return replace(request, max_tokens=max_tokens)
            unspent = refusal.cap - refusal.spent
            fits = self._fitting(refusal.unit, input_tokens, unspent - refusal.reserved, request.model)
            fits_alone = self._fitting(refusal.unit, input_tokens, unspent, request.model)
            if fits is None or fits >= max_tokens:
                # The refusal does not explain itself; half is the next guess.
                fits = max(max_tokens // 2, floor) if max_tokens > floor else 0
            is_crowded = refusal.reserved > 0 and fits < comfortable
            if patient and is_crowded and (fits_alone is None or fits_alone >= comfortable):
                return Crowded(seen)
            if fits < floor or attempt == _MAX_SHRINKS - 1:
                return SpendRefused(refusal.scope, refusal.cap, refusal.spent, refusal.unit)
            max_tokens = fits
        raise AssertionError("the last pass returns")

    def _fitting(self, unit: CapUnit, input_tokens: int, left: int, model: str) -> int | None:
        """Return the largest `max_tokens` whose worst case fits what is left; None when nothing bounds it."""
        if unit is CapUnit.TOKENS:
            return max(0, left - input_tokens)
        return self.prices.affordable_max_tokens(input_tokens, left, model)
