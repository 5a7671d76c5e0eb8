"""What was flagged in each task's newest change, and whether a person lets exactly that change land.

One small file a task. Permission is given to contents, by their hashes, never to a task: a change
that is made anew is judged anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from agentcoord.domain.files import Change
from agentcoord.domain.ids import TaskId
from agentcoord.review.flags import Flag, FlagKind
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class FlaggedChange:
    """One change of one attempt, and its flags."""

    attempt: int
    fingerprint: str
    flags: tuple[Flag, ...]
    permitted: bool = False
    """A person said that exactly this may land."""


class FlagBook:
    """The newest flagged change of each task. Blocking; call it from a thread."""

    def __init__(self, home: Path) -> None:
        """`home` is created when first needed."""
        self._home = home

    def note(self, task: TaskId, attempt: int, fingerprint: str, flags: Iterable[Flag]) -> FlaggedChange:
        """Keep what was flagged; a permission for the same contents stays."""
        known = self.of(task)
        permitted = known is not None and known.permitted and known.fingerprint == fingerprint
        noted = FlaggedChange(attempt, fingerprint, tuple(flags), permitted)
        self._write(task, noted)
        return noted

    def of(self, task: TaskId) -> FlaggedChange | None:
        """Return what was noted last; None when there is nothing, or it is damaged."""
        try:
            raw = json.loads(self._path(task).read_text(encoding="utf-8"))
            flags = tuple(
                Flag(FlagKind(kind), str(path), int(line), str(words))
                for kind, path, line, words in raw["flags"]
            )
            return FlaggedChange(
                int(raw["attempt"]), str(raw["fingerprint"]), flags, raw["permitted"] is True
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def set_permitted(self, task: TaskId, *, permitted: bool) -> FlaggedChange | None:
        """Say whether the change that was noted last may land; return it, None when there is none."""
        known = self.of(task)
        if known is None:
            return None
        changed = replace(known, permitted=permitted)
        self._write(task, changed)
        return changed

    def _write(self, task: TaskId, noted: FlaggedChange) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        rows = [[each.kind, each.path, each.line, each.words] for each in noted.flags]
        path = self._path(task)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(
            json.dumps(
                {
                    "attempt": noted.attempt,
                    "fingerprint": noted.fingerprint,
                    "flags": rows,
                    "permitted": noted.permitted,
                }
            ),
            encoding="utf-8",
            errors="backslashreplace",
        )
        temporary.replace(path)

    def _path(self, task: TaskId) -> Path:
        return self._home / f"{task}.json"


def fingerprint_of(changes: Iterable[Change]) -> str:
    """Name what would land by its paths, contents and modes."""
    lines = sorted(
        f"{change.path}\0{change.new.sha256}\0{change.new.mode:o}" for change in changes if change.new
    )
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def why_held(task: TaskId, flags: Iterable[Flag]) -> str:
    """Say in one sentence why a change waits for a person, and what they can do."""
    holding = [flag for flag in flags if flag.holds]
    more = f", and {len(holding) - 1} more" if len(holding) > 1 else ""
    return f"flagged: {holding[0]}{more} (agentcoord task {task}; agentcoord land {task} lets it land)"
