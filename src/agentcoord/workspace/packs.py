"""The journal's contents: all that one landing needs in one file, so that a disk has one file to wait for.

A pack is a line of JSON, `[[SHA-256, length], ...]`, and the contents after it in that order; it is written
beside, synced, renamed and never changed. A content that comes alone (a save of the user's that a landing
met) is a file of its own, as in `blobs`. What is wanted no more goes with its pack; what else was in there
goes into a new pack first, so a crash in between leaves a content twice and never not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.blobs import BlobStore, sync_folder, write_all

_PACK = "pack-"
_SHA256_CHARS = 64
_INDEX_BYTES = 64 << 20
"""Of one pack; a landing has a thousandth of that at most."""


class _Place(NamedTuple):
    pack: Path
    offset: int
    size: int


class PackedContents:
    """A folder of contents by their SHA-256. Blocking; one writer at a time, any number of readers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._loose = BlobStore(home, durable=True)
        self._packs: dict[str, dict[str, _Place]] = {}
        """What is in each pack that was looked into. Replaced whole: others may be reading it."""
        self._places: dict[str, _Place] = {}
        """All that is in them: a journal may have thousands."""
        self._alone: frozenset[str] = frozenset()
        """The other contents that were there at the last look."""

    def put(self, content: bytes) -> str:
        """Store one content, onto the disk, and return its SHA-256."""
        return self._loose.put(content)

    def put_all(self, contents: Iterable[bytes]) -> None:
        """Store many contents, onto the disk; those that are there already are not stored again."""
        self._look_around()
        wanted: dict[str, bytes] = {}
        for content in contents:
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 not in wanted and not self._has(sha256, len(content)):
                wanted[sha256] = content
        if wanted:
            self._write_pack(wanted)

    def read(self, sha256: str) -> bytes:
        """Return a content. Raises WorkspaceError when it is gone or damaged."""
        place = self._place_of(sha256)
        if place is None:
            return self._loose.read(sha256)
        try:
            content = _read_at(place)
        except OSError as error:
            raise WorkspaceError(
                f"the stored content {sha256[:12]} in {place.pack} cannot be read"
            ) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise WorkspaceError(f"the stored content {sha256[:12]} in {place.pack} is damaged")
        return content

    def names(self) -> set[str]:
        """Return the SHA-256 of every content."""
        self._look_around()
        return set(self._alone).union(self._places)

    def drop_all(self, contents: Collection[str], fault: Callable[[str], None]) -> int:
        """Remove contents; return how many bytes that freed. `fault` hears each step before it is taken."""
        self._look_around()
        freed: dict[str, int] = {}
        for pack, index in list(self._packs.items()):
            gone = index.keys() & contents
            if gone:
                kept = {sha256: self.read(sha256) for sha256 in index if sha256 not in gone}
                if kept:
                    fault("pack kept contents")
                    self._write_pack(kept)
                fault("drop pack")
                (self.home / pack).unlink(missing_ok=True)
                self._know({known: places for known, places in self._packs.items() if known != pack})
                freed |= {sha256: index[sha256].size for sha256 in gone}
        for sha256 in sorted(contents):
            fault("drop content")
            freed[sha256] = max(self._loose.drop(sha256), freed.get(sha256, 0))
        return sum(freed.values())

    def _has(self, sha256: str, size: int) -> bool:
        """Whether it is stored, as far as one knows since looking around."""
        place = self._places.get(sha256)
        if place is not None:
            return place.size == size
        if sha256 in self._alone:
            with contextlib.suppress(FileNotFoundError):
                return (self.home / sha256).stat().st_size == size
        return False

    def _place_of(self, sha256: str) -> _Place | None:
        """Where a content is packed; None when it is in no pack."""
        place = self._places.get(sha256)
        if place is not None and place.pack.exists():
            return place
        if place is None and (self.home / sha256).exists():
            return None
        self._look_around()
        return self._places.get(sha256)

    def _look_around(self) -> None:
        """Look into the packs that are new, and forget those that are gone."""
        try:
            with os.scandir(self.home) as entries:
                there = {entry.name for entry in entries}
        except FileNotFoundError:
            there = set()
        self._alone = frozenset(name for name in there if len(name) == _SHA256_CHARS)
        packs = {name for name in there if name.startswith(_PACK)}
        if packs != self._packs.keys() or not all(self._packs.values()):
            self._know({name: self._packs.get(name) or _index_of(self.home / name) for name in sorted(packs)})

    def _know(self, packs: dict[str, dict[str, _Place]]) -> None:
        self._packs = packs
        self._places = {sha256: place for index in packs.values() for sha256, place in index.items()}

    def _write_pack(self, contents: dict[str, bytes]) -> None:
        index = json.dumps([[sha256, len(content)] for sha256, content in contents.items()]).encode("ascii")
        pack = self.home / f"{_PACK}{hashlib.sha256(index).hexdigest()[:32]}"
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = pack.with_name(f"new-{pack.name}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, b"".join([index, b"\n", *contents.values()]))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(pack)
        sync_folder(self.home)
        places = _places(pack, len(index) + 1, [(sha256, len(c)) for sha256, c in contents.items()])
        self._packs = {**self._packs, pack.name: dict(places)}
        self._places.update(self._packs[pack.name])


def _index_of(pack: Path) -> dict[str, _Place]:
    """Read what is where in a pack; nothing is in one that is gone or cannot be read."""
    try:
        with pack.open("rb") as source:
            line = source.readline(_INDEX_BYTES)
        return dict(_places(pack, len(line), [(str(sha256), int(size)) for sha256, size in json.loads(line)]))
    except (OSError, ValueError, TypeError):
        return {}


def _places(pack: Path, first: int, sizes: Iterable[tuple[str, int]]) -> Iterator[tuple[str, _Place]]:
    offset = first
    for sha256, size in sizes:
        yield sha256, _Place(pack, offset, size)
        offset += size


def _read_at(place: _Place) -> bytes:
    with place.pack.open("rb") as source:
        source.seek(place.offset)
        return source.read(place.size)
