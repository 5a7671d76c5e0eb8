"""What a copy was given: every path with its hash, its source's signature and its own.

Kept beside the copy, where no worker reaches it. The change set and the resync both
compare against it, so it never claims more than was really written: it is saved after the
files, and a signature that does not fit is simply copied again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from agentcoord.domain.files import FileVersion
from agentcoord.workspace.user_tree import SIZE, Kind, Signature, Stamped, TreeStamp

_SCHEMA = 2
_ROWS_A_LINE = 500
"""Reading and writing one line holds the interpreter; the event loop waits for no longer than that."""
_KINDS: Mapping[str, Kind] = {str(kind): kind for kind in Kind}
_PLAIN_MODE, _EXECUTABLE_MODE = 0o644, 0o755


class Entry(NamedTuple):
    """One path of a copy."""

    kind: Kind
    executable: bool
    sha256: str
    """For a symlink, `-> target`."""
    source: Signature | None
    """The user's file when it was copied; None when that was too fresh to prove anything."""
    copy: Signature
    ignored: bool
    """Ignored by git: shown to the worker, never landed."""

    @property
    def version(self) -> FileVersion:
        mode = _EXECUTABLE_MODE if self.executable else _PLAIN_MODE
        return FileVersion(self.sha256, self.copy[SIZE], mode)


Row = tuple[str, bool, str, Signature | None, Signature, bool]
"""An entry as it is kept: of nothing that the garbage collector would have to follow."""


class Entries(Mapping[str, Entry]):
    """The entries by path, each made when it is asked for."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, entries: Mapping[str, Entry]) -> Entries:
        return cls({path: (e.kind.value, *e[1:]) for path, e in entries.items()})

    def __getitem__(self, path: str) -> Entry:
        return _entry(self.rows[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, path: object) -> bool:
        return path in self.rows


class _Stamps(Mapping[str, Stamped]):
    """The same entries as a stamp remembers them."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self._rows = rows

    def __getitem__(self, path: str) -> Stamped:
        kind, executable, sha256, source, _, _ = self._rows[path]
        return Stamped(_KINDS[kind], executable, source, sha256)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, path: object) -> bool:
        return path in self._rows


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of one copy, and what the listing left out of it."""

    entries: Entries = field(default_factory=lambda: Entries({}), repr=False)
    nested: frozenset[str] = frozenset()
    """Submodules and nested repositories of the user's tree: absent from the copy."""

    def stamp(self, generation: int) -> TreeStamp:
        """Return the user's tree as this copy shows it."""
        return TreeStamp(_Stamps(self.entries.rows), generation)

    def is_same(self, other: Manifest) -> bool:
        return self.entries.rows == other.entries.rows and self.nested == other.nested

    def with_files(self, files: Mapping[str, FileVersion]) -> Manifest:
        """Return the manifest with these files put over it, as a landing would leave them."""
        rows = dict(self.entries.rows)
        for path, version in files.items():
            executable = bool(version.mode & 0o100)
            # No signature can prove what is not there yet: only the hash will tell.
            unknown = (version.size, 0, 0, 0)
            rows[path] = (Kind.FILE.value, executable, version.sha256, None, unknown, False)
        return Manifest(Entries(rows), self.nested)

    def tree_hash(self, on_top: Mapping[str, FileVersion]) -> str:
        """Return one hash for the whole tree with the files of `on_top` put over it."""
        lines = {p: f"{row[0]} {row[1]:d} {row[2]}" for p, row in self.entries.rows.items()}
        lines |= {p: f"{Kind.FILE} {bool(v.mode & 0o100):d} {v.sha256}" for p, v in on_top.items()}
        digest = hashlib.sha256()
        for path in sorted(lines):
            digest.update(f"{path}\0{lines[path]}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write to `path` in one rename: a line about the whole, then lines of entries."""
        temporary = path.with_name(path.name + ".new")
        about = {"schema": _SCHEMA, "nested": sorted(self.nested), "entries": len(self.entries)}
        with temporary.open("w", encoding="ascii") as out:
            out.write(json.dumps(about) + "\n")
            rows = iter(self.entries.rows.items())
            while some := [[p, *row] for p, row in islice(rows, _ROWS_A_LINE)]:
                out.write(json.dumps(some) + "\n")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Manifest | None:
        """Read what `save` wrote; None when there is none or it cannot be read (the copy is then rebuilt)."""
        try:
            with path.open(encoding="ascii") as lines:
                about = json.loads(next(lines))
                if about["schema"] != _SCHEMA:
                    return None
                rows = {path: _row(*facts) for line in lines for path, *facts in json.loads(line)}
            whole = len(rows) == about["entries"]
            return cls(Entries(rows), frozenset(about["nested"])) if whole else None
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None


def _row(
    kind: str, executable: bool, sha256: str, source: list[int] | None, copy: list[int], ignored: bool
) -> Row:
    proven = _signature(*source) if source else None
    return (_KINDS[kind].value, executable, sha256, proven, _signature(*copy), ignored)


def _signature(size: int, mtime_ns: int, ctime_ns: int, inode: int) -> Signature:
    return (size, mtime_ns, ctime_ns, inode)


def _entry(row: Row) -> Entry:
    kind, executable, sha256, source, copy, ignored = row
    return Entry(_KINDS[kind], executable, sha256, source, copy, ignored)
