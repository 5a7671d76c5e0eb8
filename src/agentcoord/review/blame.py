"""Which task wrote which line, replayed from the landing journal.

The contents before and after each landing and undo are known, so a line's author is followed from
record to record; what changed between two records, or since the last, a person wrote. A line that
an undo brings back has the author it had before. What was compacted counts as the person's, who
accepted it. Pure; contents are read by a function handed in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

from agentcoord.errors import ReviewError
from agentcoord.values import dataclass
from agentcoord.workspace.history import Operation, Record, Swap

MOST_LINES = 20_000
NOBODY_OF_OURS = ""
"""The author of every line that no task wrote."""


@dataclass(frozen=True, slots=True)
class BlamedLine:
    """One line of the file as it is now."""

    task: str
    """NOBODY_OF_OURS: it was there before, or a person wrote it."""
    text: str


@dataclass(frozen=True, slots=True)
class _Version:
    """One content with the author of each line."""

    lines: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()


def blame(
    path: str, records: Sequence[Record], read_blob: Callable[[str], bytes], current: bytes
) -> list[BlamedLine]:
    """Return the lines of `current` with their authors; `records` in the order of their numbers.

    Raises ReviewError for a binary file or one with more lines than can be compared in time.
    """
    version = _Version()
    before_landing: dict[int, _Version] = {}
    for record, swap in _swaps_of(path, records):
        was = _lines(path, b"" if swap.before is None else read_blob(swap.before.sha256))
        became = _lines(path, b"" if swap.after is None else read_blob(swap.after.sha256))
        version = _followed(version, was, NOBODY_OF_OURS)
        if record.operation is Operation.LAND:
            before_landing[record.number] = version
            version = _followed(version, became, record.task)
        else:
            origin = next(
                (before_landing[n] for n in (record.undoes or record.trims) if n in before_landing),
                _Version(),
            )
            version = _brought_back(version, became, origin)
    version = _followed(version, _lines(path, current), NOBODY_OF_OURS)
    return [BlamedLine(author, line) for author, line in zip(version.authors, version.lines, strict=True)]


def _swaps_of(path: str, records: Sequence[Record]) -> Iterator[tuple[Record, Swap]]:
    for record in records:
        if record.happened and record.compacted_at_ms is None:
            yield from ((record, swap) for swap in record.swaps if swap.path == path)


def _followed(version: _Version, lines: tuple[str, ...], author: str) -> _Version:
    """The next content: kept lines keep their authors, the others are `author`'s."""
    kept = _alignment(version.lines, lines)
    return _Version(
        lines, tuple(version.authors[kept[n]] if n in kept else author for n in range(len(lines)))
    )


def _brought_back(version: _Version, lines: tuple[str, ...], origin: _Version) -> _Version:
    """The content after an undo: lines that were gone come back with the authors they had."""
    kept, back = _alignment(version.lines, lines), _alignment(origin.lines, lines)
    authors = [
        version.authors[kept[n]] if n in kept else origin.authors[back[n]] if n in back else NOBODY_OF_OURS
        for n in range(len(lines))
    ]
    return _Version(lines, tuple(authors))


def _alignment(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """For each line of `new` that stands in `old` too: where it stood."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return {
        block.b + offset: block.a + offset
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    }


def _lines(path: str, content: bytes) -> tuple[str, ...]:
    if b"\0" in content[:8000]:
        raise ReviewError(f"{path} is binary, so it has no lines")
    lines = content.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    if len(lines) > MOST_LINES:
        raise ReviewError(f"{path} has more than {MOST_LINES:,} lines")
    return tuple(line.removesuffix("\r") for line in lines)
