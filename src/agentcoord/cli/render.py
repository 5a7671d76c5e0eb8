"""Tables of plain text: columns as wide as what stands in them, cut only where a terminal ends.

Pure and cheap to import. Everything that a model or a repository wrote is made harmless here.
Deliberately absent: colours (`terminal`) and which columns there are (`pages`).
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.tui.cells import cell_len
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, one_line

GAP = 2
LEAST_CELLS = 8
"""No column is cut below this."""


class Column:
    """One column: its heading, and how it behaves. `elastic` gives way when the terminal is too narrow."""

    __slots__ = ("elastic", "heading", "right")

    def __init__(self, heading: str, *, right: bool = False, elastic: bool = False) -> None:
        self.heading = heading
        self.right = right
        self.elastic = elastic


def cell(value: object, tone: Tone = Tone.PLAIN) -> Span:
    """A value as the content of a cell: one harmless line; None is empty."""
    return Span("" if value is None else one_line(str(value)), tone)


def table(columns: Sequence[Column], rows: Sequence[Sequence[Span]], *, width: int) -> list[Line]:
    """Return a heading line and one line a row; `width` 0 means that nothing is cut."""
    widths = [
        max(cell_len(column.heading), *(cell_len(row[i].text) for row in rows), 0)
        for i, column in enumerate(columns)
    ]
    if width:
        _shrink(columns, widths, width)
    heading = [Span(column.heading, Tone.MUTED) for column in columns]
    return [_row(columns, widths, row) for row in (heading, *rows)]


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Take from the widest elastic column, cell by cell, until the row fits or nothing more can give."""
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    while excess > 0:
        elastic = [i for i, column in enumerate(columns) if column.elastic and widths[i] > LEAST_CELLS]
        if not elastic:
            return
        widest = max(elastic, key=lambda i: widths[i])
        widths[widest] -= 1
        excess -= 1


def _row(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Span]) -> Line:
    line: list[Span] = []
    for i, (column, cell_width, span) in enumerate(zip(columns, widths, cells, strict=True)):
        if i:
            line.append(Span(" " * GAP))
        line.append(Span(fit(span.text, cell_width, right=column.right), span.tone))
    return tuple(line)


def fields(pairs: Sequence[tuple[str, Span | str]]) -> list[Line]:
    """Return `name  value` lines with the values in one column; empty values are left out."""
    shown = [(name, Span(value) if isinstance(value, str) else value) for name, value in pairs]
    shown = [(name, value) for name, value in shown if value.text]
    width = max((cell_len(name) for name, _ in shown), default=0)
    return [(Span(fit(name, width + GAP), Tone.MUTED), value) for name, value in shown]
