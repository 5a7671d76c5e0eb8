"""A landed task without some of its hunks: what the files would be. Decided from contents alone.

Theory of operation. What a task did to a file is one pair of contents, from before its landing to after it,
hunks that were taken out already left out. A hunk is named by its text in the diff of that pair. Without it,
the pair's second content has the first one's lines in its place; the difference of the two goes into the
file as it is now, by a three-way merge where that moved on. Taking out is an undo in part: the journal's
record of it names the landings it trims, and they still stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from agentcoord.domain.hunks import Hunk, read_diff
from agentcoord.errors import LandingRefusedError, WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import Pair, merge, unified_diff
from agentcoord.workspace.history import Operation, Record, Swap
from agentcoord.workspace.others_lines import OthersLines
from agentcoord.workspace.undo import UndoPlan, UndoStep

_Read = Callable[[str], bytes]
"""Returns a content by its SHA-256."""


@dataclass(frozen=True, slots=True)
class _Change:
    """What a task did to one path, and with which permission bits."""

    pair: Pair
    mode: int


def trims_of(records: Sequence[Record], landings: Sequence[Record]) -> list[Record]:
    """The records that took hunks out of these landings, oldest first."""
    numbers = {record.number for record in landings}
    return [r for r in records if r.operation is Operation.UNDO and r.happened and numbers & set(r.trims)]


def net_pairs(records: Sequence[Record], landings: Sequence[Record], read_blob: _Read) -> list[Pair]:
    """What `landings` (oldest first) did, without what was taken out of them since."""
    return [change.pair for change in _net(records, landings, read_blob)]


def plan_without(
    records: Sequence[Record],
    landings: Sequence[Record],
    keys: Collection[str],
    read_current: Callable[[str], bytes | None],
    read_blob: _Read,
) -> UndoPlan:
    """Plan to take the hunks named `keys` out of the files as they are now.

    Raises WorkspaceError when some of them are not there.
    """
    steps, conflicts, found = [], [], set[str]()
    others = OthersLines(landings, records, read_blob)
    for change in _net(records, landings, read_blob):
        pair = change.pair
        hunks = [hunk for file in read_diff(unified_diff([pair])) for hunk in file.hunks]
        unwanted = [hunk for hunk in hunks if hunk.whole and hunk.key in keys]
        found |= {hunk.key for hunk in unwanted}
        if not unwanted:
            continue
        gone = pair.before is None and len(unwanted) == len(hunks)
        wanted = None if gone else _without(pair, unwanted)
        try:
            current = read_current(pair.path)
        except LandingRefusedError:
            conflicts.append(pair.path)  # A symlink or a folder is there now.
            continue
        step = _step(change, wanted, current)
        if step is None:
            conflicts.append(pair.path)
        elif step.current == step.wanted:
            continue
        elif others.are_taken(pair.path, step.current, step.wanted):
            conflicts.append(pair.path)
        else:
            steps.append(step)
    if missing := set(keys) - found:
        raise WorkspaceError(
            f"{len(missing)} of these hunks are not in what the task did",
            mend="look at its diff again: hunks may have been taken out, or it landed anew",
        )
    return UndoPlan(tuple(steps), tuple(conflicts))


def _step(change: _Change, wanted: bytes | None, current: bytes | None) -> UndoStep | None:
    """Put the difference into the file as it is; None: that cannot be."""
    pair = change.pair
    assert pair.after is not None
    if current is None:
        return None
    if current == pair.after:
        return UndoStep(pair.path, current, wanted, exact=True, mode=change.mode)
    if wanted is None:
        return None  # The task had created it, and it was edited since.
    merged = merge(base=pair.after, ours=current, theirs=wanted)
    return None if merged is None else UndoStep(pair.path, current, merged, exact=False, mode=change.mode)


def _without(pair: Pair, unwanted: Sequence[Hunk]) -> bytes:
    """The second content with the first one's lines in the place of these hunks."""
    assert pair.after is not None
    old, new = _lines(pair.before or b""), _lines(pair.after)
    for hunk in sorted(unwanted, key=lambda each: -each.new_start):
        there = hunk.new_start - (hunk.new_count > 0)
        back = hunk.old_start - (hunk.old_count > 0)
        new[there : there + hunk.new_count] = old[back : back + hunk.old_count]
    return b"".join(new)


def _lines(content: bytes) -> list[bytes]:
    """Lines as git counts them: by line feeds alone."""
    lines = content.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _net(records: Sequence[Record], landings: Sequence[Record], read_blob: _Read) -> list[_Change]:
    changes: list[_Change] = []
    chain = sorted([*landings, *trims_of(records, landings)], key=lambda record: record.number)
    for path in sorted({swap.path for record in landings for swap in record.swaps}):
        before: bytes | None = None
        after: bytes | None = None
        mode, begun = 0, False
        for record in chain:
            for swap in (each for each in record.swaps if each.path == path):
                old, new = _content(swap, read_blob)
                if not begun:
                    before, after, begun = old, new, True
                elif record.operation is Operation.LAND and old != after:
                    changes.append(_change(path, before, after, mode))
                    before, after = old, new
                else:
                    after = _folded(old, after, new)
                mode = swap.mode
        changes.append(_change(path, before, after, mode))
    return [change for change in changes if change.pair.after is not None]


def _change(path: str, before: bytes | None, after: bytes | None, mode: int) -> _Change:
    return _Change(Pair(path, before, after, executable=before is None and bool(mode & 0o100)), mode)


def _folded(old: bytes | None, after: bytes | None, new: bytes | None) -> bytes | None:
    """The task's content after a further record of its own that went from `old` to `new`."""
    if old == after or new is None:
        return new
    if old is None or after is None:
        return after
    merged = merge(base=old, ours=after, theirs=new)
    return after if merged is None else merged


def _content(swap: Swap, read_blob: _Read) -> tuple[bytes | None, bytes | None]:
    versions = swap.before, swap.after
    old, new = (None if version is None else read_blob(version.sha256) for version in versions)
    return old, new
