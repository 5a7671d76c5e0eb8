"""When a call may start: one governor for all workers, with a gate a model.

Separate from the gateway because the limits are the organisation's, not a task's: what one
worker learns from a refusal holds for all. Deliberately absent: money, and retrying itself.

Theory of operation. A gate closes until a moment in time; nobody enters before it. It closes
for as long as a server's `retry-after` says, or else for a back-off that doubles with each failure
in a row, jittered and capped. Failures that arrive while it is closed are echoes of the same event: they can
close it longer, but do not double again. An overload (429, 529) also halves how many calls
may run at once; each success then gives back its share, so that a full round of successes
adds one (additive increase, multiplicative decrease, as in RFC 5681). Before an open gate calls
stand in line (`fair_line`), and the first of them waits until the minute's limits bear it
(`rate_buckets`). Starts are spaced apart, because sixty calls a minute may be enforced as one a
second. The first call to a cold model goes alone until it has begun to answer: only then can
others read the cache it wrote.
"""

from __future__ import annotations

import asyncio
import datetime
import random as random_module
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import field

from agentcoord.clock import Clock
from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmOverloadedError, LlmRetryableError
from agentcoord.llm.fair_line import FairLine, Waiter
from agentcoord.llm.rate_buckets import Charge, RateBuckets, Wants, number_in
from agentcoord.values import dataclass

OnWait = Callable[[str, float, str], None]
"""Called with the model, the seconds to wait and why, when a caller is held up; must not block."""

_LIMIT_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_TOLD_FROM_S = 2.0
"""Shorter waits for the minute's limits are ordinary spacing and told to nobody."""
_LEAST_SLEEP_S = 0.001
"""Less may be lost in the clock's rounding, and then would be slept again and again."""
MIDDLE_PRIORITY = 3


@dataclass(frozen=True, slots=True)
class PacingSettings:
    """How carefully to call."""

    max_concurrency: int = 64
    first_backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    max_reset_wait_s: float = 120.0
    """Upper bound on what a limit header alone can make everyone wait."""
    start_gap_s: float = 0.02
    """Least time between two starts, until the limit headers say more."""
    warm_up_s: float = 10.0
    """How long others wait for the first call to a cold model to begin answering."""
    warm_for_s: float = 3_300.0
    """A model is cold again after this long without a call: the system prompt's cache has expired."""


@dataclass(frozen=True, slots=True)
class Share:
    """Whose call it is, and how much of a scarce minute it should get."""

    flow: str = ""
    """The task; calls of one flow queue behind each other."""
    priority: int = MIDDLE_PRIORITY
    """1 to 5; twice the number is twice the share."""


_ANYBODY = Share()
_NOTHING = Wants()


@dataclass(slots=True)
class Slot:
    """The right to make one call now."""

    _gate: _Gate
    _clock: Clock
    used: Charge = field(default_factory=Charge)
    """Of the minute's limits, so far."""

    @property
    def closed(self) -> bool:
        """Whether the gate has closed since: the right is void."""
        return self._gate.closed_until > self._clock.monotonic()

    def note_called(self) -> None:
        """The request is on its way, whatever comes of it."""
        self.used = Charge(requests=1.0)

    def note_started(self) -> None:
        """The answer began: the cache can be read, others may start."""
        self._gate.warm(self._clock.monotonic())

    def note_used(self, usage: Usage) -> None:
        """What the call used, when it is known."""
        uncached = usage.prompt_tokens - usage.cache_read_tokens
        self.used = Charge(1.0, float(uncached), float(usage.output_tokens))


@dataclass(slots=True)
class _Gate:
    """What is known about one model's limits. Times are of `Clock.monotonic`."""

    limit: float
    warm_for_s: float
    start_gap_s: float
    in_flight: int = 0
    closed_until: float = 0.0
    why: str = ""
    next_start: float = 0.0
    failures_in_row: int = 0
    warm_until: float = float("-inf")
    cold_start_at: float | None = None
    """When the call began that warms a cold model up; None when none is under way."""
    line: FairLine = field(default_factory=FairLine)
    buckets: RateBuckets = field(default_factory=RateBuckets)

    def warm(self, now: float) -> None:
        self.warm_until = now + self.warm_for_s
        self.cold_start_at = None
        self.line.wake_first()


class Governor:
    """Decides when each call may start. One for all workers; used on one event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: PacingSettings | None = None,
        random: Callable[[], float] = random_module.random,
        on_wait: OnWait | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings or PacingSettings()
        self._random = random
        self._on_wait = on_wait
        self._gates: dict[str, _Gate] = {}

    @asynccontextmanager
    async def slot(
        self,
        model: str,
        *,
        wait_at_most_s: float | None = None,
        wants: Wants = _NOTHING,
        share: Share = _ANYBODY,
    ) -> AsyncIterator[Slot]:
        """Wait for the right to call `model`, and hold it for the length of the block.

        Raises LlmRetryableError, with `retry_after_s`, at once when the gate stays closed for
        longer than `wait_at_most_s`, or later when no place became free by then.
        """
        gate = self._gate(model)
        charge = gate.buckets.charge_of(wants)
        cost = charge.input_tokens + charge.output_tokens
        waiter = gate.line.join(share.flow, weight=float(max(share.priority, 1)), cost=cost)
        try:
            now = await self._wait_in_line(gate, waiter, charge, wait_at_most_s, model)
            gate.in_flight += 1
            gate.next_start = now + gate.start_gap_s
            gate.buckets.spend(charge, now)
        except BaseException:
            gate.line.leave(waiter)
            raise
        warms = now >= gate.warm_until
        if warms:
            gate.cold_start_at = now
        gate.line.go(waiter)
        slot = Slot(gate, self._clock)
        try:
            yield slot
        finally:
            gate.in_flight -= 1
            gate.buckets.correct(charge, slot.used, self._clock.monotonic())
            if warms:
                gate.cold_start_at = None
            gate.line.wake_first()

    async def _wait_in_line(
        self, gate: _Gate, waiter: Waiter, charge: Charge, wait_at_most_s: float | None, model: str
    ) -> float:
        """Return the time at which the call may start: now."""
        begun = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            left_s = None if wait_at_most_s is None else wait_at_most_s - (now - begun)
            closed_s = gate.closed_until - now
            if closed_s > 0:
                self._refuse_longer_than(left_s, closed_s, gate.why)
                self._tell(model, closed_s, gate.why)
                await self._clock.sleep(max(closed_s, _LEAST_SLEEP_S))
                continue
            if not gate.line.is_first(waiter) or not self._has_place(gate, now):
                await self._wait_for_place(gate, waiter, left_s, model)
                continue
            held_s, scarce = gate.buckets.hold_s(charge, now)
            if held_s >= _TOLD_FROM_S:
                why = f"the limit on {scarce.replace('-', ' ')} a minute"
                self._refuse_longer_than(left_s, held_s, why)
                self._tell(model, held_s, why)
            held_s = max(held_s, gate.next_start - now)
            if held_s <= 0:
                return now
            await self._clock.sleep(max(held_s, _LEAST_SLEEP_S))

    def _tell(self, model: str, wait_s: float, why: str) -> None:
        if self._on_wait is not None:
            self._on_wait(model, wait_s, why)

    def note_headers(self, model: str, headers: Mapping[str, str]) -> None:
        """Take in the limits that a response to a call of `model` tells, in lower case.

        Best as soon as they come: they are of that moment.
        """
        self._learn_limits(self._gate(model), headers)

    def note_success(self, model: str) -> None:
        """A call to `model` was answered."""
        gate = self._gate(model)
        gate.failures_in_row = 0
        gate.limit = min(gate.limit + 1 / gate.limit, float(self._settings.max_concurrency))
        gate.warm(self._clock.monotonic())

    def note_retryable(self, model: str, error: LlmRetryableError) -> None:
        """A call to `model` failed in a way that passes: everyone waits as long as is asked for."""
        gate = self._gate(model)
        now = self._clock.monotonic()
        if gate.closed_until <= now:
            if isinstance(error, LlmOverloadedError):
                gate.limit = max(1.0, min(gate.limit, float(max(gate.in_flight, 1))) / 2)
            gate.failures_in_row += 1
        if error.retry_after_s is None:
            doubled_s = self._settings.first_backoff_s * 2.0 ** min(gate.failures_in_row - 1, 30)
            wait_s = min(doubled_s, self._settings.max_backoff_s) * (0.5 + self._random() / 2)
        else:
            wait_s = error.retry_after_s + self._random() * min(1.0, 0.1 * error.retry_after_s)
        self._close(gate, now + wait_s, error.message)

    def resume_at_ms(self, model: str) -> int | None:
        """Return the wall time until which `model`'s gate is closed; None when it is open."""
        gate = self._gates.get(model)
        closed_s = 0.0 if gate is None else gate.closed_until - self._clock.monotonic()
        return None if closed_s <= 0 else self._clock.now_ms() + round(closed_s * 1_000)

    def close_until(self, model: str, resume_at_ms: int, why: str) -> None:
        """Close `model`'s gate until a wall time that was persisted before a restart."""
        wait_s = (resume_at_ms - self._clock.now_ms()) / 1_000
        self._close(self._gate(model), self._clock.monotonic() + wait_s, why)

    def _gate(self, model: str) -> _Gate:
        gate = self._gates.get(model)
        if gate is None:
            settings = self._settings
            gate = _Gate(float(settings.max_concurrency), settings.warm_for_s, settings.start_gap_s)
            self._gates[model] = gate
        return gate

    def _close(self, gate: _Gate, until: float, why: str) -> None:
        if until > gate.closed_until:
            gate.closed_until = until
            gate.why = why

    def _has_place(self, gate: _Gate, now: float) -> bool:
        if gate.cold_start_at is not None and now < gate.cold_start_at + self._settings.warm_up_s:
            return False
        return gate.in_flight < int(gate.limit)

    async def _wait_for_place(self, gate: _Gate, waiter: Waiter, left_s: float | None, model: str) -> None:
        """Return when something changed that may have made it this waiter's turn."""
        waiter.woken.clear()
        warming_s = None
        if gate.cold_start_at is not None:
            warming_s = max(0.0, gate.cold_start_at + self._settings.warm_up_s - self._clock.monotonic())
        bounds = [s for s in (left_s, warming_s) if s is not None]
        try:
            async with asyncio.timeout(min(bounds) if bounds else None):
                await waiter.woken.wait()
        except TimeoutError as error:
            if left_s is not None and (warming_s is None or left_s <= warming_s):
                raise LlmRetryableError(f"no call to {model} became free in time") from error

    def _refuse_longer_than(self, left_s: float | None, closed_s: float, why: str) -> None:
        if left_s is None or closed_s <= left_s:
            return
        # Only the server's own word closes a gate for longer than any back-off of ours.
        asked = closed_s > self._settings.max_backoff_s
        kind = LlmOverloadedError if asked else LlmRetryableError
        raise kind(f"the model cannot be called for another {closed_s:.0f} s: {why}", retry_after_s=closed_s)

    def _learn_limits(self, gate: _Gate, headers: Mapping[str, str]) -> None:
        """Take in `anthropic-ratelimit-*`: the buckets, the spacing of starts, limits that are used up."""
        now = self._clock.monotonic()
        gate.buckets.learn(headers, now)
        per_minute = number_in(headers, "anthropic-ratelimit-requests-limit")
        if per_minute:
            gate.start_gap_s = max(self._settings.start_gap_s, 60.0 / per_minute)
        for kind in _LIMIT_KINDS:
            remaining = number_in(headers, f"anthropic-ratelimit-{kind}-remaining")
            reset_ms = _rfc3339_ms(headers.get(f"anthropic-ratelimit-{kind}-reset"))
            if gate.buckets.knows(kind) or remaining is None or remaining > 0 or reset_ms is None:
                continue  # A bucket knows better: the reset is when all of it is back.
            wait_s = min((reset_ms - self._clock.now_ms()) / 1_000, self._settings.max_reset_wait_s)
            if wait_s > 0:
                self._close(gate, now + wait_s, f"the limit on {kind} is used up")


def _rfc3339_ms(text: str | None) -> int | None:
    try:
        return None if text is None else round(datetime.datetime.fromisoformat(text).timestamp() * 1_000)
    except ValueError:
        return None
