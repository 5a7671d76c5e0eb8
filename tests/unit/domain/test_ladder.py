"""The ladder: plain names stay what they were, and a rung may have an effort of its own."""

from __future__ import annotations

import pytest

from agentcoord.config.load import read_settings
from agentcoord.domain.ladder import Rung, rung_for
from agentcoord.errors import ConfigError


def test_a_plain_name_takes_the_effort_of_the_settings() -> None:
    assert Rung.of("claude-haiku-5-5", "medium") == Rung("claude-haiku-5-5", "medium")


@pytest.mark.parametrize("model", ["qwen3:8b", "claude-sonnet-5@20260101", "vendor/model.v1:0"])
def test_an_effort_stands_after_a_space_whatever_the_name_holds(model: str) -> None:
    assert Rung.of(f"{model} high", "medium") == Rung(model, "high")
    assert Rung.of(model, "") == Rung(model, "")


def test_each_attempt_stands_one_rung_higher_and_the_last_is_kept() -> None:
    models = read_settings('[models]\nladder = ["a low", "a", "b max"]\neffort = "high"\n', {}).models
    found = [rung_for(attempt, models.rungs) for attempt in (0, 1, 2, 3, 4, 9)]
    low, high, most = Rung("a", "low"), Rung("a", "high"), Rung("b", "max")
    assert found == [low, low, high, most, most, most]


def test_an_environment_variable_may_name_efforts_too() -> None:
    settings = read_settings("", {"AGENTCOORD_MODELS_LADDER": "a low, b"})
    assert settings.models.rungs == (Rung("a", "low"), Rung("b", "medium"))


@pytest.mark.parametrize(
    ("entry", "words"), [("a hasty", "none of low"), ("a low b", "no model"), ("", "no model")]
)
def test_what_is_no_rung_is_refused_in_words(entry: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"models.ladder: .*{words}"):
        read_settings(f'[models]\nladder = ["{entry}"]\n', {})
