"""Fitting a table's columns into a width: which stay, and how wide each becomes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentcoord.values import dataclass

GAP: Final = 1
"""Cells between two columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `LineTable`. Widths are in cells."""

    name: str
    title: str
    least: int
    """Below this width it makes no sense."""
    most: int = 0
    """It grows to its longest cell, up to this; 0: it stays at `least`. Flexible ones ignore it."""
    flex: int = 0
    """Its share of what is left; 0: a fixed column."""
    right: bool = False
    """Aligned right, as numbers are."""
    rank: int = 0
    """Where there is no room, the highest rank goes first; 0 never goes."""


def lay_out(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Return a width for each column, 0 for one that was dropped.

    `natural` holds each column's longest cell. Columns are dropped by rank until the others have
    the width that their content wants; then the fixed ones give way if they must, and the flexible
    ones share what is left.
    """
    wanted = [
        column.least if column.flex else max(column.least, min(natural[i], column.most))
        for i, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while (worst := _worst(columns, kept)) is not None and _total(wanted, kept) > width:
        kept.remove(worst)
    widths = [wanted[i] if i in kept else 0 for i in range(len(columns))]
    for i in kept:
        too_much = _total(widths, kept) - width
        if too_much > 0 and not columns[i].flex:
            widths[i] = max(columns[i].least, widths[i] - too_much)
    left = max(0, width - _total(widths, kept))
    flexible = [i for i in kept if columns[i].flex]
    shares = sum(columns[i].flex for i in flexible)
    for i in flexible:
        share = left * columns[i].flex // shares
        shares -= columns[i].flex
        left -= share
        widths[i] += share
    return widths


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[i] for i in kept) + GAP * max(0, len(kept) - 1)


def _worst(columns: Sequence[Column], kept: Sequence[int]) -> int | None:
    """Which column to drop next; None when all that are left must stay."""
    candidates = [i for i in kept if columns[i].rank > 0]
    return max(candidates, key=lambda i: columns[i].rank) if candidates else None
