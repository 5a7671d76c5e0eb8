"""How many lines a change adds and removes, told without a program of its own for what people usually change.

The fewest that there can be (git tells as many, rarely some more): what begins and ends alike is left out,
then lines that only one side has, which no way of comparing can keep; the rest is compared by the greedy
algorithm of Myers ("An O(ND) Difference Algorithm and Its Variations", 1986), up to a bound. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

_MOST_EDITS = 200
"""Of what is left to compare; the work grows with its square. More is git's to count."""


def lines_changed(before: bytes, after: bytes) -> tuple[int, int] | None:
    """Return the lines added and removed; None when too much differs to be told quickly."""
    old, new = _lines(before), _lines(after)
    start = _alike(old, new)
    old, new = old[start:], new[start:]
    end = _alike(old[::-1], new[::-1])
    old, new = old[: len(old) - end], new[: len(new) - end]
    shared = set(old).intersection(new)
    if not shared:
        return len(new), len(old)
    old_shared = [line for line in old if line in shared]
    new_shared = [line for line in new if line in shared]
    edits = _fewest_edits(old_shared, new_shared)
    if edits is None:
        return None
    # Of as many edits, what is added more than removed is what the one side is longer.
    removed = (edits + len(old_shared) - len(new_shared)) // 2
    added = edits - removed
    return added + len(new) - len(new_shared), removed + len(old) - len(old_shared)


def _lines(content: bytes) -> list[bytes]:
    """Split into lines; a last one without a newline is another line than the same with one."""
    *lines, rest = content.split(b"\n")
    return [*lines, rest + b"\n"] if rest else lines


def _alike(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """Return how many lines both begin with."""
    for number, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return number
    return min(len(one), len(other))


def _fewest_edits(old: Sequence[bytes], new: Sequence[bytes]) -> int | None:
    """Return how many lines must go or come to make `new` of `old`; None when more than the bound."""
    reached = {1: 0}
    """The furthest line of `old` that so many edits lead to, by diagonal."""
    for edits in range(_MOST_EDITS + 1):
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and reached[diagonal - 1] < reached[diagonal + 1])
            at = reached[diagonal + 1] if down else reached[diagonal - 1] + 1
            while at < len(old) and at - diagonal < len(new) and old[at] == new[at - diagonal]:
                at += 1
            reached[diagonal] = at
            if at >= len(old) and at - diagonal >= len(new):
                return edits
    return None
