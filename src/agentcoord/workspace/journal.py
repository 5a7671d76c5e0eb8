"""The record of every landing and undo: what was before, what came after, how far it got.

One file a record, on the disk before the step that it announces: a line of JSON, put there in
one rename, and a line for each phase that it reached since, added at the end. A line that a
crash cut short counts for nothing. The contents lie in packs beside the records, and all of
it outside the repository, so that no `git clean` reaches it. Records are kept for good; what
`compaction` drops, when a person asks for it, is the contents of work that was accepted long ago.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentcoord.domain.files import FileVersion
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.blobs import sync_folder, write_all
from agentcoord.workspace.history import Operation, Phase, Record, Swap
from agentcoord.workspace.packs import PackedContents

_SCHEMA = 1


class Journal:
    """The records of one project. Blocking; one writer at a time, which is one object as well."""

    def __init__(self, home: Path) -> None:
        self._records = home / "records"
        self.blobs = PackedContents(home / "blobs")
        self._known: dict[int, Record] | None = None
        """All records as they are on the disk, once they were read: a landing asks for them often.
        A kilobyte a landing of one file, and 300 bytes a further one, as long as the daemon runs."""
        self._guard = threading.Lock()

    def load(self, *, from_disk: bool = False) -> list[Record]:
        """Return all records, oldest first. Raises WorkspaceError for one that cannot be read."""
        with self._guard:
            if self._known is None or from_disk:
                self._known = self._read_all()
            return [self._known[number] for number in sorted(self._known)]

    def of_task(self, task: TaskId) -> list[Record]:
        """Return the records of `task`, landings and undos, oldest first. Raises like `load`."""
        return [record for record in self.load() if record.task == task]

    def write(self, record: Record) -> None:
        """Put a record on the disk in place of what it was."""
        with self._guard:
            known, self._known = self._known, None  # Read anew should the disk refuse.
            self._write(record)
            if known is not None:
                known[record.number] = record
                self._known = known

    def _read_all(self) -> dict[int, Record]:
        if not self._records.is_dir():
            return {}
        return {record.number: record for record in map(_read, sorted(self._records.glob("*.json")))}

    def _write(self, record: Record) -> None:
        if not self._records.is_dir():
            self._records.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_folder(self._records.parent)
        path = self._path(record.number)
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="ascii") as out:
            out.write(json.dumps(_to_dict(record)) + "\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
        sync_folder(self._records)

    def advance(self, record: Record, phase: Phase) -> Record:
        """Note that `record`, which was written, reached `phase`; return it so.

        Should the power fail soon, one that is settled may be found as done again, and settles again.
        """
        moved = replace(record, phase=phase)
        with self._guard:
            known, self._known = self._known, None
            descriptor = os.open(self._path(record.number), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                # The newline in front ends what a crash cut short.
                write_all(descriptor, f"\n{phase}\n".encode("ascii"))
                if phase is not Phase.SETTLED:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if known is not None:
                self._known = {**known, record.number: moved}
        return moved

    def remove(self, record: Record) -> None:
        """Forget a record that never touched the tree."""
        with self._guard:
            known, self._known = self._known, None
            self._path(record.number).unlink(missing_ok=True)
            sync_folder(self._records)
            if known is not None:
                known.pop(record.number, None)
                self._known = known

    def _path(self, number: int) -> Path:
        return self._records / f"{number:08d}.json"


def _read(path: Path) -> Record:
    try:
        first, *later = path.read_bytes().split(b"\n")
        raw = json.loads(first)
        if raw["schema"] != _SCHEMA:
            raise WorkspaceError(f"the journal record {path} was written by another version of agentcoord")
        # After the last newline is nothing, or what a crash cut short.
        reached = [each for line in later[:-1] for each in Phase if line == each.encode("ascii")]
        record = _from_dict(raw)
        return replace(record, phase=reached[-1]) if reached else record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"the journal record {path} cannot be read: {error}",
            mend="bring it back from a backup, or move it elsewhere: what it tells of stays in the tree, as "
            "it is, and can be undone by nobody but you",
        ) from error


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
        "gone": record.gone,
        "absent": record.absent,
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
        gone=tuple(raw.get("gone", ())),
        absent=tuple(raw.get("absent", ())),
        rejected=raw.get("rejected", ""),
        accepted_at_ms=raw.get("accepted_at_ms"),
        compacted_at_ms=raw.get("compacted_at_ms"),
    )


def _row(version: FileVersion | None) -> list[str | int] | None:
    return None if version is None else [version.sha256, version.size, version.mode]


def _version(row: list[Any] | None) -> FileVersion | None:
    return None if row is None else FileVersion(*row)
