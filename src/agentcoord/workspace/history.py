"""Landings and undos as the journal remembers them, and what a list of them tells.

Values and pure functions. Separate from `journal`, which keeps them on the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from agentcoord.domain.files import FileVersion, LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass


class Operation(StrEnum):
    LAND = "land"
    UNDO = "undo"


class Phase(StrEnum):
    """How far a record got. The order is the only order; `recovery` says what each means after a crash."""

    PREPARED = "prepared"
    """The contents are stored; siblings may lie beside their targets; no target is touched."""
    SWAPPING = "swapping"
    """All siblings are on the disk; targets are being swapped."""
    DONE = "done"
    """All targets are swapped, verified and on the disk: it happened."""
    SETTLED = "settled"
    """The siblings are gone too."""
    ABANDONED = "abandoned"
    """What was swapped was swapped back: it did not happen."""


@dataclass(frozen=True, slots=True)
class Swap:
    """One path of a record. `before` None: it is created; `after` None (undo only): it is removed."""

    path: str
    before: FileVersion | None
    after: FileVersion | None
    sibling: str
    """The name beside the target that holds first the new content, then the old."""
    lines_added: int = 0
    lines_removed: int = 0

    @property
    def mode(self) -> int:
        """The permission bits of what it puts in, or of what it removes."""
        version = self.after or self.before
        assert version is not None
        return version.mode


@dataclass(frozen=True, slots=True)
class Record:
    """One landing or undo."""

    number: int
    """Grows; the order in which things happened."""
    operation: Operation
    phase: Phase
    task: TaskId
    token: FencingToken
    title: str
    at_ms: int
    swaps: tuple[Swap, ...]
    made_folders: tuple[str, ...] = ()
    """Folders that did not exist before, topmost first."""
    undoes: tuple[int, ...] = ()
    """The numbers of the landings that this undo takes back."""
    trims: tuple[int, ...] = ()
    """The numbers of the landings of which this undo takes hunks back: they still stand."""
    restored: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    rejected: str = ""
    """Only of an undo: why a person wants the work done anew; empty when it was taken back for good."""
    accepted_at_ms: int | None = None
    """When a person said that a landing may stay."""
    compacted_at_ms: int | None = None
    """When its contents were dropped: it can be neither undone nor shown any more."""

    @property
    def happened(self) -> bool:
        return self.phase in (Phase.DONE, Phase.SETTLED)

    @property
    def files(self) -> tuple[LandedFile, ...]:
        """What a landing put into the tree."""
        return tuple(
            LandedFile(s.path, s.before, s.after, s.lines_added, s.lines_removed)
            for s in self.swaps
            if s.after is not None
        )


@dataclass(frozen=True, slots=True)
class LandedRecord:
    """One landing as the report and the review see it."""

    task: TaskId
    token: FencingToken
    title: str
    at_ms: int
    files: tuple[LandedFile, ...]
    undone_at_ms: int | None
    """When it was taken back; None while it stands."""
    rejected: str = ""
    """Why it was taken back, when a person wants it done anew."""

    def stands(self, *, since_ms: int) -> bool:
        """Whether it was not taken back, and is of the task loaded at `since_ms`, no earlier namesake."""
        return self.undone_at_ms is None and self.at_ms >= since_ms


def undone_numbers(records: Iterable[Record]) -> set[int]:
    """Return the numbers of the landings that were taken back."""
    return {n for r in records if r.operation is Operation.UNDO and r.happened for n in r.undoes}


def standing_landings(records: list[Record], task: TaskId, since_ms: int = 0) -> list[Record]:
    """Return the landings of `task` that happened and were not undone, oldest first.

    `since_ms` leaves out what a namesake in an earlier plan landed.
    """
    undone = undone_numbers(records)
    return [
        r
        for r in records
        if r.task == task and r.operation is Operation.LAND and r.happened
        if r.at_ms >= since_ms and r.number not in undone
    ]


def landed_records(records: list[Record]) -> list[LandedRecord]:
    """Return every landing that happened, oldest first."""
    undos = [(n, r) for r in records if r.operation is Operation.UNDO and r.happened for n in r.undoes]
    undo_of = dict(undos)
    # What was left of a landing may have been taken out later, which has no reason of its own.
    reasons = {n: r.rejected for n, r in undos if r.rejected}
    return [
        LandedRecord(
            r.task,
            r.token,
            r.title,
            r.at_ms,
            r.files,
            undo.at_ms if (undo := undo_of.get(r.number)) else None,
            reasons.get(r.number, ""),
        )
        for r in records
        if r.operation is Operation.LAND and r.happened
    ]


def newest_undo(records: list[Record], task: TaskId, since_ms: int = 0) -> Record:
    """Return the newest undo of `task` since `since_ms`. Raises WorkspaceError when there is none."""
    undos = [r for r in records if r.task == task and r.happened and r.undoes and r.at_ms >= since_ms]
    if not undos:
        raise WorkspaceError(f"{task} has landed nothing, so there is nothing to undo")
    return undos[-1]


def undone_landings(records: list[Record], task: TaskId, since_ms: int = 0) -> list[Record]:
    """Return the landings of `task` since `since_ms` that were taken back, oldest first.

    Raises WorkspaceError when there is none.
    """
    undone = undone_numbers(records)
    landings = [r for r in records if r.task == task and r.number in undone and r.at_ms >= since_ms]
    if not landings:
        raise WorkspaceError(f"{task} has landed nothing, so there is nothing to undo")
    return landings


def left_of(records: list[Record], landings: list[Record]) -> list[Record]:
    """Return undone landings with the paths alone out of which no undo of theirs took anything."""
    taken = {(n, s.path) for r in records if r.happened for n in r.undoes for s in r.swaps}
    return [replace(r, swaps=tuple(s for s in r.swaps if (r.number, s.path) not in taken)) for r in landings]
