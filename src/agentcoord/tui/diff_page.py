"""A diff as a page: unified or side by side, coloured, changed words marked, and a mark on each hunk. Pure.

Lines are made a hunk at a time and kept by its key, so that moving the cursor or marking a hunk costs only
the headers. Deliberately absent: where the cursor goes, and what a mark leads to (`screens/review`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Final

from rich.cells import cell_len, chop_cells

from agentcoord.domain.hunks import FileDiff, Hunk, read_diff
from agentcoord.tui.diff_rows import Pair, Side, paired_lines
from agentcoord.tui.styled import Ground, Line, Span, Tone
from agentcoord.tui.text import harmless
from agentcoord.values import dataclass

NUMBER_CELLS: Final = 5
LEAST_SPLIT_CELLS: Final = 60
"""Narrower pages are unified: two columns would show nothing of either."""
MOST_COLOURED: Final = 4_000
"""Lines; a longer diff has no colours of code and no marked words: making them would be felt."""
_BAR: Final = "│"


class Layout(StrEnum):
    UNIFIED = "unified"
    SPLIT = "side by side"


class Mark(StrEnum):
    """What a person said of a hunk."""

    KEEP = "keep"
    DROP = "take out"


@dataclass(frozen=True, slots=True)
class DiffPage:
    """Lines, and where its parts begin."""

    lines: list[Line]
    files: list[int]
    hunks: list[tuple[int, Hunk]]
    """The line of each hunk's header."""


@dataclass(slots=True)
class DiffPages:
    """The pages of one diff, in any layout and with any marks."""

    text: str
    _files: list[FileDiff] = field(init=False)
    _plain: bool = field(init=False)
    _bodies: dict[tuple[str, Layout, int], list[Line]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._files = read_diff(self.text)
        self._plain = self.text.count("\n") > MOST_COLOURED

    @property
    def hunks(self) -> list[Hunk]:
        """Those that can be judged: all that are whole."""
        return [hunk for file in self._files for hunk in file.hunks if hunk.whole]

    @property
    def lines_added_and_removed(self) -> tuple[int, int]:
        marks = [line[:1] for file in self._files for hunk in file.hunks for line in hunk.lines]
        return marks.count("+"), marks.count("-")

    def page(
        self,
        layout: Layout,
        *,
        width: int,
        marks: Mapping[str, Mark] | None = None,
        cursor: str | None = None,
    ) -> DiffPage:
        """Lay the diff out; `width` in cells counts only side by side. `cursor` is a hunk's key."""
        marks = marks or {}
        if width < LEAST_SPLIT_CELLS:
            layout = Layout.UNIFIED
        lines: list[Line] = []
        files: list[int] = []
        starts: list[tuple[int, Hunk]] = []
        total = len(self.hunks)
        for file in self._files:
            files.append(len(lines))
            lines += _file_lines(file)
            for hunk in file.hunks:
                if not hunk.whole:
                    lines.append((Span(f"     {harmless(hunk.header)}", Tone.MUTED),))
                    lines += self._body(hunk, layout, width)
                    continue
                starts.append((len(lines), hunk))
                lines.append(_hunk_line(hunk, len(starts), total, marks.get(hunk.key), hunk.key == cursor))
                lines += self._body(hunk, layout, width)
        return DiffPage(lines, files, starts)

    def _body(self, hunk: Hunk, layout: Layout, width: int) -> list[Line]:
        key = (hunk.key, layout, width if layout is Layout.SPLIT else 0)
        if key not in self._bodies:
            rows = paired_lines(hunk, plain=self._plain)
            self._bodies[key] = _split(rows, width) if layout is Layout.SPLIT else _unified(rows)
        return self._bodies[key]


def _file_lines(file: FileDiff) -> list[Line]:
    titles = [line for line in file.headers if not line.startswith(("index ", "--- ", "+++ ", "diff "))]
    name = (Span(f" {harmless(file.path) or 'diff'}", Tone.TITLE),)
    return [name, *((Span(f"   {harmless(line)}", Tone.MUTED),) for line in titles)]


def _hunk_line(hunk: Hunk, number: int, total: int, mark: Mark | None, at_cursor: bool) -> Line:
    sign, tone = {
        None: ("·", Tone.ACCENT),
        Mark.KEEP: ("✔", Tone.GOOD),
        Mark.DROP: ("✗", Tone.BAD),
    }[mark]
    ground = Ground.CURSOR if at_cursor else Ground.NONE
    words = f" {'▶' if at_cursor else ' '} {sign} {number}/{total} "
    said = f"  {mark}" if mark is not None else ""
    return (
        Span(words, tone, ground),
        Span(harmless(hunk.header), Tone.ACCENT, ground),
        Span(said, tone, ground),
    )


def _unified(rows: Sequence[Pair]) -> list[Line]:
    """Removed lines of one place before those that took it."""
    lines: list[Line] = []
    come: list[Line] = []
    for old, new in rows:
        both = old is not None and new is not None and old.sign == new.sign
        if both or (old is not None and come and old.sign != "-"):
            lines += come
            come = []
        if both:
            assert old is not None
            assert new is not None
            lines.append(_unified_line(old, old.number, new.number))
            continue
        if old is not None:
            lines.append(_unified_line(old, old.number, 0))
        if new is not None:
            come.append(_unified_line(new, 0, new.number))
    return lines + come


def _unified_line(side: Side, old: int, new: int) -> Line:
    ground = _GROUNDS[side.sign]
    numbers = f"{old or '':>{NUMBER_CELLS}}{new or '':>{NUMBER_CELLS}} "
    return (
        Span(numbers, Tone.MUTED),
        Span(side.sign, _SIGN_TONES[side.sign], ground),
        *_on(side.spans, ground),
    )


def _split(rows: Sequence[Pair], width: int) -> list[Line]:
    column = (width - 1) // 2
    lines: list[Line] = []
    for old, new in rows:
        left, right = _column(old, column), _column(new, column)
        for at in range(max(len(left), len(right))):
            blank = (Span(" " * column),)
            lines.append(
                (
                    *(left[at] if at < len(left) else blank),
                    Span(_BAR, Tone.MUTED),
                    *(right[at] if at < len(right) else blank),
                )
            )
    return lines


def _column(side: Side | None, width: int) -> list[Line]:
    """One line in a column of exactly `width` cells; what is longer goes on below."""
    if side is None:
        return []
    ground = _GROUNDS[side.sign]
    room = max(1, width - NUMBER_CELLS - 2)
    parts = _wrapped(_on(side.spans, ground), room) or [[]]
    lines: list[Line] = []
    for at, part in enumerate(parts):
        number = f"{side.number or '' if at == 0 else '':>{NUMBER_CELLS}} "
        sign = side.sign if at == 0 else " "
        missing = room - sum(cell_len(span.text) for span in part)
        lines.append(
            (
                Span(number, Tone.MUTED),
                Span(sign, _SIGN_TONES[side.sign], ground),
                *part,
                Span(" " * missing, Tone.PLAIN, ground),
            )
        )
    return lines


def _wrapped(spans: Sequence[Span], room: int) -> list[list[Span]]:
    """Break spans into lines of at most `room` cells."""
    lines: list[list[Span]] = [[]]
    left = room
    for span in spans:
        text = span.text
        while text:
            if cell_len(text) <= left:
                lines[-1].append(span._replace(text=text))
                left -= cell_len(text)
                break
            piece = chop_cells(text, left)[0] if left > 0 else ""
            if piece and cell_len(piece) <= left:
                lines[-1].append(span._replace(text=piece))
                text = text[len(piece) :]
            elif left == room:
                text = text[1:]  # Wider than the whole column.
            lines.append([])
            left = room
    return lines


def _on(spans: Sequence[Span], ground: Ground) -> list[Span]:
    """The spans on this ground, unless they have one of their own."""
    return [span._replace(ground=ground) if span.ground is Ground.NONE else span for span in spans]


_GROUNDS: Final = {"-": Ground.REMOVED, "+": Ground.ADDED, " ": Ground.NONE, "\\": Ground.NONE}
_SIGN_TONES: Final = {"-": Tone.BAD, "+": Tone.GOOD, " ": Tone.PLAIN, "\\": Tone.MUTED}
