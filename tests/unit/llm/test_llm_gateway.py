"""The paid model against a ledger that counts, and a model that fails on cue."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from llm_fakes import (
    FakeLedger,
    FakeModel,
    JumpingClock,
    ManualClock,
    Refused,
    Step,
    request,
    settle_loop,
    turn,
)

from agentcoord.domain.ids import TaskId
from agentcoord.domain.usage import CapUnit, Usage
from agentcoord.errors import (
    LlmOverloadedError,
    LlmPriceError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
    StoreUnavailableError,
)
from agentcoord.llm.api import Model, PaidTurn, Progress, SpendRefused
from agentcoord.llm.gateway import PaidModel, TaskGateway, estimate_input_tokens
from agentcoord.llm.pacing import Governor, PacingSettings
from agentcoord.llm.pricing import ModelPrice, PriceList, Rates
from agentcoord.llm.prompt_size import PromptSize

PRICES = PriceList.load()
SONNET = "claude-sonnet-5-5"


def governor_of(clock: ManualClock) -> Governor:
    return Governor(clock=clock, settings=PacingSettings(start_gap_s=0), random=lambda: 1.0)


def gateway_of(
    model: Model,
    ledger: FakeLedger,
    *,
    clock: ManualClock | None = None,
    deadline_s: float = 3_600,
    prices: PriceList = PRICES,
    governor: Governor | None = None,
) -> TaskGateway:
    clock = clock or JumpingClock()
    ids = itertools.count(1)
    paid = PaidModel(
        model,
        governor=governor or governor_of(clock),
        ledger=ledger,
        prices=prices,
        clock=clock,
        new_id=lambda: f"reservation-{next(ids)}",
        run="r1",
        day=lambda: "2026-11-22",
    )
    return paid.for_task(TaskId("t1"), "the caps", worker="w1", deadline_s=deadline_s)


async def test_a_turn_is_reserved_at_its_worst_and_settled_at_what_it_used() -> None:
    ledger, asked = FakeLedger(), request()
    paid = await gateway_of(FakeModel(), ledger).take_turn(asked, Progress())
    assert isinstance(paid, PaidTurn)
    assert ledger.reserved == [PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 8_000, SONNET)]
    assert ledger.settled == [("reservation-1", 400, Usage(100, output_tokens=20), SONNET)]
    assert (paid.cost_usd_micros, paid.usage) == (400, Usage(100, output_tokens=20))
    assert ledger.seen == [
        {"run": "r1", "task": "t1", "worker": "w1", "day": "2026-11-22", "caps": "the caps"}
    ]
    assert ledger.started == {"reservation-1"}
    assert not ledger.open


async def test_the_reservation_is_made_before_the_call() -> None:
    ledger = FakeLedger()

    async def check() -> None:
        assert list(ledger.open) == ["reservation-1"]

    await gateway_of(FakeModel(Step(waits=check)), ledger).take_turn(request(), Progress())


async def test_a_call_that_broke_after_it_started_is_booked_in_full_and_made_again() -> None:
    ledger = FakeLedger()
    broken = Step(usage=Usage(1_000, 0, 50, 0, 1), output_chars=301, ends=LlmRetryableError("dropped"))
    paid = await gateway_of(FakeModel(broken, Step()), ledger).take_turn(request(), Progress())
    assert isinstance(paid, PaidTurn)
    assert [usage for _, _, usage, _ in ledger.settled] == [
        Usage(1_000, 0, 50, 0, 101),
        Usage(100, output_tokens=20),
    ]
    assert paid.usage == Usage(1_100, 0, 50, 0, 121)
    assert paid.cost_usd_micros == ledger.spent == 2_000 + 200 + 1_010 + 400
    assert not ledger.open


async def test_a_call_that_never_started_is_released_and_costs_nothing() -> None:
    ledger = FakeLedger()
    refused = Step(starts=False, ends=LlmOverloadedError("overloaded"))
    paid = await gateway_of(FakeModel(refused, refused, Step()), ledger).take_turn(request(), Progress())
    assert isinstance(paid, PaidTurn)
    assert ledger.closed == ["reservation-1", "reservation-2", "reservation-3"]
    assert ledger.spent == paid.cost_usd_micros == 400


async def test_a_call_that_was_given_up_before_an_answer_began_is_booked_with_its_whole_prompt() -> None:
    ledger, asked = FakeLedger(), request()
    given_up = Step(starts=False, sends=True, ends=LlmRetryableError("no answer began within 90 s"))
    paid = await gateway_of(FakeModel(given_up, Step()), ledger).take_turn(asked, Progress())
    assert isinstance(paid, PaidTurn)
    prompt = PromptSize.of(asked)
    written = Usage(cache_write_1h_tokens=prompt.shared, cache_write_5m_tokens=prompt.own)
    assert [usage for _, _, usage, _ in ledger.settled] == [written, Usage(100, output_tokens=20)]
    assert paid.usage == written + Usage(100, output_tokens=20)
    assert paid.cost_usd_micros == ledger.spent == PRICES.cost_usd_micros(written, SONNET) + 400
    assert not ledger.open


async def test_a_reservation_says_what_it_counts_as_if_we_die_before_the_answer() -> None:
    ledger, asked = FakeLedger(), request()
    given_up = Step(starts=False, sends=True, ends=LlmRetryableError("no answer began within 90 s"))
    await gateway_of(FakeModel(given_up, Step()), ledger).take_turn(asked, Progress())
    (_, cost, usage, _), _ = ledger.settled
    assert set(ledger.when_sent.values()) == {(cost, usage.total_tokens)}


async def test_where_writing_to_the_cache_costs_less_a_prompt_counts_at_the_price_of_input() -> None:
    ledger, asked = FakeLedger(), request(model="local")
    rates = Rates(*(Decimal(n) for n in (3, 4, 1, 1, 1)))
    prices = PriceList({"local": ModelPrice("local", datetime.date(2026, 11, 1), rates)})
    given_up = Step(starts=False, sends=True, ends=LlmRetryableError("no answer began within 90 s"))
    await gateway_of(FakeModel(given_up, Step()), ledger, prices=prices).take_turn(asked, Progress())
    prompt = estimate_input_tokens(asked)
    assert ledger.settled[0][1:3] == (3 * prompt, Usage(input_tokens=prompt))


async def test_an_earlier_try_is_not_counted_into_a_later_one() -> None:
    ledger, progress = FakeLedger(), Progress()
    steps = [
        Step(output_chars=900, ends=LlmRetryableError("dropped")),
        Step(starts=False, ends=LlmRetryableError("refused")),
        Step(),
    ]
    await gateway_of(FakeModel(*steps), ledger).take_turn(request(), progress)
    assert len(ledger.settled) == 2
    assert progress.output_chars == 0


async def test_max_tokens_shrinks_to_what_the_cap_leaves() -> None:
    asked = request(max_tokens=64_000)
    cap = PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 5_000, SONNET)
    ledger, model = FakeLedger(cap), FakeModel()
    assert isinstance(await gateway_of(model, ledger).take_turn(asked, Progress()), PaidTurn)
    assert model.requests[0].max_tokens == 5_000
    assert asked.max_tokens == 64_000


async def test_a_cap_that_leaves_less_than_the_floor_refuses_without_a_call() -> None:
    asked = request(max_tokens=64_000)
    cap = PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 1_023, SONNET)
    ledger, model = FakeLedger(cap), FakeModel()
    refused = await gateway_of(model, ledger).take_turn(asked, Progress())
    assert refused == SpendRefused("run", ledger.cap, 0)
    assert model.requests == []
    assert not ledger.open


async def test_max_tokens_shrinks_to_what_a_cap_on_tokens_leaves() -> None:
    asked = request(max_tokens=64_000)
    estimate = estimate_input_tokens(asked)
    ledger, model = FakeLedger(token_cap=estimate + 5_000), FakeModel()
    assert isinstance(await gateway_of(model, ledger).take_turn(asked, Progress()), PaidTurn)
    assert model.requests[0].max_tokens == 5_000
    assert ledger.tokens_spent == 120


async def test_the_tighter_of_both_kinds_of_caps_decides() -> None:
    asked = request(max_tokens=64_000)
    estimate = estimate_input_tokens(asked)
    for dollars_for, tokens_for, fits in ((3_000, 9_000, 3_000), (9_000, 3_000, 3_000)):
        ledger = FakeLedger(
            PRICES.worst_case_usd_micros(estimate, dollars_for, SONNET), token_cap=estimate + tokens_for
        )
        model = FakeModel()
        assert isinstance(await gateway_of(model, ledger).take_turn(asked, Progress()), PaidTurn)
        assert model.requests[0].max_tokens == fits


async def test_a_cap_on_tokens_that_leaves_less_than_the_floor_refuses_in_tokens() -> None:
    asked = request(max_tokens=64_000)
    cap = estimate_input_tokens(asked) + 1_023
    ledger, model = FakeLedger(token_cap=cap), FakeModel()
    refused = await gateway_of(model, ledger).take_turn(asked, Progress())
    assert refused == SpendRefused("task", cap, 0, CapUnit.TOKENS)
    assert refused.in_words == f"the task cap of {cap:,} tokens"
    assert model.requests == []


async def test_a_refusal_that_does_not_tell_the_reserved_part_still_shrinks_the_call() -> None:
    asked = request(max_tokens=64_000)
    ledger, model = (
        FakeLedger(PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 10_000, SONNET)),
        FakeModel(),
    )
    ledger.tells_reserved = False
    ledger.open["somebody else"] = 50_000
    assert isinstance(await gateway_of(model, ledger).take_turn(asked, Progress()), PaidTurn)
    assert 1_024 <= model.requests[0].max_tokens <= 5_000


async def test_a_call_waits_for_the_room_that_others_have_reserved_and_then_is_made_whole() -> None:
    asked = request(max_tokens=8_000)
    worst = PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 8_000, SONNET)
    ledger, reached, release = FakeLedger(worst + 1_000), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await release.wait()

    model = FakeModel(Step(waits=wait), Step())
    gateway = gateway_of(model, ledger)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(gateway.take_turn(asked, Progress()))
        await reached.wait()
        second = group.create_task(gateway.take_turn(asked, Progress()))
        await settle_loop()
        assert len(model.requests) == 1
        assert not second.done()
        release.set()
    assert isinstance(first.result(), PaidTurn)
    assert isinstance(second.result(), PaidTurn)
    assert [made.max_tokens for made in model.requests] == [8_000, 8_000]
    assert ledger.most_committed <= ledger.cap


async def test_room_that_nobody_gives_back_is_not_waited_for_beyond_the_deadline() -> None:
    asked = request(max_tokens=8_000)
    ledger = FakeLedger(PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 8_000, SONNET))
    ledger.open["somebody else, gone"] = ledger.cap
    refused = await gateway_of(FakeModel(), ledger, deadline_s=0.05).take_turn(asked, Progress())
    assert isinstance(refused, SpendRefused)


async def test_a_small_request_is_not_refused_for_being_below_the_floor() -> None:
    ledger = FakeLedger()
    assert isinstance(
        await gateway_of(FakeModel(), ledger).take_turn(request(max_tokens=100), Progress()), PaidTurn
    )


@pytest.mark.parametrize("error", [LlmRequestError("wrong"), LlmSpendLimitError("no more")])
async def test_an_error_that_repeating_cannot_help_comes_through_at_once(error: Exception) -> None:
    ledger, model = FakeLedger(), FakeModel(Step(starts=False, ends=error))
    with pytest.raises(type(error)):
        await gateway_of(model, ledger).take_turn(request(), Progress())
    assert len(model.requests) == 1
    assert ledger.closed == ["reservation-1"]


async def test_a_model_without_a_price_is_never_called() -> None:
    ledger, model = FakeLedger(), FakeModel()
    with pytest.raises(LlmPriceError):
        await gateway_of(model, ledger).take_turn(request(model="qwen-local"), Progress())
    assert model.requests == []
    assert not ledger.open


async def test_faults_are_waited_out_until_the_deadline_and_then_raised() -> None:
    ledger, clock = FakeLedger(), JumpingClock()
    model = FakeModel(Step(starts=False, ends=LlmRetryableError("no connection")))
    begun = clock.now_s
    with pytest.raises(LlmRetryableError):
        await gateway_of(model, ledger, clock=clock, deadline_s=600).take_turn(request(), Progress())
    assert 500 < clock.now_s - begun <= 600
    assert 10 < len(model.requests) < 40
    assert ledger.spent == 0
    assert not ledger.open


class _StuckLedger(FakeLedger):
    """A ledger that keeps whoever reserves or releases waiting, while told to."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = asyncio.Event()
        self.stuck.set()

    async def reserve(self, reservation: str, **what: Any) -> Refused | None:
        refused = await super().reserve(reservation, **what)
        await self.stuck.wait()
        return refused

    async def release(self, reservation: str) -> None:
        await self.stuck.wait()
        await super().release(reservation)


async def test_a_refusal_closes_the_gate_before_the_books_are_closed() -> None:
    clock, ledger = ManualClock(), _StuckLedger()
    governor = governor_of(clock)
    refused = Step(starts=False, ends=LlmRetryableError("slow down", retry_after_s=10.0))
    gateway = gateway_of(FakeModel(refused, Step()), ledger, clock=clock, governor=governor)
    ledger.stuck.set()
    async with asyncio.TaskGroup() as group:
        turn_taken = group.create_task(gateway.take_turn(request(), Progress()))
        refused.waits = _doing(ledger.stuck.clear)
        await settle_loop()
        assert ledger.open, "the books are not closed yet"
        assert governor.resume_at_ms(SONNET) is not None
        ledger.stuck.set()
        await clock.advance(11.5)
        assert isinstance(await turn_taken, PaidTurn)


async def test_a_call_whose_gate_closes_while_it_is_reserved_is_not_sent_before_it_opens() -> None:
    clock, ledger, model = ManualClock(), _StuckLedger(), FakeModel()
    governor = governor_of(clock)
    gateway = gateway_of(model, ledger, clock=clock, governor=governor)
    ledger.stuck.clear()
    async with asyncio.TaskGroup() as group:
        turn_taken = group.create_task(gateway.take_turn(request(), Progress()))
        await settle_loop()
        assert ledger.open
        governor.note_retryable(SONNET, LlmRetryableError("slow down", retry_after_s=10.0))
        ledger.stuck.set()
        await clock.advance(9.9)
        assert (model.requests, ledger.open) == ([], {})
        await clock.advance(1.6)
        assert isinstance(await turn_taken, PaidTurn)
    assert (len(model.requests), ledger.spent) == (1, 400)


def _doing(what: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def do() -> None:
        what()

    return do


async def test_a_retry_after_beyond_the_deadline_is_raised_with_its_length_instead_of_slept() -> None:
    ledger, clock = FakeLedger(), JumpingClock()
    model = FakeModel(Step(starts=False, ends=LlmOverloadedError("tomorrow", retry_after_s=86_400)))
    with pytest.raises(LlmRetryableError) as caught:
        await gateway_of(model, ledger, clock=clock).take_turn(request(), Progress())
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s >= 86_400
    assert clock.slept_s == []
    assert not ledger.open


async def test_streams_that_keep_breaking_are_given_up_before_they_eat_the_budget() -> None:
    ledger = FakeLedger()
    model = FakeModel(Step(output_chars=30, ends=LlmRetryableError("dropped")))
    with pytest.raises(LlmRetryableError, match="dropped"):
        await gateway_of(model, ledger).take_turn(request(), Progress())
    assert len(ledger.settled) == 8


async def cancelled_in(model: FakeModel, ledger: FakeLedger, reached: asyncio.Event) -> None:
    """Cancel a turn once it has come as far as `reached`."""

    async def take() -> None:
        await gateway_of(model, ledger).take_turn(request(), Progress())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(take())
        await reached.wait()
        await settle_loop()
        task.cancel()
    assert task.cancelled()


def hang(reached: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        reached.set()
        await asyncio.Event().wait()

    return wait


async def test_a_call_cancelled_midway_is_settled_by_what_it_had_shown() -> None:
    ledger, reached = FakeLedger(), asyncio.Event()
    await cancelled_in(FakeModel(Step(output_chars=300, waits=hang(reached))), ledger, reached)
    assert [usage for _, _, usage, _ in ledger.settled] == [Usage(100, output_tokens=100)]
    assert not ledger.open


async def test_a_call_cancelled_before_it_started_is_released() -> None:
    ledger, reached = FakeLedger(), asyncio.Event()
    await cancelled_in(FakeModel(Step(starts=False, waits=hang(reached))), ledger, reached)
    assert ledger.settled == []
    assert ledger.closed == ["reservation-1"]


async def test_a_call_cancelled_while_its_answer_is_awaited_is_booked_with_its_whole_prompt() -> None:
    ledger, reached = FakeLedger(), asyncio.Event()
    await cancelled_in(FakeModel(Step(starts=False, sends=True, waits=hang(reached))), ledger, reached)
    ((_, _, usage, _),) = ledger.settled
    assert usage.prompt_tokens > 0
    assert not ledger.open


async def test_settling_goes_on_when_the_caller_is_cancelled_during_it() -> None:
    ledger, reached = FakeLedger(), asyncio.Event()
    ledger.hold = asyncio.Event()

    async def tell() -> None:
        reached.set()

    await cancelled_in(FakeModel(Step(waits=tell)), ledger, reached)
    assert len(ledger.open) == 1
    ledger.hold.set()
    await settle_loop()
    assert ledger.spent == 400
    assert not ledger.open


async def test_a_ledger_that_fails_at_the_start_ends_the_call_and_is_still_told_what_it_cost() -> None:
    class Failing(FakeLedger):
        async def mark_started(self, reservation: str) -> None:
            raise StoreUnavailableError("the store is away")

    ledger = Failing()
    with pytest.raises(StoreUnavailableError):
        await gateway_of(FakeModel(), ledger).take_turn(request(), Progress())
    assert [usage for _, _, usage, _ in ledger.settled] == [Usage(100, output_tokens=1)]


async def test_the_callers_own_callback_hears_of_the_start_too_and_is_left_in_place() -> None:
    heard: list[str] = []

    async def on_start() -> None:
        heard.append("started")

    progress = Progress(on_start=on_start)
    await gateway_of(FakeModel(), FakeLedger()).take_turn(request(), progress)
    assert heard == ["started"]
    assert progress.on_start is on_start


async def test_six_workers_at_once_never_commit_more_than_the_cap() -> None:
    asked = request(max_tokens=4_000)
    worst = PRICES.worst_case_usd_micros(estimate_input_tokens(asked), 4_000, SONNET)
    real = Usage(2_000, output_tokens=3_900)

    ledger = FakeLedger(worst * 4)
    gateway = gateway_of(FakeModel(Step(ends=turn(real))), ledger)

    async def work() -> None:
        for _ in range(50):
            if isinstance(await gateway.take_turn(asked, Progress()), SpendRefused):
                return
        raise AssertionError("the cap was never felt")

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(work())
    assert 0 < ledger.spent <= ledger.most_committed <= ledger.cap
    assert not ledger.open


@pytest.mark.parametrize(
    "text", ["plain English words, many of them. " * 500, "{}[]();:=" * 900, "深夜の仕事" * 900]
)
def test_the_estimate_of_a_prompt_lies_above_a_token_for_every_four_bytes(text: str) -> None:
    assert estimate_input_tokens(request(text=text)) > len(text.encode()) / 4 + 1_000
