from __future__ import annotations

import pytest

from agentcoord.store.place_in_line import PRIORITY_LEVEL_MS, encode_writes, priority_bonus_ms


def test_each_level_of_priority_is_worth_an_hour_of_age() -> None:
    assert PRIORITY_LEVEL_MS == 60 * 60 * 1000
    assert priority_bonus_ms(5) - priority_bonus_ms(4) == PRIORITY_LEVEL_MS


@pytest.mark.parametrize(
    ("writes", "encoded"),
    [
        ([], ""),
        (["src/a.py"], "=src/a.py"),
        (["./src/a.py", "/src/a.py"], "=src/a.py"),
        (["src/**/*.py"], "^src/"),
        (["src/a?.py"], "^src/a"),
        (["src/[ab].py"], "^src/"),
        (["docs/"], "^docs/"),
        (["*"], "^"),
        ([""], "^"),
        (["b.py", "a.py"], "=a.py\n=b.py"),
        (["odd\nname.py"], "^odd"),
    ],
)
def test_declared_writes_become_paths_and_prefixes(writes: list[str], encoded: str) -> None:
    assert encode_writes(writes) == encoded
