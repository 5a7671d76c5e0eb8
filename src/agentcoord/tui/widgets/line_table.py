"""A table that draws lines, not cells: a change repaints the rows that changed, nothing else.

Textual's DataTable repaints every visible cell when one changes, which costs 100 ms for forty
rows; this costs 2 ms a line. The cursor belongs to a row's key, so rows may move beneath it.
Deliberately absent: what rows mean. They come ready from `rows` and `event_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.table_rows import Row
from agentcoord.tui.text import fit
from agentcoord.tui.widgets.columns import GAP, Column, lay_out
from agentcoord.tui.widgets.growing import Growing
from agentcoord.values import dataclass

HEADER_LINES: Final = 1
STRIPS_KEPT: Final = 512
"""Rows whose drawing is remembered: more than any terminal shows."""


class LineTable(Growing, can_focus=True):
    """Rows under a header line, with a cursor; `set_rows` is all that feeds it."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "move_page(-1)", "Page up", show=False),
        Binding("pagedown,ctrl+f", "move_page(1)", "Page down", show=False),
        Binding("home,g", "move_to_end(True)", "First", show=False),
        Binding("end,G", "move_to_end(False)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]
    DEFAULT_CSS = """
    LineTable {
        overflow-x: hidden;
        overflow-y: auto;
    }
    """

    @dataclass
    class Moved(Message):
        """The cursor stands on another row, or a person moved it."""

        table: LineTable
        key: str | None
        by_hand: bool

        @property
        def control(self) -> LineTable:
            return self.table

    @dataclass
    class Chosen(Message):
        """Enter, or a second click on the row under the cursor."""

        table: LineTable
        key: str

        @property
        def control(self) -> LineTable:
            return self.table

    def __init__(self, columns: Sequence[Column], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._rows: tuple[Row, ...] = ()
        self._index_of: dict[str, int] = {}
        self._cursor = 0
        self._widths: list[int] = []
        self._empty: tuple[Line, ...] = ()
        self._marks: frozenset[str] = frozenset()
        self._strips: dict[tuple[str, bool, bool], tuple[Row, Style, Strip]] = {}
        """How rows were drawn, by key, mark and cursor: a table that scrolls draws them again elsewhere."""

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def cursor_key(self) -> str | None:
        """The key of the row under the cursor; None in an empty table."""
        return self._rows[self._cursor].key if self._rows else None

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show `rows`; the cursor stays with its row, or at its place if the row went."""
        before, key = self._rows, self.cursor_key
        self._rows = tuple(rows)
        self._index_of = {row.key: i for i, row in enumerate(self._rows)}
        if key is None or key not in self._index_of:
            self._cursor = max(0, min(self._cursor, len(self._rows) - 1))
        else:
            self._cursor = self._index_of[key]
        widths = self._lay_out()
        laid_out = self.grow_to(Size(self.size.width, HEADER_LINES + len(self._rows)))
        if laid_out or widths != self._widths or not before or len(before) > len(self._rows):
            self._take_widths(widths)
            self.refresh()
        else:
            self._refresh_changed(before)
        if self.cursor_key != key:
            self.post_message(self.Moved(self, self.cursor_key, by_hand=False))

    def set_empty(self, lines: Sequence[Line]) -> None:
        """What an empty table says instead of rows: what to do next."""
        if tuple(lines) != self._empty:
            self._empty = tuple(lines)
            if not self._rows:
                self.refresh()

    def set_marks(self, keys: frozenset[str]) -> None:
        """Show a bar before the rows with these keys."""
        for key in self._marks ^ keys:
            if key in self._index_of:
                self._refresh_row(self._index_of[key])
        self._marks = keys

    def select(self, key: str) -> bool:
        """Move the cursor to a row; return whether it is there."""
        if key not in self._index_of:
            return False
        self._move_to(self._index_of[key], by_hand=False)
        return True

    def select_last(self) -> None:
        """Move the cursor to the end, as a table that follows does."""
        self._move_to(len(self._rows) - 1, by_hand=False)

    # What keys and the mouse do.

    def action_move(self, by: int) -> None:
        """Move the cursor by some rows."""
        self._move_to(self._cursor + by, by_hand=True)

    def action_move_page(self, by: int) -> None:
        """Move the cursor by some screens."""
        self._move_to(self._cursor + by * max(1, self._visible_rows - 1), by_hand=True)

    def action_move_to_end(self, first: bool) -> None:
        """Move the cursor to the first or the last row."""
        self._move_to(0 if first else len(self._rows) - 1, by_hand=True)

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self.cursor_key is not None:
            self.post_message(self.Chosen(self, self.cursor_key))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y < HEADER_LINES:
            return
        index = round(self.scroll_offset.y) + offset.y - HEADER_LINES
        if index >= len(self._rows):
            return
        again = index == self._cursor and event.chain > 1
        self._move_to(index, by_hand=True)
        if again:
            self.action_choose()

    def on_resize(self) -> None:
        self._take_widths(self._lay_out())
        self.virtual_size = Size(self.size.width, HEADER_LINES + len(self._rows))
        self._keep_cursor_visible()
        self.refresh()

    # Drawing.

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < HEADER_LINES:
            return self.strip_of(self._header_line(), width)
        index = self.scroll_offset.y + y - HEADER_LINES
        if not self._rows:
            line = y - HEADER_LINES
            empty = self._empty[line] if line < len(self._empty) else ()
            return self.strip_of((Span(" "), *empty), width)
        if index >= len(self._rows):
            return self.strip_of((), width)
        return self._strip_of_row(self._rows[index], width, cursor=index == self._cursor)

    def notify_style_update(self) -> None:
        """Other styles: what was drawn is void. Textual calls this."""
        self._strips.clear()
        super().notify_style_update()

    def _strip_of_row(self, row: Row, width: int, *, cursor: bool) -> Strip:
        key, base = (row.key, row.key in self._marks, cursor), self.base_style
        drawn = self._strips.get(key)
        if drawn is not None and (drawn[0] is row or drawn[0] == row) and drawn[1] == base:
            return drawn[2]
        strip = self.strip_of(self._line_of(row), width, cursor=cursor)
        if len(self._strips) >= STRIPS_KEPT:
            self._strips.clear()
        self._strips[key] = (row, base, strip)
        return strip

    def _take_widths(self, widths: list[int]) -> None:
        """Columns of other widths, or in another width: what was drawn is void."""
        self._widths = widths
        self._strips.clear()

    @property
    def _visible_rows(self) -> int:
        return max(1, self.size.height - HEADER_LINES)

    def _header_line(self) -> Line:
        cells = [Span(column.title, Tone.MUTED) for column in self._columns]
        return self._line_of(Row("", tuple(cells)))

    def _line_of(self, row: Row) -> Line:
        spans: list[Span] = [Span("▌", Tone.ACCENT) if row.key in self._marks else Span(" ")]
        for cell, column, width in zip(row.cells, self._columns, self._widths, strict=True):
            if width:
                spans.append(Span(fit(cell.text, width, right=column.right), cell.tone))
                spans.append(Span(" " * GAP))
        return tuple(spans)

    def _lay_out(self) -> list[int]:
        natural = [
            max((cell_len(row.cells[i].text) for row in self._rows), default=0) if column.most else 0
            for i, column in enumerate(self._columns)
        ]
        return lay_out(self._columns, natural, max(0, self.size.width - 2))

    def _refresh_changed(self, before: Sequence[Row]) -> None:
        first = self.scroll_offset.y
        for index in range(first, min(len(self._rows), first + self._visible_rows)):
            if index >= len(before) or before[index] != self._rows[index]:
                self._refresh_row(index)

    def _refresh_row(self, index: int) -> None:
        y = index - self.scroll_offset.y + HEADER_LINES
        self.refresh(Region(0, y, self.size.width, 1))

    def _move_to(self, index: int, *, by_hand: bool) -> None:
        if not self._rows:
            return
        index = max(0, min(index, len(self._rows) - 1))
        moved, before = index != self._cursor, self._cursor
        self._cursor = index
        if moved:
            self._refresh_row(before)
            self._refresh_row(index)
        self._keep_cursor_visible()
        if moved or by_hand:
            self.post_message(self.Moved(self, self.cursor_key, by_hand=by_hand))

    def _keep_cursor_visible(self) -> None:
        top, visible = round(self.scroll_target_y), self._visible_rows
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + visible:
            self.scroll_to(y=self._cursor - visible + 1, animate=False)
