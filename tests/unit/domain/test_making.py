"""What is made quickly is the same as what is made slowly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from agentcoord.domain.making import quick_maker


@dataclass(frozen=True, slots=True)
class _Thing:
    name: str
    size: int = 3
    more: Mapping[str, int] = field(default_factory=dict)


def test_what_is_made_is_equal_to_and_as_frozen_as_what_the_class_makes() -> None:
    make = quick_maker(_Thing)
    made = make("a", more={"b": 1})
    assert type(made) is _Thing
    assert made == _Thing("a", 3, {"b": 1})
    assert replace(made, size=4) == _Thing("a", 4, {"b": 1})
    with pytest.raises(FrozenInstanceError):
        made.size = 5  # type: ignore[misc]  # That it cannot be set is the point.


def test_a_default_that_is_made_anew_is_nobody_elses() -> None:
    make = quick_maker(_Thing)
    assert make("a").more is not make("b").more


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match=r"_Thing.*'name'"):
        quick_maker(_Thing)()  # type: ignore[call-arg]  # That it is missed is the point.
