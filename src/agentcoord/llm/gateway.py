"""The paid model: every call is reserved before it is made and settled after it.

Separate from the client because it knows money and patience and no wire. It is what makes
the cap hold: the worst case of a call is reserved in the ledger, atomically with everybody
else's, before a byte is sent. Deliberately absent: fitting a call under the caps (`accounts`)
and when a call may start (`pacing`).

Theory of operation of a try. Wait for the governor -> reserve -> (refused: shrink `max_tokens`
and reserve again, or refuse) -> look whether the gate has closed meanwhile -> call -> settle. What the
call says about the server closes the gate the moment it is heard, before the books are. `message_start`
marks the reservation as started; from there on it is settled, with the real usage if the turn ended, else
with the usage that `message_start` told plus an estimate of the output: we assume that the provider bills
what it sent. A call that was sent and never heard of is settled with its prompt; one that was
not sent, or was refused, is released. Whichever way a try ends, by cancellation too, exactly one of
settle and release is attempted for its reservation. When the process dies no attempt is made: then the
reservation itself says what the next start books for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agentcoord.clock import Clock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import NO_USAGE, ZERO_USD, Usage, UsdMicros
from agentcoord.errors import LlmError, LlmRetryableError, StoreUnavailableError
from agentcoord.llm.accounts import Crowded, LedgerPort, LedgerRefusal, Settlements, TaskAccount
from agentcoord.llm.api import Model, PaidTurn, Progress, SpendRefused, Turn, TurnRequest
from agentcoord.llm.pacing import MIDDLE_PRIORITY, Governor, Share, Slot
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.prompt_size import (
    CachedPrefix,
    PromptSize,
    estimate_input_tokens,
    usage_of_broken_call,
)
from agentcoord.llm.rate_buckets import Wants
from agentcoord.values import dataclass

__all__ = ["LedgerPort", "LedgerRefusal", "PaidModel", "TaskGateway", "estimate_input_tokens"]

_MAX_BROKEN_TRIES = 8
"""Started calls that broke, for one turn. Each was paid for, so patience alone is no bound."""
_MAX_TRIES = 1_000
_BOOKING_DEADLINE_S = 10.0
_ROOM_PATIENCE_S = 600.0
"""How long a turn waits for reservations of calls under way to settle for less."""


class PaidModel:
    """The one model of the fleet with the fleet's governor and ledger; hands out a gateway a task."""

    def __init__(
        self,
        model: Model,
        *,
        governor: Governor,
        ledger: LedgerPort,
        prices: PriceList,
        clock: Clock,
        new_id: Callable[[], str],
        run: str,
        day: Callable[[], str],
    ) -> None:
        self._model = model
        self._governor = governor
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._new_id = new_id
        self._run = run
        self._day = day
        self._settlements = Settlements()

    def for_task(
        self,
        task: TaskId,
        caps: object,
        *,
        worker: str = "",
        priority: int = MIDDLE_PRIORITY,
        deadline_s: float = 3_600,
    ) -> TaskGateway:
        """Return the gateway that calls on `task`'s account.

        `caps` goes to the ledger as it is; `priority` is the task's share of scarce limits.
        `deadline_s` bounds each turn: how long environment faults are waited out before they are
        raised.
        """
        account = TaskAccount(
            port=self._ledger,
            prices=self._prices,
            settlements=self._settlements,
            new_id=self._new_id,
            run=self._run,
            task=task,
            worker=worker,
            day=self._day,
            caps=caps,
        )
        return TaskGateway(
            self._model, self._governor, account, self._clock, Share(task, priority), deadline_s
        )


@dataclass(slots=True)
class _Spent:
    """What the tries of one turn cost so far."""

    cost_usd_micros: UsdMicros = ZERO_USD
    usage: Usage = NO_USAGE
    broken_tries: int = 0


class _NotSent:
    """The gate closed between the right to call and the call."""


class TaskGateway:
    """The model on one task's account. Satisfies `agent.ports.Gateway`."""

    def __init__(
        self,
        model: Model,
        governor: Governor,
        account: TaskAccount,
        clock: Clock,
        share: Share,
        deadline_s: float,
    ) -> None:
        self._model = model
        self._governor = governor
        self._account = account
        self._clock = clock
        self._share = share
        self._deadline_s = deadline_s
        self._cached = CachedPrefix()

    async def take_turn(self, request: TurnRequest, progress: Progress) -> PaidTurn | SpendRefused:
        """Make one paid call, waiting out what passes.

        `max_tokens` of the request is an upper bound: it shrinks, to no less than 1,024, when a
        cap leaves less; while others' reservations are what is in the way, it first waits for them
        to settle. Raises LlmRetryableError after the deadline or too many broken streams,
        LlmPriceError for a model without a price, and LlmSpendLimitError, LlmRequestError and
        LlmAuthError as they come.
        """
        give_up_at = self._clock.monotonic() + self._deadline_s
        prompt = PromptSize.of(request)
        spent = _Spent()
        patience_s = min(_ROOM_PATIENCE_S, self._deadline_s)
        for _ in range(_MAX_TRIES):
            patient = patience_s > 0
            outcome = await self._try_once(request, prompt, progress, spent, give_up_at, patient=patient)
            match outcome:
                case Crowded():
                    waited_from = self._clock.monotonic()
                    seen = outcome.settlements_seen
                    if await self._account.settlements.wait_beyond(seen, at_most_s=patience_s):
                        patience_s -= self._clock.monotonic() - waited_from
                    else:
                        patience_s = 0
                case _NotSent():
                    pass  # Back in line: whoever closed the gate says until when.
                case Turn():
                    return PaidTurn(outcome, spent.cost_usd_micros, spent.usage)
                case SpendRefused():
                    return outcome
                case LlmRetryableError():
                    exhausted = spent.broken_tries >= _MAX_BROKEN_TRIES
                    if exhausted or self._clock.monotonic() >= give_up_at:
                        raise outcome
                case LlmError():
                    raise outcome
        raise LlmRetryableError(f"the model did not answer in {_MAX_TRIES} tries")

    async def _try_once(
        self,
        request: TurnRequest,
        prompt: PromptSize,
        progress: Progress,
        spent: _Spent,
        give_up_at: float,
        *,
        patient: bool,
    ) -> Turn | SpendRefused | Crowded | _NotSent | LlmError:
        """Wait for a slot, reserve, call, and close the books on it. Model errors are returned."""
        model = request.model
        wait_at_most_s = give_up_at - self._clock.monotonic()
        uncached = self._cached.uncached_of(prompt.tokens, self._clock.monotonic())
        wants = Wants(uncached, request.max_tokens)
        async with self._governor.slot(
            model, wait_at_most_s=wait_at_most_s, wants=wants, share=self._share
        ) as slot:
            reservation = self._account.new_id()
            progress.restart()
            try:
                fitted = await self._account.reserve(reservation, request, prompt, patient=patient)
                if not isinstance(fitted, TurnRequest):
                    return fitted
                if slot.closed:
                    await self._close_books(reservation, model, None, prompt, progress, spent, slot)
                    return _NotSent()
                outcome = await self._call(fitted, reservation, progress, slot)
            except BaseException:
                await self._close_books(reservation, model, None, prompt, progress, spent, slot)
                raise
            turn = outcome if isinstance(outcome, Turn) else None
            if progress.started:
                self._cached.note_sent(prompt.tokens, self._clock.monotonic())
            await self._close_books(reservation, model, turn, prompt, progress, spent, slot)
        if isinstance(outcome, Turn):
            self._governor.note_success(model)
        return outcome

    async def _call(
        self, request: TurnRequest, reservation: str, progress: Progress, slot: Slot
    ) -> Turn | LlmError:
        """Make the call; an LlmError is an outcome here, everything else passes through."""
        told = progress.on_start

        async def started() -> None:
            slot.note_started()
            self._governor.note_headers(request.model, progress.headers)
            await self._account.port.mark_started(reservation)
            if told is not None:
                await told()

        progress.on_start = started
        slot.note_called()
        try:
            return await self._model.take_turn(request, progress)
        except LlmRetryableError as error:
            # At once: until the books are closed, others would call.
            if not progress.started:
                self._governor.note_headers(request.model, progress.headers)
            self._governor.note_retryable(request.model, error)
            return error
        except LlmError as error:
            return error
        finally:
            progress.on_start = told

    async def _close_books(
        self,
        reservation: str,
        model: str,
        turn: Turn | None,
        prompt: PromptSize,
        progress: Progress,
        spent: _Spent,
        slot: Slot,
    ) -> None:
        """Settle or release, also while being cancelled."""
        try:
            await self._close(reservation, model, turn, prompt, progress, spent, slot)
        finally:
            self._account.settlements.note()

    async def _close(
        self,
        reservation: str,
        model: str,
        turn: Turn | None,
        prompt: PromptSize,
        progress: Progress,
        spent: _Spent,
        slot: Slot,
    ) -> None:
        if turn is None and not progress.started and not progress.sent:
            await _shielded(self._account.port.release(reservation))
            return
        if turn is not None or progress.started:
            usage = turn.usage if turn is not None else usage_of_broken_call(progress)
            cost = self._account.prices.cost_usd_micros(usage, model)
            spent.broken_tries += turn is None
        else:
            # Given up or cut off before a word came back: the server may have read all of the prompt.
            cost, usage = self._account.cost_when_sent(prompt, model)
        slot.note_used(usage)
        spent.usage += usage
        spent.cost_usd_micros = UsdMicros(spent.cost_usd_micros + cost)
        await _shielded(self._account.port.settle(reservation, actual=cost, usage=usage, model=model))


async def _shielded(booking: Awaitable[object]) -> None:
    """Finish `booking` even if the caller is cancelled meanwhile, within a deadline of its own."""

    async def bounded() -> None:
        try:
            async with asyncio.timeout(_BOOKING_DEADLINE_S):
                await booking
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"the ledger did not answer within {_BOOKING_DEADLINE_S:g} s"
            ) from error

    await asyncio.shield(bounded())
