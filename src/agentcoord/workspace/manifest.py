"""What a copy was given: every path with its hash, its source's signature and its own.

Kept beside the copy, where no worker reaches it. The change set and the resync both
compare against it, so it never claims more than was really written: it is saved after the
files, and a signature that does not fit is simply copied again.

In its file are a line about the whole and packed blocks of rows, each after its length. What changes
later is appended, so that a resync writes as much as it has changed; the last row of a path counts. An
appended block that a crash cut short is not read, and when enough was appended all is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agentcoord.domain.files import FileVersion
from agentcoord.values import dataclass
from agentcoord.workspace.signatures import UNPROVEN, Signature, of_size, size_of
from agentcoord.workspace.user_tree import Kind, Stamped, TreeStamp

_SCHEMA = 4
_ROWS_A_BLOCK = 2000
"""Reading and writing one block holds the interpreter; the event loop waits for no longer than that."""
_PACKING = 1
"""The quickest: half the size for a millisecond each 50 KB."""
_APPENDED_SHARE, _APPENDED_LEAST = 4, 1000
_PLAIN_MODE, _EXECUTABLE_MODE = 0o644, 0o755
_EXECUTABLE, _IGNORED = "x", "i"


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
        return FileVersion(self.sha256, size_of(self.copy), mode)


class Entries(Mapping[str, Entry]):
    """The entries by path, each made when it is asked for.

    Kept as texts by path: of nothing that the garbage collector would have to follow.
    """

    __slots__ = ("copies", "facts", "sources")

    def __init__(
        self, facts: dict[str, str], sources: dict[str, Signature], copies: dict[str, Signature]
    ) -> None:
        self.facts = facts
        """Kind, whether executable, whether ignored, one letter each; then the hash."""
        self.sources = sources
        """Of each path the user's file when it was copied, or UNPROVEN."""
        self.copies = copies

    @classmethod
    def of(cls, entries: Mapping[str, Entry]) -> Entries:
        made = cls({}, {}, {})
        for path, entry in entries.items():
            made.put(path, entry)
        return made

    def copied(self) -> Entries:
        """Return entries of their own, for changes."""
        return Entries(dict(self.facts), dict(self.sources), dict(self.copies))

    def put(self, path: str, entry: Entry) -> None:
        """Only for who has just made these entries."""
        self.facts[path] = _facts_of(entry)
        self.sources[path] = entry.source or UNPROVEN
        self.copies[path] = entry.copy

    def drop(self, path: str) -> None:
        """Only for who has just made these entries."""
        for column in (self.facts, self.sources, self.copies):
            column.pop(path, None)

    @property
    def ignored(self) -> set[str]:
        return {path for path, facts in self.facts.items() if facts[2] == _IGNORED}

    def __getitem__(self, path: str) -> Entry:
        facts = self.facts[path]
        source = self.sources[path] or None
        return Entry(
            Kind(facts[0]),
            facts[1] == _EXECUTABLE,
            facts[3:],
            source,
            self.copies[path],
            facts[2] == _IGNORED,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def __contains__(self, path: object) -> bool:
        return path in self.facts


class _Stamps(Mapping[str, Stamped]):
    """The same entries as a stamp remembers them."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __getitem__(self, path: str) -> Stamped:
        kind, executable, sha256, source, _, _ = self._entries[path]
        return Stamped(kind, executable, source, sha256)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: object) -> bool:
        return path in self._entries


class Kept(NamedTuple):
    """What is known of the file that holds a manifest."""

    inode: int
    length: int
    """Where its last whole block ends."""
    appended: int
    """How many rows came after it was written whole."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of one copy, and what the listing left out of it."""

    entries: Entries = field(default_factory=lambda: Entries({}, {}, {}), repr=False)
    nested: frozenset[str] = frozenset()
    """Submodules and nested repositories of the user's tree: absent from the copy."""
    kept: Kept | None = field(default=None, repr=False)
    """Its file; in one that is being made, the file that it was made from."""

    def stamp(self, generation: int) -> TreeStamp:
        """Return the user's tree as this copy shows it."""
        return TreeStamp(_Stamps(self.entries), self.entries.sources, generation)

    def with_files(self, files: Mapping[str, FileVersion]) -> Manifest:
        """Return the manifest with these files put over it, as a landing would leave them."""
        entries = self.entries.copied()
        for path, version in files.items():
            executable = bool(version.mode & 0o100)
            # No signature can prove what is not there yet: only the hash will tell.
            entries.put(
                path, Entry(Kind.FILE, executable, version.sha256, None, of_size(version.size), False)
            )
        return Manifest(entries, self.nested)

    def tree_hash(self, on_top: Mapping[str, FileVersion]) -> str:
        """Return one hash for the whole tree with the files of `on_top` put over it."""
        facts = self.entries.facts
        lines = {p: f"{said[0]} {said[1] == _EXECUTABLE:d} {said[3:]}" for p, said in facts.items()}
        lines |= {p: f"{Kind.FILE} {bool(v.mode & 0o100):d} {v.sha256}" for p, v in on_top.items()}
        digest = hashlib.sha256()
        for path in sorted(lines):
            digest.update(f"{path}\0{lines[path]}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def saved(self, path: Path, known: Manifest | None = None, changed: Collection[str] = ()) -> Manifest:
        """Have `path` hold this, and return it with what is known of that file.

        It differs in the paths `changed` from `known`, as which `path` was read or saved last; None: write
        all of it, in one rename.
        """
        if known is not None and known.nested == self.nested:
            kept = self._appended(path, known.kept, changed)
            if kept is not None:
                return Manifest(self.entries, self.nested, kept)
        temporary = path.with_name(path.name + ".new")
        about = {"schema": _SCHEMA, "nested": sorted(self.nested), "rows": len(self.entries)}
        with temporary.open("wb") as out:
            out.write(json.dumps(about).encode("ascii") + b"\n")
            self._write_rows(out, self.entries.facts)
            kept = Kept(os.fstat(out.fileno()).st_ino, out.tell(), 0)
        temporary.replace(path)
        return Manifest(self.entries, self.nested, kept)

    @classmethod
    def load(cls, path: Path) -> Manifest | None:
        """Read what was saved; None when there is none or it cannot be read (the copy is then rebuilt)."""
        try:
            with path.open("rb") as blocks:
                about = json.loads(blocks.readline())
                if about["schema"] != _SCHEMA:
                    return None
                entries, rows, length = Entries({}, {}, {}), 0, blocks.tell()
                while count := _read_block(blocks, entries):
                    rows += count
                    length = blocks.tell()
                if rows < about["rows"]:
                    return None
                kept = Kept(os.fstat(blocks.fileno()).st_ino, length, rows - about["rows"])
                return cls(entries, frozenset(about["nested"]), kept)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _appended(self, path: Path, kept: Kept | None, changed: Collection[str]) -> Kept | None:
        """Append the rows of `changed`; None where the file is another one, or should be written anew."""
        most = max(len(self.entries) // _APPENDED_SHARE, _APPENDED_LEAST)
        if kept is None or kept.appended + len(changed) > most:
            return None
        with contextlib.suppress(FileNotFoundError), path.open("r+b") as out:
            if (os.fstat(out.fileno()).st_ino, out.seek(0, os.SEEK_END)) == kept[:2]:
                self._write_rows(out, changed)
                return Kept(kept.inode, out.tell(), kept.appended + len(changed))
        return None

    def _write_rows(self, out: BinaryIO, paths: Iterable[str]) -> None:
        """Write these paths in blocks; the row of one that is no entry says nothing of it."""
        columns = (self.entries.facts, self.entries.sources, self.entries.copies)
        rest = iter(paths)
        while some := list(islice(rest, _ROWS_A_BLOCK)):
            told = (some, *([column.get(path, "") for path in some] for column in columns))
            block = zlib.compress(os.fsencode("\0".join(chain.from_iterable(told))), _PACKING)
            out.write(b"%d\n" % len(block) + block)


def _read_block(blocks: BinaryIO, entries: Entries) -> int:
    """Put the rows of the next block into `entries`; return how many, 0 where no whole one is left."""
    try:
        length = int(blocks.readline())
        fields = os.fsdecode(zlib.decompress(blocks.read(length))).split("\0")
    except (ValueError, zlib.error):
        return 0
    count = len(fields) // 4
    paths = fields[:count]
    for number, column in enumerate((entries.facts, entries.sources, entries.copies), start=1):
        column.update(zip(paths, fields[number * count : (number + 1) * count], strict=True))
    for path in [path for path, facts in zip(paths, fields[count : 2 * count], strict=True) if not facts]:
        entries.drop(path)
    return count


def _facts_of(entry: Entry) -> str:
    executable = _EXECUTABLE if entry.executable else "-"
    return f"{entry.kind.value}{executable}{_IGNORED if entry.ignored else '-'}{entry.sha256}"
