"""The paid model: every call is reserved before it is made and settled after it.

Separate from the client because it knows money and patience and no wire. It is what makes
the cap hold: the worst case of a call is reserved in the ledger, atomically with everybody
else's, before a byte is sent. Deliberately absent: what the caps are (the ledger is handed
them as they came) and where the ledger lives.

Theory of operation of a try. Wait for the governor -> reserve -> (refused: shrink `max_tokens`
and reserve again, or refuse) -> call -> settle. `message_start` marks the reservation as
started; from there on it is settled, with the real usage if the turn ended, else with the
usage that `message_start` told plus an estimate of the output: we assume that the provider
bills what it sent. A call that never started is released. Whichever way a try ends, by
cancellation too, exactly one of settle and release is attempted for its reservation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agentcoord.clock import Clock
from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import NO_USAGE, ZERO_USD, Usage, UsdMicros
from agentcoord.errors import LlmError, LlmRetryableError, StoreUnavailableError
from agentcoord.llm.api import Model, PaidTurn, Progress, SpendRefused, Turn, TurnRequest
from agentcoord.llm.pacing import Governor, Slot
from agentcoord.llm.pricing import PriceList

MIN_MAX_TOKENS = 1_024
"""A call that may answer with less is not worth making: it is refused instead."""
_MAX_BROKEN_TRIES = 8
"""Started calls that broke, for one turn. Each was paid for, so patience alone is no bound."""
_MAX_TRIES = 1_000
_MAX_SHRINKS = 16
_PROMPT_MARGIN_TOKENS = 2_000
"""For what the provider adds to a prompt: tool-use instructions and framing."""
_BYTES_PER_TOKEN = 3
_BOOKING_DEADLINE_S = 10.0
_COMFORTABLE_MAX_TOKENS = 8_192
"""Below this a call often ends in the middle of its answer: waiting for room comes first."""
_ROOM_PATIENCE_S = 600.0
"""How long a turn waits for reservations of calls under way to settle for less."""


class LedgerRefusal(Protocol):
    """Why a reservation was refused: the cap it would have passed."""

    @property
    def scope(self) -> str: ...
    @property
    def cap_usd_micros(self) -> UsdMicros: ...
    @property
    def spent_usd_micros(self) -> UsdMicros: ...
    @property
    def reserved_usd_micros(self) -> UsdMicros: ...


class LedgerPort(Protocol):
    """Where money is reserved and settled, atomically for everybody. Operations on a reservation
    that is not there do nothing."""

    async def reserve(
        self, reservation: str, *, run: str, task: TaskId, day: str, amount: UsdMicros, caps: Any
    ) -> LedgerRefusal | None:
        """Set `amount` aside under every cap, or refuse and change nothing."""
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
        self._settlements = _Settlements()

    def for_task(self, task: TaskId, caps: object, *, deadline_s: float = 3_600) -> TaskGateway:
        """Return the gateway that calls on `task`'s account.

        `caps` goes to the ledger as it is. `deadline_s` bounds each turn: how long environment
        faults are waited out before they are raised.
        """
        ledger = _TaskLedger(self._ledger, self._new_id, self._run, task, self._day, caps)
        return TaskGateway(
            self._model, self._governor, ledger, self._prices, self._clock, deadline_s, self._settlements
        )


class _Settlements:
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
class _TaskLedger:
    """The ledger with what stays the same for a task filled in."""

    port: LedgerPort
    new_id: Callable[[], str]
    run: str
    task: TaskId
    day: Callable[[], str]
    caps: object

    async def reserve(self, reservation: str, amount: UsdMicros) -> LedgerRefusal | None:
        return await self.port.reserve(
            reservation, run=self.run, task=self.task, day=self.day(), amount=amount, caps=self.caps
        )


@dataclass(slots=True)
class _Spent:
    """What the tries of one turn cost so far."""

    cost_usd_micros: UsdMicros = ZERO_USD
    usage: Usage = NO_USAGE
    broken_tries: int = 0


@dataclass(frozen=True, slots=True)
class _Crowded:
    """There would be room under the cap, were it not set aside for calls under way."""

    settlements_seen: int


class TaskGateway:
    """The model on one task's account. Satisfies `agent.ports.Gateway`."""

    def __init__(
        self,
        model: Model,
        governor: Governor,
        ledger: _TaskLedger,
        prices: PriceList,
        clock: Clock,
        deadline_s: float,
        settlements: _Settlements,
    ) -> None:
        self._model = model
        self._governor = governor
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._deadline_s = deadline_s
        self._settlements = settlements

    async def take_turn(self, request: TurnRequest, progress: Progress) -> PaidTurn | SpendRefused:
        """Make one paid call, waiting out what passes.

        `max_tokens` of the request is an upper bound: it shrinks, to no less than 1,024, when a
        cap leaves less; while others' reservations are what is in the way, it first waits for them
        to settle. Raises LlmRetryableError after the deadline or too many broken streams,
        LlmPriceError for a model without a price, and LlmSpendLimitError, LlmRequestError and
        LlmAuthError as they come.
        """
        give_up_at = self._clock.monotonic() + self._deadline_s
        input_tokens = estimate_input_tokens(request)
        spent = _Spent()
        patience_s = min(_ROOM_PATIENCE_S, self._deadline_s)
        for _ in range(_MAX_TRIES):
            patient = patience_s > 0
            outcome = await self._try_once(
                request, input_tokens, progress, spent, give_up_at, patient=patient
            )
            match outcome:
                case _Crowded():
                    waited_from = self._clock.monotonic()
                    seen = outcome.settlements_seen
                    if await self._settlements.wait_beyond(seen, at_most_s=patience_s):
                        patience_s -= self._clock.monotonic() - waited_from
                    else:
                        patience_s = 0
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
        input_tokens: int,
        progress: Progress,
        spent: _Spent,
        give_up_at: float,
        *,
        patient: bool,
    ) -> Turn | SpendRefused | _Crowded | LlmError:
        """Wait for a slot, reserve, call, and close the books on it. Model errors are returned."""
        model = request.model
        wait_at_most_s = give_up_at - self._clock.monotonic()
        async with self._governor.slot(model, wait_at_most_s=wait_at_most_s) as slot:
            reservation = self._ledger.new_id()
            progress.restart()
            try:
                fitted = await self._reserve(reservation, request, input_tokens, patient=patient)
                if not isinstance(fitted, TurnRequest):
                    return fitted
                outcome = await self._call(fitted, reservation, progress, slot)
            except BaseException:
                await self._close_books(reservation, model, None, progress, spent)
                raise
            turn = outcome if isinstance(outcome, Turn) else None
            await self._close_books(reservation, model, turn, progress, spent)
        if isinstance(outcome, LlmRetryableError):
            self._governor.note_retryable(model, outcome)
        elif isinstance(outcome, Turn):
            self._governor.note_success(model, progress.headers)
        return outcome

    async def _reserve(
        self, reservation: str, request: TurnRequest, input_tokens: int, *, patient: bool
    ) -> TurnRequest | SpendRefused | _Crowded:
        """Set the worst case aside, and return the request with the `max_tokens` that fitted."""
        max_tokens = request.max_tokens
        floor = min(MIN_MAX_TOKENS, max_tokens)
        comfortable = min(_COMFORTABLE_MAX_TOKENS, max_tokens)
        for attempt in range(_MAX_SHRINKS):
            seen = self._settlements.count
            amount = self._prices.worst_case_usd_micros(input_tokens, max_tokens, request.model)
            refusal = await self._ledger.reserve(reservation, amount)
            if refusal is None:
                return replace(request, max_tokens=max_tokens)
            unspent = refusal.cap_usd_micros - refusal.spent_usd_micros
            left = unspent - refusal.reserved_usd_micros
            fits = self._prices.affordable_max_tokens(input_tokens, left, request.model)
            fits_alone = self._prices.affordable_max_tokens(input_tokens, unspent, request.model)
            if fits is None or fits >= max_tokens:
                # The refusal does not explain itself; half is the next guess.
                fits = max(max_tokens // 2, floor) if max_tokens > floor else 0
            is_crowded = refusal.reserved_usd_micros > 0 and fits < comfortable
            if patient and is_crowded and (fits_alone is None or fits_alone >= comfortable):
                return _Crowded(seen)
            if fits < floor or attempt == _MAX_SHRINKS - 1:
                return SpendRefused(refusal.scope, refusal.cap_usd_micros, refusal.spent_usd_micros)
            max_tokens = fits
        raise AssertionError("the last pass returns")

    async def _call(
        self, request: TurnRequest, reservation: str, progress: Progress, slot: Slot
    ) -> Turn | LlmError:
        """Make the call; an LlmError is an outcome here, everything else passes through."""
        told = progress.on_start

        async def started() -> None:
            slot.note_started()
            await self._ledger.port.mark_started(reservation)
            if told is not None:
                await told()

        progress.on_start = started
        try:
            return await self._model.take_turn(request, progress)
        except LlmError as error:
            return error
        finally:
            progress.on_start = told

    async def _close_books(
        self, reservation: str, model: str, turn: Turn | None, progress: Progress, spent: _Spent
    ) -> None:
        """Settle or release, also while being cancelled."""
        try:
            await self._close(reservation, model, turn, progress, spent)
        finally:
            self._settlements.note()

    async def _close(
        self, reservation: str, model: str, turn: Turn | None, progress: Progress, spent: _Spent
    ) -> None:
        if turn is None and not progress.started:
            await _shielded(self._ledger.port.release(reservation))
            return
        usage = turn.usage if turn is not None else usage_of_broken_call(progress)
        cost = self._prices.cost_usd_micros(usage, model)
        if turn is None:
            spent.broken_tries += 1
        spent.usage += usage
        spent.cost_usd_micros = UsdMicros(spent.cost_usd_micros + cost)
        await _shielded(self._ledger.port.settle(reservation, actual=cost, usage=usage, model=model))


def estimate_input_tokens(request: TurnRequest) -> int:
    """Estimate a prompt's tokens from above: its JSON's bytes over 3, and a margin."""
    prompt = {
        "system": list(request.system),
        "messages": list(request.messages),
        "tools": list(request.tools),
    }
    size = len(json.dumps(prompt, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN) + _PROMPT_MARGIN_TOKENS


def usage_of_broken_call(progress: Progress) -> Usage:
    """Return what to book for a call that started and broke: it is billed in full, as far as it came."""
    seen = max(progress.output_chars, progress.output_bytes)
    return replace(
        progress.usage, output_tokens=max(progress.usage.output_tokens, -(-seen // _BYTES_PER_TOKEN))
    )


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
