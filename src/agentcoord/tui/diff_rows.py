"""A hunk as pairs of lines, old beside new: coloured, and with the words marked that changed. Pure.

Both layouts of `diff_page` are made from these; how they are laid out is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agentcoord.domain.hunks import Hunk
from agentcoord.tui.code_tones import coloured
from agentcoord.tui.styled import Ground, Span, Tone
from agentcoord.tui.text import harmless
from agentcoord.tui.word_changes import Range, changed_words, with_ground
from agentcoord.values import dataclass

TAB_CELLS: Final = 4


@dataclass(frozen=True, slots=True)
class Side:
    """One line of one side of a hunk."""

    number: int
    """Of the line in its file; 0 for what is no line of it."""
    sign: str
    """As in the diff: `-`, `+`, a space, or a backslash before a note."""
    spans: list[Span]


Pair = tuple[Side | None, Side | None]
"""The old line and the new one of a place; one that has no counterpart stands alone."""


def paired_lines(hunk: Hunk, *, plain: bool) -> list[Pair]:
    """The hunk's lines, in pairs; `plain`: without colours of code and without marked words."""
    olds = _side_of(hunk, "+", plain=plain)
    news = _side_of(hunk, "-", plain=plain)
    rows: list[Pair] = []
    old_number, new_number = hunk.old_start, hunk.new_start
    gone: list[Side] = []
    come: list[Side] = []

    def settle() -> None:
        for at in range(max(len(gone), len(come))):
            old = gone[at] if at < len(gone) else None
            new = come[at] if at < len(come) else None
            rows.append(_compared(old, new, words=not plain))
        gone.clear()
        come.clear()

    for line in hunk.lines:
        match line[:1]:
            case "-":
                if come:
                    settle()
                gone.append(Side(old_number, "-", next(olds)))
                old_number += 1
            case "+":
                come.append(Side(new_number, "+", next(news)))
                new_number += 1
            case "\\":
                settle()
                note = Side(0, "\\", [Span(harmless(line[1:].strip()), Tone.MUTED)])
                rows.append((note, note))
            case _:
                settle()
                rows.append((Side(old_number, " ", next(olds)), Side(new_number, " ", next(news))))
                old_number, new_number = old_number + 1, new_number + 1
    settle()
    return rows


def _side_of(hunk: Hunk, without: str, *, plain: bool) -> Iterator[list[Span]]:
    texts = [
        harmless(line[1:].expandtabs(TAB_CELLS)) for line in hunk.lines if line[:1] not in (without, "\\")
    ]
    return iter([[Span(text)] for text in texts] if plain else coloured(hunk.path, texts))


def _compared(old: Side | None, new: Side | None, *, words: bool) -> Pair:
    """Two lines of one place, each on its ground, what changed in them marked."""
    olds: list[Range] = []
    news: list[Range] = []
    if words and old is not None and new is not None:
        olds, news = changed_words(_text(old), _text(new))
    left = old and Side(old.number, "-", with_ground(old.spans, olds, Ground.REMOVED, Ground.REMOVED_WORD))
    right = new and Side(new.number, "+", with_ground(new.spans, news, Ground.ADDED, Ground.ADDED_WORD))
    return left, right


def _text(side: Side) -> str:
    return "".join(span.text for span in side.spans)
