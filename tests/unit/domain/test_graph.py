"""Cycles, orders and dependents of the graph of needs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcoord.domain.graph import dependents_of, find_cycles, topological_order
from agentcoord.domain.wait_graph import who_would_deadlock

_IDS = st.sampled_from("abcdefgh")
_GRAPHS = st.dictionaries(_IDS, st.lists(_IDS, max_size=4), max_size=8)


def test_a_cycle_is_told_in_the_order_of_its_arrows() -> None:
    assert find_cycles({"c": ["a"], "a": ["b"], "b": ["c"], "d": ["a"]}) == [["a", "b", "c"]]


def test_two_cycles_are_both_found() -> None:
    assert find_cycles({"a": ["b"], "b": ["a"], "x": ["x"]}) == [["a", "b"], ["x"]]


def test_what_only_leads_to_a_cycle_is_no_part_of_it() -> None:
    assert find_cycles({"up": ["a"], "a": ["a", "down"], "down": []}) == [["a"]]


@given(_GRAPHS)
def test_the_order_holds_all_ids_exactly_when_there_is_no_cycle(graph: dict[str, list[str]]) -> None:
    order = topological_order(graph)
    assert (len(order) == len(graph)) == (find_cycles(graph) == [])
    place = {node: at for at, node in enumerate(order)}
    for node in order:
        assert all(place[need] < place[node] for need in graph[node] if need in graph)


@given(_GRAPHS)
def test_every_found_cycle_really_closes(graph: dict[str, list[str]]) -> None:
    for cycle in find_cycles(graph):
        for node, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert following in graph[node]


def test_dependents_are_found_through_others() -> None:
    assert dependents_of({"c": ["b"], "b": ["a"], "a": [], "x": []}, ["a"]) == {"b", "c"}


def test_a_wait_that_closes_a_circle_is_a_deadlock() -> None:
    assert who_would_deadlock({"b": ["c"], "c": ["a"]}, "a", ["b"]) == "b"
    assert who_would_deadlock({"b": ["c"]}, "a", ["b"]) is None
    assert who_would_deadlock({}, "a", ["a"]) == "a"


def test_a_circle_through_any_of_several_holders_is_found() -> None:
    waits_for = {"b": ["x", "c"], "c": ["x"], "d": ["x", "a"], "x": ["y", "b"]}
    assert who_would_deadlock(waits_for, "a", ["b", "c", "d"]) == "d"
    assert who_would_deadlock(waits_for, "a", ["b", "c"]) is None
