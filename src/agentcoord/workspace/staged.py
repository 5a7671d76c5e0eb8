"""What stands between a copy and a landing, as values: staged files, conflicts, what landing answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from agentcoord.domain.files import FileVersion
from agentcoord.values import dataclass
from agentcoord.workspace.user_tree import TreeStamp


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One file ready to land: the base to compare with, and the content to put in."""

    path: str
    base: FileVersion | None
    """The user's file when it was staged; None: there was none, and landing creates it."""
    new: FileVersion
    content: bytes = field(repr=False)
    """At most `changes.MAX_LANDED_FILE_BYTES`."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A change set on top of the user's current tree, ready for checks and then for landing."""

    stamp: TreeStamp
    files: tuple[StagedFile, ...]
    """What landing would write; without changes that the user's tree has already."""
    tree_hash: str
    """Of the whole tree as it would be after landing: equal hashes, equal check results."""
    merged: tuple[str, ...] = ()
    """Paths where the user's file had moved on and a three-way merge was clean."""
    held: tuple[str, ...] = ()
    """Paths that would be emptied, or lose over 80% of more than 1 KB: a person decides."""


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """The user's tree moved where the task wrote, and no clean merge exists."""

    paths: tuple[str, ...]
    patch: str
    """All of the task's changes against what it started from, as `whole_patch` has them."""
    one_name: Mapping[str, str] = field(default_factory=dict)
    """New files of which the user has one already under another spelling, which on this disk is the same."""

    @property
    def why(self) -> str:
        """What is in the way, in words for a person."""
        told = [f"{new} and your {old} are one file on this disk" for new, old in self.one_name.items()]
        lines = [path for path in self.paths if path not in self.one_name]
        if lines:
            told.append(f"the same lines changed under it: {', '.join(lines)}")
        return "; ".join(told)


@dataclass(frozen=True, slots=True)
class TreeMoved:
    """Nothing landed: these files are not what the landing was proven against."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UndoOutcome:
    """What undo did. With `conflicts`, it did nothing at all."""

    restored: tuple[str, ...] = ()
    """Put back exactly as before the landing; a file that the landing created is gone."""
    merged: tuple[str, ...] = ()
    """Edited since: only the task's part was taken out."""
    gone: tuple[str, ...] = ()
    """Not there any more: the user removed or renamed them, and what the task wrote may live on elsewhere."""
    absent: tuple[str, ...] = ()
    """There, and without anything of the task: reverted, or in a stash or on another branch just then."""
    conflicts: tuple[str, ...] = ()
    patch: str = ""
    """With conflicts: the reverse of what landed, for a person to apply."""
