"""The price list: its data, its arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmPriceError
from agentcoord.llm.pricing import PriceList

PRICES = PriceList.load()
MILLION = 1_000_000
TOKENS = st.integers(min_value=0, max_value=300_000)


@pytest.mark.parametrize(
    ("model", "usage", "usd_micros"),
    [
        ("claude-haiku-5-5", Usage(input_tokens=100_000), 10_000),
        ("claude-haiku-5-5", Usage(input_tokens=100_001), 50_001),
        (
            "claude-haiku-5-5",
            Usage(input_tokens=50_000, cache_read_tokens=50_001, output_tokens=1_000),
            30_001,
        ),
        ("claude-haiku-5-5", Usage(output_tokens=MILLION), 500_000),
        ("claude-sonnet-5-5", Usage(input_tokens=MILLION), 2_000_000),
        ("claude-sonnet-5-5", Usage(output_tokens=MILLION), 10_000_000),
        ("claude-sonnet-5-5", Usage(cache_write_5m_tokens=MILLION), 2_500_000),
        ("claude-sonnet-5-5", Usage(cache_write_1h_tokens=MILLION), 4_000_000),
        ("claude-sonnet-5-5", Usage(cache_read_tokens=MILLION), 100_000),
        ("claude-opus-5-5", Usage(MILLION, MILLION, MILLION, MILLION, MILLION), 37_200_000),
        ("claude-fable-5-2", Usage(MILLION, MILLION, MILLION, MILLION, MILLION), 74_200_000),
        ("claude-sonnet-5-5-20261007", Usage(input_tokens=5), 10),
    ],
)
def test_a_call_costs_what_the_list_says(model: str, usage: Usage, usd_micros: int) -> None:
    assert PRICES.cost_usd_micros(usage, model) == usd_micros


def test_a_fraction_of_a_micro_dollar_is_rounded_up() -> None:
    assert PRICES.cost_usd_micros(Usage(cache_read_tokens=1), "claude-haiku-5-5") == 1
    assert PRICES.cost_usd_micros(Usage(cache_read_tokens=100), "claude-haiku-5-5") == 1
    assert PRICES.cost_usd_micros(Usage(cache_read_tokens=101), "claude-haiku-5-5") == 2


@given(
    model=st.sampled_from(sorted(PRICES.models)),
    kinds=st.tuples(TOKENS, TOKENS, TOKENS, TOKENS),
    output=st.integers(min_value=0, max_value=64_000),
)
def test_no_split_of_the_input_costs_more_than_the_worst_case(
    model: str, kinds: tuple[int, int, int, int], output: int
) -> None:
    usage = Usage(*kinds, output_tokens=output)
    worst = PRICES.worst_case_usd_micros(usage.prompt_tokens, output, model)
    assert PRICES.cost_usd_micros(usage, model) <= worst


@given(
    model=st.sampled_from(sorted(PRICES.models)),
    tokens=TOKENS,
    left=st.integers(min_value=0, max_value=10 * MILLION),
)
def test_what_is_affordable_fits_and_one_token_more_does_not(model: str, tokens: int, left: int) -> None:
    affordable = PRICES.affordable_max_tokens(tokens, left, model)
    assert affordable is not None
    if affordable > 0:
        assert PRICES.worst_case_usd_micros(tokens, affordable, model) <= left
    assert PRICES.worst_case_usd_micros(tokens, affordable + 1, model) > left


def test_an_unknown_model_is_refused_with_the_way_on() -> None:
    with pytest.raises(LlmPriceError, match="qwen-local") as caught:
        PRICES.price("qwen-local")
    assert "price_file" in caught.value.mend


_FREE = (
    "[[model]]\nname = 'x'\nas_of = 2026-11-01\n"
    "input = 0\noutput = 0\ncache_write_5m = 0\ncache_write_1h = 0\ncache_read = 0\n"
)


def test_an_override_adds_and_replaces_models_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        "[[model]]\nname = 'qwen-local'\nas_of = 2026-11-01\ncontext_tokens = 32768\n"
        "input = 0\noutput = 0\ncache_write_5m = 0\ncache_write_1h = 0\ncache_read = 0\n"
        "[[model]]\nname = 'claude-sonnet-5-5'\nas_of = 2026-11-01\n"
        "input = 1.5\noutput = 9\ncache_write_5m = 2\ncache_write_1h = 3\ncache_read = 0.1\n"
    )
    prices = PriceList.load(path)
    assert prices.cost_usd_micros(Usage(MILLION, output_tokens=MILLION), "qwen-local") == 0
    assert prices.affordable_max_tokens(1_000, 0, "qwen-local") is None
    assert prices.price("qwen-local").context_tokens == 32_768
    assert prices.price("claude-sonnet-5-5").context_tokens is None
    assert prices.cost_usd_micros(Usage(input_tokens=MILLION), "claude-sonnet-5-5") == 1_500_000
    assert prices.price("claude-opus-5-5") == PRICES.price("claude-opus-5-5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[model", "not TOML"),
        ("[[model]]\nas_of = 2026-11-01", "no name"),
        ("[[model]]\nname = 'x'\nas_of = 'yesterday'", "as_of must be a date"),
        ("[[model]]\nname = 'x'\nas_of = 2026-11-01\ninput = -1", "input must be"),
        ("[[model]]\nname = 'x'\nas_of = 2026-11-01\ninput = nan", "input must be"),
        ("[[model]]\nname = 'x'\nas_of = 2026-11-01\ninput = true", "input must be"),
        ("[[model]]\nname = 'x'\nas_of = 2026-11-01\ninptu = 1", "unknown key 'inptu'"),
        ("[[models]]\nname = 'x'", "unknown key 'models'"),
        (_FREE + "context_tokens = 0", "context_tokens must be"),
        (_FREE + "context_tokens = true", "context_tokens must be"),
        (_FREE + "context_tokens = '32k'", "context_tokens must be"),
    ],
)
def test_a_wrong_override_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(LlmPriceError, match=words):
        PriceList.load(path)


def test_an_override_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LlmPriceError, match="cannot be read"):
        PriceList.load(tmp_path / "none.toml")
