"""Rows of the dashboard's tables: a key, and cells that may be made when they are looked at."""

from __future__ import annotations

from collections.abc import Callable

from agentcoord.tui.styled import Span
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: the key by which it is found again, and a cell for each column."""

    key: str
    cells: tuple[Span, ...]


class LaterRow(Row):
    """A row whose cells are made when they are first looked at: of two thousand, thirty are on the screen."""

    __slots__ = ("_made", "_make")
    _make: Callable[[], tuple[Span, ...]]
    _made: tuple[Span, ...] | None

    def __init__(self, key: str, make: Callable[[], tuple[Span, ...]]) -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "_make", make)
        object.__setattr__(self, "_made", None)

    @property
    def cells(self) -> tuple[Span, ...]:
        if self._made is None:
            object.__setattr__(self, "_made", self._make())
        assert self._made is not None
        return self._made
