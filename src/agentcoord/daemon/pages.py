"""Cuts a list of rows into pieces that each fit one line of the control socket.

Separate from `snapshot`, which makes the rows, because rows that nobody waits for any more are never made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from agentcoord.wire.protocol import FRAME_BYTES
from agentcoord.wire.quick_json import most_bytes_of

if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView

PAGE_BYTES = FRAME_BYTES // 2
"""How much of a list goes into one line; the other half is room for what stands beside it."""
PAGE_ROWS = 500
_Row = TypeVar("_Row", bound="TaskView")


class Pages(Generic[_Row]):
    """Cuts rows into lists that each fit a line; no rows, no list.

    No generator, which would hold on to the list that it gave last for as long as its reader takes.
    """

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._rows = iter(rows)
        self._left_over: _Row | None = None

    def __iter__(self) -> Iterator[list[_Row]]:
        return self

    def __next__(self) -> list[_Row]:
        page: list[_Row] = []
        page_bytes = 0
        row = self._left_over or next(self._rows, None)
        while row is not None and len(page) < PAGE_ROWS:
            row_bytes = most_bytes_of(row)
            if page and page_bytes + row_bytes > PAGE_BYTES:
                break
            page.append(row)
            page_bytes += row_bytes
            row = next(self._rows, None)
        self._left_over = row
        if not page:
            raise StopIteration
        return page
