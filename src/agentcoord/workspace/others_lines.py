"""Whether taking one task's lines out of a file would take another task's with them.

Two tasks may have written the same lines: what one had landed was in a stash or on another branch when the
other landed. Contents alone do not tell whose a line is then; the journal does. As long as each record of a
path begins with what the one before it left, one task's lines were in the file when the next wrote its own,
so that no line is of both. Where the user, or git, came between, the other's part of the file has to be
the same before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcoord.domain.files import FileVersion
from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.history import Operation, Record, Swap
from agentcoord.workspace.reversals import reverse_all
from agentcoord.workspace.versions import version_of

_Read = Callable[[str], bytes]
"""Returns a content by its SHA-256."""


class OthersLines:
    """What other tasks wrote into the files that an undo of `landings` is about."""

    def __init__(self, landings: Sequence[Record], records: Sequence[Record], read_blob: _Read) -> None:
        """`records`: the whole journal, oldest first."""
        self._mine = {record.number for record in landings}
        self._read_blob = read_blob
        self._standing = {
            record.number
            for record in records
            if record.operation is Operation.LAND and record.happened and record.compacted_at_ms is None
        }
        for record in records:
            if record.happened:
                self._standing.difference_update(record.undoes)
        self._of_path: dict[str, list[tuple[int, Swap]]] = {s.path: [] for r in landings for s in r.swaps}
        for record in records:
            if record.happened:
                for swap in record.swaps:
                    if (known := self._of_path.get(swap.path)) is not None:
                        known.append((record.number, swap))

    def are_taken(self, path: str, current: bytes, wanted: bytes | None) -> bool:
        """Whether making `wanted` of `current` takes lines that other tasks landed."""
        swaps = self._of_path[path]
        mine = [(number, swap) for number, swap in swaps if number in self._mine]
        if _unbroken([swap for number, swap in swaps if number >= mine[0][0]], version_of(current, 0)):
            return False
        touched = _lines_touched(current, wanted)
        for number, swap in swaps:
            if number in self._mine or number not in self._standing:
                continue
            if touched.isdisjoint(_lines_touched(*map(self._read, (swap.before, swap.after)))):
                continue  # A merge takes milliseconds, and there may be hundreds of tasks.
            before, after = self._part(current, swap), self._part(wanted, swap)
            if before is None or after is None:
                if not all(self._met(each, (number, swap)) for each in mine):
                    return True
            elif before != after:
                return True
        return False

    def _read(self, version: FileVersion | None) -> bytes | None:
        return None if version is None else self._read_blob(version.sha256)

    def _part(self, content: bytes | None, swap: Swap) -> tuple[int, int] | None:
        """How many lines of a content a landing added and removed; None: it cannot be told."""
        if content is None:
            return 0, 0
        without = reverse_all(content, [swap], self._read_blob)
        if without.conflict:
            return None
        if without.content == content:
            return 0, 0
        counts = count_lines([Pair(swap.path, without.content, content)])[swap.path]
        # Of a binary one no lines are counted: it is there, or not.
        return counts if any(counts) else (1, 1)

    def _met(self, one: tuple[int, Swap], other: tuple[int, Swap]) -> bool:
        """Whether the later of two landings found the lines of the earlier one in the file."""
        (_, earlier), (_, later) = sorted([one, other], key=lambda each: each[0])
        if later.before is None:
            return False
        found = self._read_blob(later.before.sha256)
        return reverse_all(found, [earlier], self._read_blob).content != found


def _unbroken(swaps: Sequence[Swap], current: FileVersion) -> bool:
    """Whether each of these swaps began with what the one before it left, and the last left what is there."""
    ends = [*(swap.before for swap in swaps[1:]), current]
    return all(_sha256(swap.after) == _sha256(end) for swap, end in zip(swaps, ends, strict=True))


def _lines_touched(old: bytes | None, new: bytes | None) -> set[bytes]:
    """Return all lines between the first and the last that differ, of both."""
    before, after = (old or b"").split(b"\n"), (new or b"").split(b"\n")
    start = _alike(before, after)
    before, after = before[start:], after[start:]
    end = _alike(before[::-1], after[::-1])
    return {*before[: len(before) - end], *after[: len(after) - end]}


def _alike(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """Return how many lines both begin with."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(one), len(other)))


def _sha256(version: FileVersion | None) -> str | None:
    return None if version is None else version.sha256
