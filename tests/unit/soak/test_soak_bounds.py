"""The soak's bounds on what may grow: each is red just above what it allows, and green below."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts" / "soak"))
from soak_watch import BOUNDS, Bound, Sample, grown

THIRD = 5
DONE_A_LOOK = 4
FIELDS = {
    "memory, MB": "memory_mb",
    "descriptors": "descriptors",
    "connections to the store": "connections",
    "threads": "threads",
    "children": "children",
    "keys beside those of tasks": "keys",
    "the server's memory, MB": "redis_mb",
    "state folder, MB": "state_mb",
    "files of a copy that the tree has not": "strays",
    "leftovers": "leftovers",
}


def life(pid: int = 1, looks: int = 3 * THIRD) -> list[Sample]:
    """A daemon that does tasks and grows by nothing."""
    return [Sample(2.0 * n, pid, DONE_A_LOOK * n, 100, 20, 4, 8, 2, 40, 3, 10, 0, 1) for n in range(looks)]


def with_growth(bound: Bound, by: float) -> list[Sample]:
    """The same, but in the last third there is more of one thing."""
    field = FIELDS[bound.name]
    calm, last = life()[: 2 * THIRD], life()[2 * THIRD :]
    return calm + [replace(each, **{field: getattr(each, field) + by}) for each in last]


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_what_grows_more_than_its_tasks_explain_is_told_and_nothing_below(bound: Bound) -> None:
    allowed = bound.flat + bound.a_task * DONE_A_LOOK * THIRD
    assert list(grown(with_growth(bound, allowed - 0.1))) == []
    (told,) = grown(with_growth(bound, allowed + 0.1))
    assert told == f"{bound.name} grew by {allowed + 0.1:.1f} over {DONE_A_LOOK * THIRD} tasks"


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_what_was_there_from_the_start_or_came_and_went_is_no_growth(bound: Bound) -> None:
    field = FIELDS[bound.name]
    samples = life()
    for number in (*range(THIRD), THIRD + 1, 2 * THIRD + 1):
        samples[number] = replace(samples[number], **{field: 10_000})
    assert list(grown(samples)) == []


def test_only_the_longest_life_is_judged_and_one_that_is_too_short_is_told() -> None:
    (bound,) = (each for each in BOUNDS if each.name == "memory, MB")
    anew = [replace(each, memory_mb=500.0) for each in life(pid=2, looks=3 * THIRD - 1)]
    assert list(grown([*life(), *anew])) == []
    assert list(grown([*anew, *with_growth(bound, 50.0)])) == ["memory, MB grew by 50.0 over 20 tasks"]
    for samples in ([], life(looks=5)):
        assert list(grown(samples)) == ["no daemon lived long enough to be judged"]
