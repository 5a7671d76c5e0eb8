"""Who waits for whom: finds the deadlock that a new wait would close. Pure.

A task waits for at most one file at a time, and a file has one holder, so the graph has
at most one edge out of each node and a cycle is found by walking it.
"""

from __future__ import annotations

from collections.abc import Mapping


def would_deadlock(waits_for: Mapping[str, str], waiter: str, holder: str) -> bool:
    """Whether `waiter` waiting for `holder` would close a cycle.

    `waits_for` maps each waiting task to the task that holds what it waits for. Linear in
    the number of waiting tasks.
    """
    node = holder
    for _ in range(len(waits_for) + 1):
        if node == waiter:
            return True
        following = waits_for.get(node)
        if following is None:
            return False
        node = following
    return False
