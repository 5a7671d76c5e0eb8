"""Whether taking one task's lines out of a file would take another task's with them.

Two tasks may have written the same line: what one had landed was taken out, in a stash or on another branch
when the other landed. Contents alone do not tell whose a line is then; the journal does. Where both landings
wrote a line that the later one had not found in the file, the other's part of the file must not be less
after the undo than before. All other lines are of one task, and the merge keeps those of the rest.

An other's landing before ours counts only where all of it is back, by the user or git: else it would be in
the way for ever when the user reverted it by hand.

The user waits for this, and nothing lands meanwhile, while hundreds of tasks may have landed in one large
file: lines are compared where a landing changed it, and all are counted only where both changed the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache, lru_cache

from agentcoord.domain.files import FileVersion
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.history import Operation, Record, Swap, undone_numbers
from agentcoord.workspace.reversals import reverse_all
from agentcoord.workspace.versions import version_of

_Read = Callable[[str], bytes]
"""Returns a content by its SHA-256."""
_SAYS_SOMETHING = re.compile(rb"[0-9A-Za-z\x80-\xff]")
_HELD_CONTENTS = 4
"""A landing mostly begins with what the one before it left; more of them would be a lot of memory."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """How often lines were added by a landing, and removed."""

    added: Counter[bytes]
    removed: Counter[bytes]


class OthersLines:
    """What other tasks wrote into the files that an undo of `landings` is about."""

    def __init__(self, landings: Sequence[Record], records: Sequence[Record], read_blob: _Read) -> None:
        """`records`: the whole journal, oldest first."""
        self._read_blob = lru_cache(_HELD_CONTENTS)(read_blob)
        self._mine = _by_path(landings)
        self._steps = _by_path(record for record in records if record.happened)
        undone = undone_numbers(records) | {record.number for record in landings}
        self._others = _by_path(
            record
            for record in records
            if record.operation is Operation.LAND and record.happened and record.number not in undone
        )

    def are_taken(self, path: str, current: bytes, wanted: bytes | None) -> bool:
        """Whether making `wanted` of `current` takes lines that other tasks landed."""
        here = version_of(current, 0).sha256

        def read(sha256: str) -> bytes:
            return current if sha256 == here else self._read_blob(sha256)

        mine = self._mine[path]
        compared = _Compared([swap for _, swap in mine], read)
        may_be_back = not self._is_unbroken(path, mine[0][0].number, here)
        for record, swap in self._others.get(path, ()):
            earlier = [each for landing, each in mine if landing.number < record.number]
            later = [each for landing, each in mine if landing.number > record.number and may_be_back]
            try:
                on_ours = [each for each in earlier if compared.wrote_the_same(each, swap)]
                if not on_ours and not any(compared.wrote_the_same(swap, each) for each in later):
                    continue  # A merge takes milliseconds, and there may be hundreds of tasks.
                before, after = _part(current, swap, read), _part(wanted, swap, read)
            except WorkspaceError:
                if record.compacted_at_ms is None:
                    raise
                # It cannot be compared. Where it began as one of mine did, that was not in the file.
                if any(_sha256(each.before) == _sha256(swap.before) for each in earlier):
                    return True
                continue
            if on_ours:
                if before is None:
                    # The user edited it. It wrote lines of its own where it had found those of ours.
                    taken = not all(compared.had_found(swap, each) for each in on_ours)
                else:
                    taken = after is None or after < before
                if taken:
                    return True
            elif after != before == _part(_content(swap.after, read), swap, read):
                return True
        return False

    def _is_unbroken(self, path: str, since: int, here: str) -> bool:
        """Whether each record from one on began with what the one before it left, and the last left this."""
        swaps = [swap for record, swap in self._steps[path] if record.number >= since]
        ends = [*(_sha256(swap.before) for swap in swaps[1:]), here]
        return [_sha256(swap.after) for swap in swaps] == ends


class _Compared:
    """What landings changed of the lines that ours changed in one path, and that say something."""

    def __init__(self, mine: Sequence[Swap], read: _Read) -> None:
        self._mine = mine
        self._read = read
        self._ours: frozenset[bytes] | None = None
        self._changed = cache(self._changed_by)
        self._count = cache(self._counted)

    def wrote_the_same(self, earlier: Swap, later: Swap) -> bool:
        """Whether both added, or both removed, a line, and the later one had not found it done."""
        added, removed = self._shared(earlier, later)
        if not added and not removed:
            return False
        left, found = self._count(earlier.after), self._count(later.before)
        return any(found[line] < left[line] for line in added) or any(
            found[line] > left[line] for line in removed
        )

    def had_found(self, other: Swap, mine: Swap) -> bool:
        """Whether the lines of both that `mine` changed were so where `other` began."""
        content = _content(other.before, self._read)
        without = reverse_all(content, [mine], self._read)
        if content is None or without.conflict:
            return False
        found = _changed_lines(without.content or b"", content, self._of_interest())
        wrote = self._changed(mine)
        added, removed = self._shared(mine, other)
        return all(found.added[line] >= wrote.added[line] for line in added) and all(
            found.removed[line] >= wrote.removed[line] for line in removed
        )

    def _shared(self, one: Swap, other: Swap) -> tuple[Counter[bytes], Counter[bytes]]:
        """The lines that both added, and that both removed."""
        ones, others = self._changed(one), self._changed(other)
        return ones.added & others.added, ones.removed & others.removed

    def _changed_by(self, swap: Swap) -> _Lines:
        return _changed_lines(*self._contents(swap), self._of_interest())

    def _contents(self, swap: Swap) -> tuple[bytes, bytes]:
        return _content(swap.before, self._read) or b"", _content(swap.after, self._read) or b""

    def _counted(self, version: FileVersion | None) -> Counter[bytes]:
        return _count(_content(version, self._read) or b"", self._of_interest())

    def _of_interest(self) -> frozenset[bytes]:
        if self._ours is None:
            lines = set[bytes]()
            for swap in self._mine:
                old, new = (Counter(each.split(b"\n")) for each in _differing(*self._contents(swap)))
                lines.update(new - old, old - new)
            # A blank line, or a brace, is in every landing.
            self._ours = frozenset(line for line in lines if _SAYS_SOMETHING.search(line))
        return self._ours


def _changed_lines(before: bytes, after: bytes, lines: Container[bytes]) -> _Lines:
    old, new = (_count(content, lines) for content in _differing(before, after))
    return _Lines(added=new - old, removed=old - new)


def _count(content: bytes, lines: Container[bytes]) -> Counter[bytes]:
    """Count these lines."""
    return Counter(filter(lines.__contains__, content.split(b"\n")))


def _differing(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    """Both without the whole lines that they begin and end with alike."""
    most = min(len(one), len(other))
    start = _alike(most, lambda low, high: one[low:high] == other[low:high])
    start = one.rfind(b"\n", 0, start) + 1
    ones, others = len(one), len(other)
    end = _alike(
        most - start, lambda low, high: one[ones - high : ones - low] == other[others - high : others - low]
    )
    newline = one.find(b"\n", ones - end)
    end = 0 if newline < 0 else ones - newline
    return one[start : ones - end], other[start : others - end]


def _alike(most: int, same: Callable[[int, int], bool]) -> int:
    """How far two contents are alike, found by halves: `same` compares them from one distance to another."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if same(low, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _by_path(records: Iterable[Record]) -> dict[str, list[tuple[Record, Swap]]]:
    found: dict[str, list[tuple[Record, Swap]]] = {}
    for record in records:
        for swap in record.swaps:
            found.setdefault(swap.path, []).append((record, swap))
    return found


def _part(content: bytes | None, swap: Swap, read: _Read) -> tuple[int, int] | None:
    """How many lines of a content a landing added and removed; None: it cannot be told."""
    if content is None:
        return 0, 0
    without = reverse_all(content, [swap], read)
    if without.conflict:
        return None
    if without.content == content:
        return 0, 0
    counts = count_lines([Pair(swap.path, without.content, content)])[swap.path]
    # Of a binary one no lines are counted: it is there, or not.
    return counts if any(counts) else (1, 1)


def _content(version: FileVersion | None, read: _Read) -> bytes | None:
    return None if version is None else read(version.sha256)


def _sha256(version: FileVersion | None) -> str | None:
    return None if version is None else version.sha256
