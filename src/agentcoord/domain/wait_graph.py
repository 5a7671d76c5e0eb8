"""Who waits for whom: finds the deadlock that a new wait would close. Pure.

A task that waits for a set of files waits for all of their holders at once, so the graph may have
several edges out of each node, and a cycle is found by following all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

_Node = TypeVar("_Node", bound=str)


def reaches(waits_for: Mapping[_Node, Collection[_Node]], start: _Node, goal: _Node) -> bool:
    """Whether `start` is `goal`, or waits for it, directly or through others.

    `waits_for` maps each waiting task to those that it waits for. Linear in their number.
    """
    seen = {start}
    ahead = [start]
    while ahead:
        node = ahead.pop()
        if node == goal:
            return True
        new = set(waits_for.get(node, ())) - seen
        seen |= new
        ahead += new
    return False


def who_would_deadlock(
    waits_for: Mapping[_Node, Collection[_Node]], waiter: _Node, holders: Iterable[_Node]
) -> _Node | None:
    """Return the first of `holders` for which `waiter` cannot wait without closing a cycle; None: it may."""
    return next((holder for holder in holders if reaches(waits_for, holder, waiter)), None)
