"""Files and changes as values: what a task did to the tree, named by content hash.

Separate from `workspace`, which does the reading and writing, so that the agent, the
review and the daemon can talk about changes without touching a disk.
"""

from __future__ import annotations

from enum import StrEnum

from agentcoord.values import dataclass


class ChangeKind(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    """Reported, never landed."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """The content of one regular file at one moment."""

    sha256: str
    size: int
    mode: int
    """Permission bits, 0o644 or 0o755."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from its base."""

    path: str
    """Relative to the repository, `/`-separated."""
    kind: ChangeKind
    base: FileVersion | None
    """What the worker started from; None when added."""
    new: FileVersion | None
    """What the worker made; None when deleted."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Everything that a task changed in its private copy, sorted by path."""

    landable: tuple[Change, ...] = ()
    """Added and modified regular files inside the scope and not protected."""
    reported: tuple[Change, ...] = ()
    """Deletions and renames' old halves: told to the person, never landed."""
    out_of_scope: tuple[str, ...] = ()
    """Paths written outside the scope (and not ignored by git): left behind."""
    refused: tuple[str, ...] = ()
    """Paths that never land whatever the scope says, each as `path: reason`."""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(c.path for c in self.landable)


@dataclass(frozen=True, slots=True)
class FileLines:
    """How many lines of one path a task changed."""

    path: str
    lines_added: int
    lines_removed: int


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One file as it was put into the user's tree."""

    path: str
    before: FileVersion | None
    """None when the landing created it."""
    after: FileVersion
    lines_added: int
    lines_removed: int
