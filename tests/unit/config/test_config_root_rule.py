"""One rule for who may be root."""

from __future__ import annotations

import pytest

from agentcoord.config.root_rule import root_allowed


@pytest.mark.parametrize("word", ["1", "true", "yes", "TRUE", " on "])
def test_a_yes_allows(word: str) -> None:
    assert root_allowed({"AGENTCOORD_ALLOW_ROOT": word})


@pytest.mark.parametrize("word", ["", "0", "no", "false", "off", "maybe", "2"])
def test_anything_else_does_not(word: str) -> None:
    assert not root_allowed({"AGENTCOORD_ALLOW_ROOT": word})
    assert root_allowed({"AGENTCOORD_ALLOW_ROOT": word}, flag=True)


def test_silence_does_not() -> None:
    assert not root_allowed({})
