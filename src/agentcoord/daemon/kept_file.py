"""A small map on disk that is changed often: JSON lines, the last line of a key counts.

Separate from what is kept in it (`memory_keeper`). A change costs one line; when most lines are old, the
file is written anew. A torn last line is a change that did not happen. Not synced: it outlives the
process, and what it stands in for is a server that does not sync every write either.
In memory there is of each key only a digest of its value, about 200 bytes with the key's name: what a
daemon that runs for weeks has to remember of every task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

OLD_LINES_MOST = 2_000
"""So many lines more than keys, and the file is written anew."""
_DIGEST_BYTES = 16


class KeptFile:
    """The map of one file. Blocking; one writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._torn = False
        """Whether the last line may be half a line, to which nothing must be appended."""
        self._digests: dict[str, bytes] = {}
        self._disk = 0

    @classmethod
    def open(cls, path: Path) -> KeptFile:
        """Look through what is there; nothing, when there is no file. Raises OSError."""
        kept = cls(path)
        kept._disk = _disk_of(path)
        torn = False
        for line, key, value in kept._entries():
            kept._lines += 1
            torn = not line.endswith(b"\n")
            if key:
                kept._digests[key] = _digest(value)
        if torn:
            kept._write_anew()
        return kept

    def __len__(self) -> int:
        return len(self._digests)

    def holds(self, key: str, value: object) -> bool:
        """Whether this is the value of the key. Reads no file."""
        return self._digests.get(key) == _digest(value)

    def read(self) -> dict[str, Any]:
        """Return the whole map from the disk. Raises OSError."""
        return {key: value for _, key, value in self._entries() if key}

    def put(self, changed: Mapping[str, Any]) -> None:
        """Store these values, as far as they are new. Raises OSError; then none of them may be stored."""
        new = {key: value for key, value in changed.items() if not self.holds(key, value)}
        if not new:
            return
        if self._torn:
            self._write_anew()
        self._torn = True
        with self._path.open("ab") as out:
            out.writelines(_line(key, value) for key, value in new.items())
        self._torn = False
        self._digests |= {key: _digest(value) for key, value in new.items()}
        self._lines += len(new)
        if self._lines > len(self._digests) + OLD_LINES_MOST:
            self._write_anew()

    def is_gone(self) -> bool:
        """Whether somebody has removed the file, with what was in it, and not the disk. Raises OSError."""
        return bool(self._digests) and not self._path.exists() and _disk_of(self._path) == self._disk

    def begin_again(self) -> None:
        """Forget everything, and make the folder where it is gone, for the owner alone. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.parent.chmod(0o700)  # Whoever came first may have made it for all.
        self.clear()

    def clear(self) -> None:
        """Forget everything. Raises OSError."""
        self._digests.clear()
        self._lines, self._torn = 0, False
        self._path.unlink(missing_ok=True)

    def _write_anew(self) -> None:
        """Leave the last line of each key alone, a line at a time: the whole would fill the memory."""
        last = {key: number for number, (_, key, _) in enumerate(self._entries()) if key}
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as out:
            for number, (_, key, value) in enumerate(self._entries()):
                if key and last[key] == number:
                    out.write(_line(key, value))
        fresh.replace(self._path)
        self._lines, self._torn = len(last), False

    def _entries(self) -> Iterator[tuple[bytes, str, Any]]:
        """Yield each line with its key and value; no key, where it makes no sense."""
        try:
            lines = self._path.open("rb")
        except FileNotFoundError:
            return
        with lines:
            for line in lines:
                try:
                    key, value = json.loads(line)
                except ValueError:
                    yield line, "", None
                else:
                    yield line, str(key), value


def _disk_of(path: Path) -> int:
    """Of the nearest folder that is there."""
    return next(each for each in path.parents if each.exists()).stat().st_dev


def _line(key: str, value: object) -> bytes:
    return json.dumps([key, value], separators=(",", ":")).encode("ascii") + b"\n"


def _digest(value: object) -> bytes:
    # The server may give the fields of a hash in any order.
    words = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return blake2b(words.encode("ascii"), digest_size=_DIGEST_BYTES).digest()
