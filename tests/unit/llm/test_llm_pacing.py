"""The governor, under a clock that the test moves."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from llm_fakes import ManualClock, settle_loop

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmOverloadedError, LlmRetryableError
from agentcoord.llm.pacing import Governor, PacingSettings, Share
from agentcoord.llm.rate_buckets import Charge, RateBuckets, Wants

MODEL = "claude-sonnet-5-5"
NOTHING = Wants()


class Workers:
    """Workers that each ask for one slot and hold it until told to leave."""

    def __init__(self, governor: Governor, group: asyncio.TaskGroup) -> None:
        self._governor = governor
        self._group = group
        self.inside: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self.refused: list[LlmRetryableError] = []

    def ask(
        self,
        name: str,
        *,
        model: str = MODEL,
        wait_at_most_s: float | None = None,
        wants: Wants = NOTHING,
    ) -> None:
        self._leave[name] = asyncio.Event()
        self._group.create_task(self._work(name, model, wait_at_most_s, wants))

    def leave(self, name: str) -> None:
        self._leave[name].set()

    def leave_all(self) -> None:
        for event in self._leave.values():
            event.set()

    async def _work(self, name: str, model: str, wait_at_most_s: float | None, wants: Wants) -> None:
        try:
            async with self._governor.slot(
                model, wait_at_most_s=wait_at_most_s, wants=wants, share=Share(name)
            ) as slot:
                slot.note_started()
                self.inside.append(name)
                await self._leave[name].wait()
                self.inside.remove(name)
        except LlmRetryableError as error:
            self.refused.append(error)


def governor_of(clock: ManualClock, **settings: float) -> Governor:
    """A governor without spacing or luck."""
    values = {"start_gap_s": 0.0, **settings}
    return Governor(clock=clock, settings=PacingSettings(**values), random=lambda: 1.0)  # type: ignore[arg-type] # ints among them


async def test_an_open_gate_lets_everyone_in_at_once() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(6):
            workers.ask(f"w{n}")
        await settle_loop()
        assert len(workers.inside) == 6
        workers.leave_all()


async def test_everyone_waits_out_a_retry_after_and_nobody_waits_for_another_model() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_retryable(MODEL, LlmOverloadedError("slow down", retry_after_s=30))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a")
        workers.ask("b")
        workers.ask("other", model="claude-haiku-5-5")
        await clock.advance(29.9)
        assert workers.inside == ["other"]
        await clock.advance(1.2)
        assert "a" in workers.inside
        workers.leave_all()


async def test_a_longer_retry_after_that_comes_while_waiting_is_waited_out_too() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_retryable(MODEL, LlmOverloadedError("slow down", retry_after_s=10))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a")
        await clock.advance(5)
        governor.note_retryable(MODEL, LlmOverloadedError("slower", retry_after_s=60))
        await clock.advance(50)
        assert workers.inside == []
        await clock.advance(12)
        assert workers.inside == ["a"]
        workers.leave_all()


async def test_back_off_doubles_from_failure_to_failure_up_to_the_cap_and_a_success_ends_it() -> None:
    clock = ManualClock()
    governor = governor_of(clock, first_backoff_s=1.0, max_backoff_s=8.0)
    waits = []
    for _ in range(6):
        governor.note_retryable(MODEL, LlmRetryableError("broken"))
        resume = governor.resume_at_ms(MODEL)
        assert resume is not None
        waits.append((resume - clock.now_ms()) / 1_000)
        await clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 8, 8]
    governor.note_success(MODEL)
    governor.note_retryable(MODEL, LlmRetryableError("broken"))
    assert governor.resume_at_ms(MODEL) == clock.now_ms() + 1_000


async def test_echoes_of_one_overload_do_not_double_the_back_off() -> None:
    clock = ManualClock()
    governor = governor_of(clock, first_backoff_s=4.0)
    for _ in range(6):
        governor.note_retryable(MODEL, LlmOverloadedError("overloaded"))
    assert governor.resume_at_ms(MODEL) == clock.now_ms() + 4_000


async def test_jitter_shortens_a_back_off_by_half_at_most_and_never_a_retry_after() -> None:
    clock = ManualClock()
    governor = Governor(clock=clock, settings=PacingSettings(first_backoff_s=4.0), random=lambda: 0.0)
    governor.note_retryable(MODEL, LlmRetryableError("broken"))
    assert governor.resume_at_ms(MODEL) == clock.now_ms() + 2_000
    governor.note_retryable("other", LlmRetryableError("broken", retry_after_s=7))
    assert governor.resume_at_ms("other") == clock.now_ms() + 7_000


async def test_an_overload_halves_how_many_run_at_once_and_successes_bring_them_back() -> None:
    clock = ManualClock()
    governor = governor_of(clock, max_concurrency=8)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(8):
            workers.ask(f"first{n}")
        await settle_loop()
        governor.note_retryable(MODEL, LlmOverloadedError("overloaded", retry_after_s=1))
        workers.leave_all()
        await clock.advance(2)
        for n in range(8):
            workers.ask(f"second{n}")
        await clock.advance(1)
        assert len(workers.inside) == 4
        for _ in range(5):
            governor.note_success(MODEL)
        await settle_loop()
        assert len(workers.inside) == 5
        for _ in range(60):
            governor.note_success(MODEL)
        await settle_loop()
        assert len(workers.inside) == 8
        workers.leave_all()


async def test_a_broken_stream_does_not_lower_how_many_run_at_once() -> None:
    clock = ManualClock()
    governor = governor_of(clock, max_concurrency=8)
    governor.note_retryable(MODEL, LlmRetryableError("the connection dropped"))
    await clock.advance(2)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(8):
            workers.ask(f"w{n}")
        await settle_loop()
        assert len(workers.inside) == 8
        workers.leave_all()


async def test_a_place_that_becomes_free_goes_to_a_waiting_worker() -> None:
    clock = ManualClock()
    governor = governor_of(clock, max_concurrency=1)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a")
        workers.ask("b")
        await settle_loop()
        assert workers.inside == ["a"]
        workers.leave("a")
        await settle_loop()
        assert workers.inside == ["b"]
        workers.leave_all()


async def test_a_worker_cancelled_in_its_slot_gives_its_place_back() -> None:
    clock = ManualClock()
    governor = governor_of(clock, max_concurrency=1)

    async def hold() -> None:
        async with governor.slot(MODEL):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        holder = group.create_task(hold())
        await settle_loop()
        workers.ask("b")
        await settle_loop()
        holder.cancel()
        await settle_loop()
        assert workers.inside == ["b"]
        workers.leave_all()


async def test_the_first_call_to_a_cold_model_goes_alone_until_it_begins_to_answer() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        async with governor.slot(MODEL) as slot:
            workers.ask("b")
            workers.ask("c")
            await settle_loop()
            assert workers.inside == []
            slot.note_started()
            await settle_loop()
            assert sorted(workers.inside) == ["b", "c"]
        workers.leave_all()


async def test_starts_are_spaced_as_the_limit_header_asks() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, {"anthropic-ratelimit-requests-limit": "60"})
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(3):
            workers.ask(f"w{n}")
        seen = []
        for _ in range(4):
            await settle_loop()
            seen.append(len(workers.inside))
            await clock.advance(1)
        assert seen == [1, 2, 3, 3]
        workers.leave_all()


@pytest.mark.parametrize(("reset_in_s", "waited_s"), [(20, 20), (4_000, 120), (-5, None)])
async def test_a_limit_that_is_used_up_closes_the_gate_until_its_reset_within_bounds(
    reset_in_s: int, waited_s: int | None
) -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    reset = datetime.datetime.fromtimestamp(clock.now_ms() / 1_000 + reset_in_s, datetime.UTC)
    governor.note_headers(
        MODEL,
        {
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )
    expected = None if waited_s is None else clock.now_ms() + waited_s * 1_000
    assert governor.resume_at_ms(MODEL) == expected


async def test_headers_that_make_no_sense_change_nothing() -> None:
    governor = governor_of(ManualClock())
    governor.note_headers(
        MODEL,
        {
            "anthropic-ratelimit-requests-limit": "many",
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "soon",
        },
    )
    assert governor.resume_at_ms(MODEL) is None


async def test_a_wait_longer_than_the_caller_has_is_refused_at_once_with_its_length() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_retryable(MODEL, LlmRetryableError("come back tomorrow", retry_after_s=86_400))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a", wait_at_most_s=3_600)
        await settle_loop()
    assert workers.refused[0].retry_after_s is not None
    assert workers.refused[0].retry_after_s >= 86_400
    assert "come back tomorrow" in workers.refused[0].message


async def test_whoever_is_held_up_is_told_for_how_long_and_why() -> None:
    clock = ManualClock()
    told: list[tuple[str, float, str]] = []
    governor = Governor(
        clock=clock, random=lambda: 0.0, on_wait=lambda model, wait_s, why: told.append((model, wait_s, why))
    )
    governor.note_retryable(MODEL, LlmOverloadedError("rate limited", retry_after_s=5))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a")
        await clock.advance(6)
        workers.leave_all()
    assert told == [(MODEL, 5.0, "rate limited")]


async def test_the_time_to_resume_survives_a_restart() -> None:
    clock = ManualClock()
    before = governor_of(clock)
    before.note_retryable(MODEL, LlmOverloadedError("rate limited", retry_after_s=50))
    resume_at_ms = before.resume_at_ms(MODEL)
    assert resume_at_ms is not None
    await clock.advance(20)
    after = governor_of(clock)
    after.close_until(MODEL, resume_at_ms, "rate limited before the restart")
    assert after.resume_at_ms(MODEL) == resume_at_ms
    await clock.advance(40)
    assert after.resume_at_ms(MODEL) is None


def limits(clock: ManualClock, **kinds: tuple[int, int]) -> dict[str, str]:
    """Headers as a response carries them: a minute's limit, and what remains of it."""
    headers = {}
    for kind, (limit, remaining) in kinds.items():
        name = f"anthropic-ratelimit-{kind.replace('_', '-')}"
        reset = datetime.datetime.fromtimestamp(clock.now_ms() / 1_000 + 60, datetime.UTC)
        headers[f"{name}-limit"] = str(limit)
        headers[f"{name}-remaining"] = str(remaining)
        headers[f"{name}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


async def test_input_tokens_are_spent_in_advance_and_come_back_with_time() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 25_000)))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(3):
            workers.ask(f"w{n}", wants=Wants(20_000))
        seen = []
        for _ in range(5):
            await settle_loop()
            seen.append(len(workers.inside))
            await clock.advance(10)
        # 5,000 are left, and 1,000 a second come back: the second starts after 15 s, the third after 35 s.
        assert seen == [1, 1, 2, 2, 3]
        workers.leave_all()


async def test_a_limit_that_is_used_up_does_not_hold_anyone_longer_than_it_takes_to_refill() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 0)))
    assert governor.resume_at_ms(MODEL) is None
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a", wants=Wants(2_000))
        await clock.advance(1.9)
        assert workers.inside == []
        await clock.advance(0.2)
        assert workers.inside == ["a"]
        workers.leave_all()


async def test_a_prompt_larger_than_the_minutes_limit_waits_for_a_full_minute_and_goes() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(10_000, 5_000)))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a", wants=Wants(90_000))
        await clock.advance(29)
        assert workers.inside == []
        await clock.advance(2)
        assert workers.inside == ["a"]
        workers.leave_all()


async def test_what_a_call_did_not_use_is_given_back_and_more_than_expected_is_taken() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 20_000)))
    wants = Wants(20_000)
    async with governor.slot(MODEL, wants=wants) as slot:
        slot.note_used(Usage(input_tokens=1_000, cache_write_5m_tokens=500, cache_read_tokens=400_000))
    begun = clock.now_s
    async with asyncio.TaskGroup() as group:
        waiting = Workers(governor, group)
        waiting.ask("a", wants=wants)
        await clock.advance(1.4)
        assert waiting.inside == []
        await clock.advance(0.2)
        assert waiting.inside == ["a"]
        waiting.leave_all()
    assert clock.now_s - begun < 2


async def test_a_refused_call_gives_back_all_of_its_tokens() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 20_000), output_tokens=(60_000, 1_000)))
    for _ in range(3):
        async with governor.slot(MODEL, wants=Wants(20_000, 1_000)):
            pass
    assert clock.now_s == 1_000.0


def test_a_slot_in_which_no_request_was_made_costs_none() -> None:
    buckets = RateBuckets()
    buckets.learn(
        {"anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "1"}, 0
    )
    charge = buckets.charge_of(NOTHING)
    buckets.spend(charge, 0)
    assert buckets.hold_s(charge, 0) == (1.0, "requests")
    buckets.correct(charge, Charge(), 0)
    assert buckets.hold_s(charge, 0) == (0.0, "")
    buckets.spend(charge, 0)
    buckets.correct(charge, Charge(requests=1.0), 0)
    assert buckets.hold_s(charge, 0.5) == (0.5, "requests")


async def test_output_is_spent_as_much_as_calls_usually_answer_and_not_max_tokens() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, output_tokens=(6_000, 6_000)))
    for _ in range(40):
        async with governor.slot(MODEL, wants=Wants(0, 64_000)) as slot:
            slot.note_used(Usage(output_tokens=100))
        await clock.advance(1)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        for n in range(20):
            workers.ask(f"w{n}", wants=Wants(0, 64_000))
        await settle_loop()
        assert len(workers.inside) == 20
        workers.leave_all()


async def test_a_header_never_raises_what_calls_under_way_have_spent() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 20_000)))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a", wants=Wants(20_000))
        await settle_loop()
        governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 20_000)))
        workers.ask("b", wants=Wants(20_000))
        await settle_loop()
        assert workers.inside == ["a"]
        workers.leave_all()
        await clock.advance(20)


async def test_a_wait_for_the_minutes_limit_that_is_long_is_told_and_a_short_one_is_not() -> None:
    clock = ManualClock()
    told: list[tuple[float, str]] = []
    settings = PacingSettings(start_gap_s=0.0)
    governor = Governor(
        clock=clock, settings=settings, on_wait=lambda _model, wait_s, why: told.append((wait_s, why))
    )
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 0)))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("short", wants=Wants(1_000))
        await clock.advance(1)
        workers.ask("long", wants=Wants(30_000))
        await clock.advance(30)
        assert sorted(workers.inside) == ["long", "short"]
        workers.leave_all()
    assert told == [(30.0, "the limit on input tokens a minute")]


async def test_under_a_limit_each_priority_gets_its_share_and_nobody_starves() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 0)))
    served: dict[str, int] = {"critical": 0, "middle": 0, "idle": 0}

    async def work(name: str, priority: int) -> None:
        while True:
            share, wants = Share(name, priority), Wants(1_000)
            async with governor.slot(MODEL, wants=wants, share=share) as slot:
                slot.note_started()
                slot.note_used(Usage(input_tokens=1_000))
                served[name] += 1

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(work(name, priority))
            for name, priority in (("idle", 1), ("middle", 3), ("critical", 5))
        ]
        for _ in range(90):
            await clock.advance(1)
        for task in tasks:
            task.cancel()
    assert sum(served.values()) == 90
    assert served == {"critical": 50, "middle": 30, "idle": 10}


async def test_one_who_leaves_the_line_holds_up_nobody_behind() -> None:
    clock = ManualClock()
    governor = governor_of(clock, max_concurrency=1)
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a")
        await settle_loop()
        workers.ask("impatient", wait_at_most_s=0.0)
        workers.ask("b")
        await settle_loop()
        workers.leave("a")
        await settle_loop()
        assert workers.inside == ["b"]
        workers.leave_all()


async def test_a_limit_of_less_than_a_wait_allows_is_refused_at_once_with_its_length() -> None:
    clock = ManualClock()
    governor = governor_of(clock)
    governor.note_headers(MODEL, limits(clock, input_tokens=(60_000, 0)))
    async with asyncio.TaskGroup() as group:
        workers = Workers(governor, group)
        workers.ask("a", wait_at_most_s=10, wants=Wants(30_000))
        await settle_loop()
    assert workers.refused[0].retry_after_s == 30.0
    assert "input tokens" in workers.refused[0].message
