"""A small map on disk that is changed often: JSON lines, the last line of a key counts.

Separate from what is kept in it (`memory_keeper`). A change costs one line; when most lines are old, the
file is written anew. A torn last line is a change that did not happen. Not synced: it outlives the
process, and what it stands in for is a server that does not sync every write either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OLD_LINES_MOST = 2_000
"""So many lines more than keys, and the file is written anew."""


class KeptFile:
    """The map of one file. Blocking; one writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self.values: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Path) -> KeptFile:
        """Read what is there; nothing, when there is no file. Raises OSError."""
        kept = cls(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return kept
        for line in text.splitlines():
            try:
                key, value = json.loads(line)
            except ValueError:
                continue
            kept.values[str(key)] = value
            kept._lines += 1
        if not text.endswith("\n"):
            kept._write_anew()
        return kept

    def put(self, changed: Mapping[str, Any]) -> None:
        """Store these values, as far as they are new. Raises OSError."""
        new = {key: value for key, value in changed.items() if self.values.get(key) != value}
        if not new:
            return
        self.values |= new
        self._lines += len(new)
        if self._lines > len(self.values) + OLD_LINES_MOST:
            self._write_anew()
            return
        with self._path.open("a", encoding="utf-8") as out:
            out.writelines(_line(key, value) for key, value in new.items())

    def clear(self) -> None:
        """Forget everything. Raises OSError."""
        self.values.clear()
        self._lines = 0
        self._path.unlink(missing_ok=True)

    def _write_anew(self) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as out:
            out.writelines(_line(key, value) for key, value in self.values.items())
        fresh.replace(self._path)
        self._lines = len(self.values)


def _line(key: str, value: object) -> str:
    return json.dumps([key, value], separators=(",", ":")) + "\n"
