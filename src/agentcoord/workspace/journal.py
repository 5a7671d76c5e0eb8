"""The record of every landing and undo: what was before, what came after, how far it got.

One file a record, replaced whole in one rename and on the disk before the step it
announces. The contents are blobs beside the records. It lies outside the repository, so
that no `git clean` reaches it. Records are kept for good; what `compaction` drops, when a
person asks for it, is the contents of work that was accepted long ago.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from agentcoord.domain.files import FileVersion, LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.blobs import BlobStore, sync_folder

_SCHEMA = 1


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


class Journal:
    """The records of one project. Blocking; one writer at a time, which is one object as well."""

    def __init__(self, home: Path) -> None:
        self._records = home / "records"
        self.blobs = BlobStore(home / "blobs", durable=True)
        self._known: dict[int, Record] | None = None
        """All records as they are on the disk, once they were read: a landing asks for them often."""
        self._guard = threading.Lock()

    def load(self, *, from_disk: bool = False) -> list[Record]:
        """Return all records, oldest first. Raises WorkspaceError for one that cannot be read."""
        with self._guard:
            if self._known is None or from_disk:
                self._known = self._read_all()
            return [self._known[number] for number in sorted(self._known)]

    def write(self, record: Record, *, lasting: bool = True) -> None:
        """Put a record on the disk in place of its earlier phase.

        `lasting=False`: should the power fail soon, the earlier one may be found again.
        """
        with self._guard:
            known, self._known = self._known, None  # Read anew should the disk refuse.
            self._write(record, lasting=lasting)
            if known is not None:
                self._known = {**known, record.number: record}

    def _read_all(self) -> dict[int, Record]:
        if not self._records.is_dir():
            return {}
        return {record.number: record for record in map(_read, sorted(self._records.glob("*.json")))}

    def _write(self, record: Record, *, lasting: bool) -> None:
        if not self._records.is_dir():
            self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._records.parent)
        path = self._path(record.number)
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="ascii") as out:
            out.write(json.dumps(_to_dict(record)))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
        if lasting:
            sync_folder(self._records)

    def advance(self, record: Record, phase: Phase) -> Record:
        """Write that `record` reached `phase` and return it so."""
        moved = replace(record, phase=phase)
        # A settled record that is found done again settles again.
        self.write(moved, lasting=phase is not Phase.SETTLED)
        return moved

    def remove(self, record: Record) -> None:
        """Forget a record that never touched the tree."""
        with self._guard:
            known, self._known = self._known, None
            self._path(record.number).unlink(missing_ok=True)
            sync_folder(self._records)
            if known is not None:
                self._known = {number: each for number, each in known.items() if number != record.number}

    def _path(self, number: int) -> Path:
        return self._records / f"{number:08d}.json"


def standing_landings(records: list[Record], task: TaskId, since_ms: int = 0) -> list[Record]:
    """Return the landings of `task` that happened and were not undone, oldest first.

    `since_ms` leaves out what a namesake in an earlier plan landed.
    """
    undone = {n for r in records if r.operation is Operation.UNDO and r.happened for n in r.undoes}
    return [
        r
        for r in records
        if r.task == task and r.operation is Operation.LAND and r.happened
        if r.at_ms >= since_ms and r.number not in undone
    ]


def landed_records(records: list[Record]) -> list[LandedRecord]:
    """Return every landing that happened, oldest first."""
    undo_of = {n: r for r in records if r.operation is Operation.UNDO and r.happened for n in r.undoes}
    return [
        LandedRecord(
            r.task,
            r.token,
            r.title,
            r.at_ms,
            r.files,
            undo.at_ms if (undo := undo_of.get(r.number)) else None,
            undo.rejected if undo else "",
        )
        for r in records
        if r.operation is Operation.LAND and r.happened
    ]


def _read(path: Path) -> Record:
    try:
        raw = json.loads(path.read_text("ascii"))
        if raw["schema"] != _SCHEMA:
            raise WorkspaceError(f"the journal record {path} was written by another version of agentcoord")
        return _from_dict(raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"the journal record {path} cannot be read: {error}") from error


def _to_dict(record: Record) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "number": record.number,
        "operation": record.operation,
        "phase": record.phase,
        "task": record.task,
        "token": record.token,
        "title": record.title,
        "at_ms": record.at_ms,
        "swaps": [
            [s.path, _row(s.before), _row(s.after), s.sibling, s.lines_added, s.lines_removed]
            for s in record.swaps
        ],
        "made_folders": record.made_folders,
        "undoes": record.undoes,
        "trims": record.trims,
        "restored": record.restored,
        "merged": record.merged,
        "rejected": record.rejected,
        "accepted_at_ms": record.accepted_at_ms,
        "compacted_at_ms": record.compacted_at_ms,
    }


def _from_dict(raw: dict[str, Any]) -> Record:
    return Record(
        number=raw["number"],
        operation=Operation(raw["operation"]),
        phase=Phase(raw["phase"]),
        task=TaskId(raw["task"]),
        token=FencingToken(raw["token"]),
        title=raw["title"],
        at_ms=raw["at_ms"],
        swaps=tuple(
            Swap(path, _version(before), _version(after), sibling, added, removed)
            for path, before, after, sibling, added, removed in raw["swaps"]
        ),
        made_folders=tuple(raw["made_folders"]),
        undoes=tuple(raw["undoes"]),
        trims=tuple(raw.get("trims", ())),
        restored=tuple(raw["restored"]),
        merged=tuple(raw["merged"]),
        rejected=raw.get("rejected", ""),
        accepted_at_ms=raw.get("accepted_at_ms"),
        compacted_at_ms=raw.get("compacted_at_ms"),
    )


def _row(version: FileVersion | None) -> list[str | int] | None:
    return None if version is None else [version.sha256, version.size, version.mode]


def _version(row: list[Any] | None) -> FileVersion | None:
    return None if row is None else FileVersion(*row)
