"""What it takes to take a task back: decided from contents alone, before anything is touched.

Separate from `landing`, which carries the plan out with the same swaps and journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcoord.domain.files import FileVersion
from agentcoord.errors import LandingRefusedError
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import Pair
from agentcoord.workspace.history import Record, Swap
from agentcoord.workspace.others_lines import OthersLines
from agentcoord.workspace.reversals import reverse_all
from agentcoord.workspace.versions import version_of


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One path that has to change."""

    path: str
    current: bytes
    wanted: bytes | None
    """None: the landing had created the file, and it goes."""
    exact: bool
    """The pre-image itself, and no merge."""
    mode: int
    """What the landing put there; counts only where the file has to be made anew after a crash."""


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """All steps, or the paths that stand in the way of all of them."""

    steps: tuple[UndoStep, ...]
    conflicts: tuple[str, ...]
    gone: tuple[str, ...] = ()
    """Removed by the user since, or renamed; nothing is done about them."""
    absent: tuple[str, ...] = ()
    """There, and without anything of what landed: it was reverted, or is in a stash or on another branch."""

    @property
    def wanted_sha256(self) -> dict[str, str | None]:
        """What each changed file is to be; None: it goes."""
        return {s.path: None if s.wanted is None else version_of(s.wanted, s.mode).sha256 for s in self.steps}


def plan_undo(
    landings: Sequence[Record],
    records: Sequence[Record],
    read_current: Callable[[str], bytes | None],
    read_blob: Callable[[str], bytes],
) -> UndoPlan:
    """Plan to take back `landings` (oldest first) of one task from the files as they are now.

    `records`: the whole journal, for what other tasks wrote. A file that the user removed stays removed.
    """
    others = OthersLines(landings, records, read_blob)
    steps = []
    conflicts = []
    gone = []
    absent = []
    for path in _paths(landings):
        try:
            current = read_current(path)
        except LandingRefusedError:
            conflicts.append(path)  # A symlink or a folder is there now.
            continue
        swaps = _of_path(landings, path)
        reversal = reverse_all(current, swaps, read_blob)
        if reversal.conflict:
            conflicts.append(path)
        elif current is None:
            gone.append(path)
        elif reversal.content == current:
            absent.append(path)
        elif others.are_taken(path, current, reversal.content):
            conflicts.append(path)
        else:
            steps.append(UndoStep(path, current, reversal.content, reversal.exact, swaps[0].mode))
    return UndoPlan(tuple(steps), tuple(conflicts), tuple(gone), tuple(absent))


def reverse_pairs(record: Record, read_blob: Callable[[str], bytes]) -> list[Pair]:
    """Return what would take one landing back."""
    return [Pair(p.path, p.after, p.before) for p in forward_pairs(record, read_blob)]


def forward_pairs(record: Record, read_blob: Callable[[str], bytes]) -> list[Pair]:
    """Return what one landing did."""
    return [Pair(s.path, _content(s.before, read_blob), _content(s.after, read_blob)) for s in record.swaps]


def _paths(landings: Sequence[Record]) -> list[str]:
    return sorted({s.path for record in landings for s in record.swaps})


def _of_path(landings: Sequence[Record], path: str) -> list[Swap]:
    """Return the swaps of one path, newest first."""
    return [s for record in reversed(landings) for s in record.swaps if s.path == path]


def _content(version: FileVersion | None, read_blob: Callable[[str], bytes]) -> bytes | None:
    return None if version is None else read_blob(version.sha256)
