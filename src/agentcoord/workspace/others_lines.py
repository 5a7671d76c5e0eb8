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


def takes_from_others(
    path: str,
    landings: Sequence[Record],
    records: Sequence[Record],
    current: bytes,
    wanted: bytes | None,
    read_blob: _Read,
) -> bool:
    """Whether making `wanted` of `current`, to undo `landings`, takes lines that other tasks landed."""
    mine = {record.number for record in landings}
    first = min(record.number for record in landings if _swaps_of(record, path))
    since = [s for r in records if r.happened and r.number >= first for s in _swaps_of(r, path)]
    if _unbroken(since, version_of(current, 0)):
        return False
    undone = {n for r in records if r.operation is Operation.UNDO and r.happened for n in r.undoes}
    for other in records:
        if other.operation is not Operation.LAND or not other.happened or other.compacted_at_ms is not None:
            continue
        if other.number in mine or other.number in undone:
            continue
        for swap in _swaps_of(other, path):
            before, after = _part(current, swap, read_blob), _part(wanted, swap, read_blob)
            if before is None or after is None:
                if not _met(path, landings, other, swap, read_blob):
                    return True
            elif before != after:
                return True
    return False


def _unbroken(swaps: Sequence[Swap], current: FileVersion) -> bool:
    ends = [*(swap.before for swap in swaps[1:]), current]
    return all(_sha256(swap.after) == _sha256(end) for swap, end in zip(swaps, ends, strict=True))


def _part(content: bytes | None, swap: Swap, read_blob: _Read) -> tuple[int, int] | None:
    """How many lines of a content a landing added and removed; None: it cannot be told."""
    if content is None:
        return 0, 0
    without = reverse_all(content, [swap], read_blob)
    if without.conflict:
        return None
    if without.content == content:
        return 0, 0
    # Of a binary one no lines are counted: it is there, or not.
    return _there(count_lines([Pair(swap.path, without.content, content)])[swap.path])


def _there(counts: tuple[int, int]) -> tuple[int, int]:
    return counts if any(counts) else (1, 1)


def _met(path: str, landings: Sequence[Record], other: Record, swap: Swap, read_blob: _Read) -> bool:
    """Whether of a task's landings and another's the later one found the earlier one's lines in the file."""
    for record in landings:
        for mine in _swaps_of(record, path):
            earlier, later = (mine, swap) if record.number < other.number else (swap, mine)
            if later.before is None:
                return False
            found = read_blob(later.before.sha256)
            if reverse_all(found, [earlier], read_blob).content == found:
                return False
    return True


def _swaps_of(record: Record, path: str) -> list[Swap]:
    return [swap for swap in record.swaps if swap.path == path]


def _sha256(version: FileVersion | None) -> str | None:
    return None if version is None else version.sha256
