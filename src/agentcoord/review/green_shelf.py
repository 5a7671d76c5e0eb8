"""Stored green verdicts: what was proven once on a tree needs no second run, also after a restart.

One small file a verdict, named by a hash of what it was proven for. Bounded in number and age:
what lies outside the tree (a database, today's date) is in no hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from agentcoord.clock import Clock

MOST_VERDICTS = 1_000
LASTS_MS = 12 * 60 * 60 * 1000
_OUTPUT_CHARS = 4_000


class GreenShelf:
    """Verdicts by key. Blocking; call it from a thread. One process at a time."""

    def __init__(self, home: Path, clock: Clock) -> None:
        """`home` is created when first needed."""
        self._home = home
        self._clock = clock

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the outcome that was kept under `key`; None when it is too old, damaged or not there."""
        try:
            raw = json.loads(self._path(key).read_text(encoding="utf-8"))
            fresh = 0 <= self._clock.now_ms() - raw["at_ms"] < LASTS_MS
            return dict(raw["outcome"]) if fresh and raw["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, key: str, outcome: dict[str, Any]) -> None:
        """Keep a green outcome, the end of its output alone; the oldest ones give way."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {**outcome, "output": str(outcome.get("output", ""))[-_OUTPUT_CHARS:]}
        path = self._path(key)
        temporary = path.with_suffix(f".{id(kept):x}.tmp")
        temporary.write_text(
            json.dumps({"key": key, "at_ms": self._clock.now_ms(), "outcome": kept}),
            encoding="utf-8",
            errors="backslashreplace",
        )
        temporary.replace(path)
        self._make_room()

    def _make_room(self) -> None:
        found = list(self._home.glob("*.json"))
        if len(found) <= MOST_VERDICTS:
            return
        found.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in found[: len(found) - MOST_VERDICTS * 3 // 4]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _path(self, key: str) -> Path:
        return self._home / f"{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
