"""The governor against the provider's limits, as the rehearsal server keeps them: used up, not passed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from llm_fakes import ManualClock, request

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmOverloadedError
from agentcoord.llm.pacing import Governor, Share
from agentcoord.llm.prompt_size import CachedPrefix, estimate_input_tokens
from agentcoord.llm.rate_buckets import Wants
from agentcoord.llm.rehearsal.prefix_cache import PromptUsage
from agentcoord.llm.rehearsal.rate_limits import Limits, RateLimits

MODEL = "claude-haiku-5-5"
ANSWER_S = 5.0


@dataclass
class Provider:
    """A model behind limits, and how often it had to refuse."""

    clock: ManualClock
    limits: Limits
    served: int = 0
    refused: int = 0
    buckets: RateLimits = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = RateLimits(self.limits)

    async def work(self, governor: Governor, name: str, usage: Usage, wants: Wants) -> None:
        """Call for ever, as one task does."""
        prompt = PromptUsage(usage.input_tokens, usage.cache_read_tokens, 0, 0)
        while True:
            async with governor.slot(MODEL, wants=wants, share=Share(name)) as slot:
                now_s = self.clock.monotonic()
                too_early_s = self.buckets.take(MODEL, prompt, now_s)
                governor.note_headers(MODEL, self.buckets.headers(MODEL, now_s, self.clock.now_ms()))
                if too_early_s is not None:
                    self.refused += 1
                    error = LlmOverloadedError("too early", retry_after_s=too_early_s)
                    governor.note_retryable(MODEL, error)
                    continue
                slot.note_started()
                await self.clock.sleep(ANSWER_S)
                self.buckets.charge_output(MODEL, usage.output_tokens, self.clock.monotonic())
                slot.note_used(usage)
                governor.note_success(MODEL)
                self.served += 1


@pytest.mark.parametrize(
    ("limits", "calls_a_minute"),
    [
        (Limits(50, 60_000, 9_000), 22.5),
        (Limits(50, 30_000, 80_000), 15.0),
        (Limits(12, 900_000, 80_000), 12.0),
    ],
)
async def test_scarce_minutes_are_used_up_and_hardly_ever_refused(
    limits: Limits, calls_a_minute: float
) -> None:
    clock = ManualClock()
    provider = Provider(clock, limits)
    governor = Governor(clock=clock, random=lambda: 1.0)
    usage = Usage(input_tokens=2_000, cache_read_tokens=30_000, output_tokens=400)
    minutes = 10
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(provider.work(governor, f"t{n}", usage, Wants(2_400, 16_000))) for n in range(6)
        ]
        await clock.advance(60 * minutes)
        for task in tasks:
            task.cancel()
    assert provider.served >= 0.9 * calls_a_minute * minutes
    assert provider.refused <= 0.02 * provider.served


def test_what_the_last_call_sent_is_expected_to_be_in_the_cache_while_it_is_young() -> None:
    cached = CachedPrefix()
    assert cached.uncached_of(10_000, now_s=0) == 10_000
    cached.note_sent(10_000, now_s=0)
    assert cached.uncached_of(12_500, now_s=200) == 2_500
    assert cached.uncached_of(12_500, now_s=300) == 12_500, "marks live five minutes"
    assert cached.uncached_of(4_000, now_s=200) == 4_000, "a new conversation has another prefix"


def test_only_what_was_added_to_a_conversation_is_expected_to_cost_of_the_minutes_input() -> None:
    first, second = request(text="Task id: t1\n" + "x" * 9_000), request(text="Task id: t1\n" + "x" * 12_000)
    cached = CachedPrefix()
    cached.note_sent(estimate_input_tokens(first), now_s=0)
    assert cached.uncached_of(estimate_input_tokens(second), now_s=1) == 1_000
