"""The simulated prompt cache, and the server's price list against ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.domain.usage import Usage
from agentcoord.llm.pricing import PriceList
from agentcoord.llm.rehearsal.books import KNOWN_MODELS, price_usd_micros
from agentcoord.llm.rehearsal.prefix_cache import PrefixCache, PromptUsage, count_prompt_tokens, tokens_of

FIVE_MINUTES = {"type": "ephemeral", "ttl": "5m"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
TOKENS = st.integers(min_value=0, max_value=200_000)


def text(words: str, mark: dict[str, str] | None = None) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": words}
    return block if mark is None else block | {"cache_control": mark}


def request(*turns: dict[str, Any], system: str = "s" * 4_000, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [block]} for block in turns]
    return {"model": "claude-sonnet-5-5", "system": [text(system, HOUR)], "messages": messages, **more}


def ask(cache: PrefixCache, asked: dict[str, Any], now: float) -> PromptUsage:
    lookup = cache.look_up(asked, now)
    cache.write(lookup, now)
    assert lookup.usage.prompt_tokens == count_prompt_tokens(asked)
    return lookup.usage


def test_a_prefix_is_written_once_and_read_afterwards() -> None:
    cache = PrefixCache()
    first = ask(cache, request(text("a" * 400, FIVE_MINUTES)), 0)
    assert first.cache_write_1h_tokens > 1_000
    assert first.cache_write_5m_tokens > 100
    assert (first.input_tokens, first.cache_read_tokens) == (0, 0)
    second = ask(cache, request(text("a" * 400, FIVE_MINUTES)), 1)
    assert second == PromptUsage(0, first.prompt_tokens, 0, 0)


def test_what_follows_the_last_breakpoint_is_plain_input() -> None:
    cache = PrefixCache()
    usage = ask(cache, request(text("a" * 400, FIVE_MINUTES), text("b" * 40)), 0)
    assert usage.input_tokens == tokens_of('{"text":"' + "b" * 40 + '","type":"text"}')


def test_a_five_minute_entry_expires_while_the_hour_entry_before_it_lives() -> None:
    cache = PrefixCache()
    asked = request(text("a" * 400, FIVE_MINUTES))
    first = ask(cache, asked, 0)
    later = ask(cache, asked, 301)
    assert later.cache_read_tokens == first.cache_write_1h_tokens
    assert later.cache_write_5m_tokens == first.cache_write_5m_tokens
    assert ask(cache, asked, 301 + 3_601).cache_read_tokens == 0


def test_reading_an_entry_lets_it_live_on() -> None:
    cache = PrefixCache()
    asked = request(text("a" * 400, FIVE_MINUTES))
    whole = ask(cache, asked, 0).prompt_tokens
    for now in (200.0, 400.0, 600.0):
        assert ask(cache, asked, now).cache_read_tokens == whole


def test_an_answer_that_never_began_writes_nothing() -> None:
    cache = PrefixCache()
    cache.look_up(request(text("a")), 0)
    assert ask(cache, request(text("a")), 1).cache_read_tokens == 0


def test_a_change_at_the_front_misses_everything() -> None:
    cache = PrefixCache()
    ask(cache, request(text("a", FIVE_MINUTES)), 0)
    assert ask(cache, request(text("a", FIVE_MINUTES), system="t" + "s" * 3_999), 1).cache_read_tokens == 0
    other_effort = request(text("a", FIVE_MINUTES), output_config={"effort": "low"})
    assert ask(cache, other_effort, 1).cache_read_tokens == 0


def test_a_prefix_below_the_minimum_is_not_cached() -> None:
    cache = PrefixCache()
    asked = request(text("a", FIVE_MINUTES), system="short")
    assert ask(cache, asked, 0).cache_write_1h_tokens == 0
    assert ask(cache, asked, 1).cache_read_tokens == 0


def test_the_lookup_walks_back_twenty_blocks_and_no_further() -> None:
    past = [text(f"turn {n} " + "x" * 4_000) for n in range(30)]
    for added, hit in ((18, True), (25, False)):
        cache = PrefixCache()
        bare = {"model": "claude-sonnet-5-5", "system": [text("s")]}
        blocks = [*past[:2], text("end", FIVE_MINUTES)]
        ask(cache, bare | {"messages": [{"role": "user", "content": blocks}]}, 0)
        longer = [*past[:2], text("end"), *past[3 : 3 + added], text("new end", FIVE_MINUTES)]
        usage = ask(cache, bare | {"messages": [{"role": "user", "content": longer}]}, 1)
        assert (usage.cache_read_tokens > 0) is hit


@given(
    model=st.sampled_from(KNOWN_MODELS),
    prompt=st.builds(PromptUsage, TOKENS, TOKENS, TOKENS, TOKENS),
    output=st.integers(min_value=0, max_value=128_000),
)
def test_the_servers_books_and_our_price_list_agree_to_the_micro_dollar(
    model: str, prompt: PromptUsage, output: int
) -> None:
    usage = Usage(
        input_tokens=prompt.input_tokens,
        cache_write_5m_tokens=prompt.cache_write_5m_tokens,
        cache_write_1h_tokens=prompt.cache_write_1h_tokens,
        cache_read_tokens=prompt.cache_read_tokens,
        output_tokens=output,
    )
    assert price_usd_micros(model, prompt, output) == PriceList.load().cost_usd_micros(usage, model)


def test_both_price_lists_know_the_same_models() -> None:
    assert set(KNOWN_MODELS) == set(PriceList.load().models)


@pytest.mark.parametrize(
    ("words", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("\u6df1", 1), ("\u6df1\u591c", 2)]
)
def test_tokens_are_bytes_over_four_rounded_up(words: str, tokens: int) -> None:
    assert tokens_of(words) == tokens
