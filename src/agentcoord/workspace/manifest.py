"""What a copy was given: every path with its hash, its source's signature and its own.

Kept beside the copy, where no worker reaches it. The change set and the resync both
compare against it, so it never claims more than was really written: it is saved after the
files, and a signature that does not fit is simply copied again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from agentcoord.domain.files import FileVersion
from agentcoord.workspace.user_tree import Kind, Signature, Stamped, TreeStamp

_SCHEMA = 1
_PLAIN_MODE, _EXECUTABLE_MODE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class Entry:
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
        return FileVersion(self.sha256, self.copy.size, mode)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of one copy, and what the listing left out of it."""

    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    nested: frozenset[str] = frozenset()
    """Submodules and nested repositories of the user's tree: absent from the copy."""

    def stamp(self, generation: int) -> TreeStamp:
        """Return the user's tree as this copy shows it."""
        files = {p: Stamped(e.kind, e.executable, e.source, e.sha256) for p, e in self.entries.items()}
        return TreeStamp(files, generation)

    def with_files(self, files: Mapping[str, FileVersion]) -> Manifest:
        """Return the manifest with these files put over it, as a landing would leave them."""
        entries = dict(self.entries)
        for path, version in files.items():
            executable = bool(version.mode & 0o100)
            # No signature can prove what is not there yet: only the hash will tell.
            unknown = Signature(version.size, 0, 0, 0)
            entries[path] = Entry(Kind.FILE, executable, version.sha256, None, unknown, ignored=False)
        return Manifest(entries, self.nested)

    def tree_hash(self, on_top: Mapping[str, FileVersion]) -> str:
        """Return one hash for the whole tree with the files of `on_top` put over it."""
        lines = {p: f"{e.kind} {e.executable:d} {e.sha256}" for p, e in self.entries.items()}
        lines |= {p: f"{Kind.FILE} {bool(v.mode & 0o100):d} {v.sha256}" for p, v in on_top.items()}
        digest = hashlib.sha256()
        for path in sorted(lines):
            digest.update(f"{path}\0{lines[path]}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write to `path` in one rename."""
        rows = [
            [p, e.kind, e.executable, e.sha256, _row(e.source), _row(e.copy), e.ignored]
            for p, e in self.entries.items()
        ]
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(
            json.dumps({"schema": _SCHEMA, "nested": sorted(self.nested), "entries": rows}), "ascii"
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Manifest | None:
        """Read what `save` wrote; None when there is none or it cannot be read (the copy is then rebuilt)."""
        try:
            raw = json.loads(path.read_text("ascii"))
            if raw["schema"] != _SCHEMA:
                return None
            entries = {path: _entry(*facts) for path, *facts in raw["entries"]}
            return cls(entries, frozenset(raw["nested"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _row(signature: Signature | None) -> list[int] | None:
    if signature is None:
        return None
    return [signature.size, signature.mtime_ns, signature.ctime_ns, signature.inode]


def _entry(
    kind: str, executable: bool, sha256: str, source: list[int] | None, copy: list[int], ignored: bool
) -> Entry:
    proven = Signature(*source) if source else None
    return Entry(Kind(kind), executable, sha256, proven, Signature(*copy), ignored)
