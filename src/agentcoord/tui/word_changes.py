"""Which words of a line changed, where a line took another's place. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

from agentcoord.tui.styled import Ground, Span

LEAST_LIKENESS: Final = 0.4
"""Lines less alike than this are two lines, and no change of words."""
MOST_CHARS: Final = 500
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")
Range = tuple[int, int]
"""From one character to before another."""


def changed_words(old: str, new: str) -> tuple[list[Range], list[Range]]:
    """The ranges of both lines that differ; none when they are too unlike, or too long to compare."""
    if max(len(old), len(new)) > MOST_CHARS:
        return [], []
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < LEAST_LIKENESS:
        return [], []
    olds: list[Range] = []
    news: list[Range] = []
    old_at, new_at = _starts(before), _starts(after)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        if a < b:
            olds.append((old_at[a], old_at[b]))
        if c < d:
            news.append((new_at[c], new_at[d]))
    return olds, news


def with_ground(spans: Sequence[Span], ranges: Sequence[Range], base: Ground, marked: Ground) -> list[Span]:
    """The spans on `base`, and what lies in `ranges` on `marked`."""
    edges = sorted({edge for each in ranges for edge in each})
    result: list[Span] = []
    at = 0
    for span in spans:
        cuts = [edge - at for edge in edges if at < edge < at + len(span.text)]
        for start, end in zip([0, *cuts], [*cuts, len(span.text)], strict=True):
            inside = any(low <= at + start < high for low, high in ranges)
            result.append(Span(span.text[start:end], span.tone, marked if inside else base))
        at += len(span.text)
    return result


def _starts(words: Sequence[str]) -> list[int]:
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    return starts
