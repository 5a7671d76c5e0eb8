"""What landings did and what would take them back, as patches made from the journal's contents.

Separate from `landing`, which writes: everything here only reads, and nothing of the user's tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from agentcoord.domain.files import FileLines
from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.diffs import Pair, count_lines, unified_diff, whole_patch
from agentcoord.workspace.history import Operation, Record, standing_landings
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.subsets import net_pairs
from agentcoord.workspace.undo import reverse_pairs

MOST_WHOLE_BYTES = 8 * 1024 * 1024
"""All contents of a patch that is made whole, before and after: it is held in memory."""


class Diff(NamedTuple):
    """What a task landed."""

    text: str
    whole: bool
    """Whether it is a patch for a program to apply; else it is for people to read."""


def diff_of(journal: Journal, task: TaskId, since_ms: int, *, whole: bool) -> Diff:
    """Return what `task` landed, also after it was undone. Blocking.

    `whole`: as `whole_patch` has it, unless that would be too large. Raises WorkspaceError when it
    landed nothing, or its contents were compacted.
    """
    records = journal.load()
    landings = standing_landings(records, task, since_ms) or [
        r
        for r in records
        if r.task == task and r.operation is Operation.LAND and r.happened and r.at_ms >= since_ms
    ]
    if not landings:
        raise WorkspaceError(f"{task} has landed nothing, so there is no diff")
    pairs = net_pairs(records, with_contents(landings), journal.blobs.read)
    size_bytes = sum(len(content) for pair in pairs for content in (pair.before, pair.after) if content)
    whole = whole and size_bytes <= MOST_WHOLE_BYTES
    return Diff(_in_order(pairs, whole_patch if whole else unified_diff), whole)


def lines_of(journal: Journal, task: TaskId, since_ms: int) -> list[FileLines]:
    """Return what stands of what `task` landed, path by path, without hunks that were taken out. Blocking.

    Raises WorkspaceError when nothing of it stands, or its contents were compacted.
    """
    records = journal.load()
    landings = standing_landings(records, task, since_ms)
    if not landings:
        raise WorkspaceError(f"nothing of {task} stands in the tree")
    added: dict[str, int] = {}
    removed: dict[str, int] = {}
    # A path may have been changed more than once, with somebody else's lines between.
    for pair in net_pairs(records, with_contents(landings), journal.blobs.read):
        for path, (more, less) in count_lines([pair]).items():
            added[path] = added.get(path, 0) + more
            removed[path] = removed.get(path, 0) + less
    return [FileLines(path, added[path], removed[path]) for path in sorted(added)]


def trimmed_tasks(journal: Journal) -> set[TaskId]:
    """Return the tasks from which hunks were taken out. Blocking."""
    return {record.task for record in journal.load() if record.trims and record.happened}


def reverse_patch(journal: Journal, landings: list[Record]) -> str:
    """Return what would take `landings` (oldest first) back. Blocking."""
    return "".join(
        unified_diff(reverse_pairs(record, journal.blobs.read))
        for record in reversed(with_contents(landings))  # A path may occur in several.
    )


def with_contents(landings: list[Record]) -> list[Record]:
    """Leave out what was compacted. Raises WorkspaceError when nothing else is there."""
    whole = [record for record in landings if record.compacted_at_ms is None]
    if landings and not whole:
        raise WorkspaceError(
            f"{landings[-1].task} was accepted, and a later cleanup dropped what undoing it would take",
            mend="git knows what you committed: git log -p, git revert",
        )
    return whole


def _in_order(pairs: Iterable[Pair], written: Callable[[Iterable[Pair]], str]) -> str:
    """One patch, or several where a path was changed, moved on by another hand, and was changed again."""
    rounds: list[list[Pair]] = []
    for pair in pairs:
        free = next((each for each in rounds if all(other.path != pair.path for other in each)), None)
        if free is None:
            rounds.append([pair])
        else:
            free.append(pair)
    return "".join(map(written, rounds))
