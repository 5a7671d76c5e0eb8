"""What it takes to take a task back: decided from contents alone, before anything is touched.

Separate from `landing`, which carries the plan out with the same swaps and journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentcoord.domain.files import FileVersion
from agentcoord.errors import LandingRefusedError
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import Pair, merge
from agentcoord.workspace.history import Record, Swap
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

    @property
    def wanted_sha256(self) -> dict[str, str | None]:
        """What each changed file is to be; None: it goes."""
        return {s.path: None if s.wanted is None else version_of(s.wanted, s.mode).sha256 for s in self.steps}


@dataclass(frozen=True, slots=True)
class _Reversal:
    content: bytes | None
    exact: bool = True
    conflict: bool = False


def plan_undo(
    landings: Sequence[Record], read_current: Callable[[str], bytes | None], read_blob: Callable[[str], bytes]
) -> UndoPlan:
    """Plan to take back `landings` (oldest first) of one task from the files as they are now.

    A file that the user removed since stays removed.
    """
    steps = []
    conflicts = []
    gone = []
    for path in _paths(landings):
        try:
            current = read_current(path)
        except LandingRefusedError:
            conflicts.append(path)  # A symlink or a folder is there now.
            continue
        reversal = _Reversal(current)
        for swap in _of_path(landings, path):
            following = _reverse(reversal.content, swap, read_blob)
            exact = reversal.exact and following.exact
            reversal = _Reversal(following.content, exact, following.conflict)
            if reversal.conflict:
                break
        if reversal.conflict:
            conflicts.append(path)
        elif current is None:
            gone.append(path)
        elif reversal.content != current:
            mode = _of_path(landings, path)[0].mode
            steps.append(UndoStep(path, current, reversal.content, reversal.exact, mode))
    return UndoPlan(tuple(steps), tuple(conflicts), tuple(gone))


def reverse_pairs(record: Record, read_blob: Callable[[str], bytes]) -> list[Pair]:
    """Return what would take one landing back."""
    return [Pair(p.path, p.after, p.before) for p in forward_pairs(record, read_blob)]


def forward_pairs(record: Record, read_blob: Callable[[str], bytes]) -> list[Pair]:
    """Return what one landing did."""
    return [Pair(s.path, _content(s.before, read_blob), _content(s.after, read_blob)) for s in record.swaps]


def _reverse(content: bytes | None, swap: Swap, read_blob: Callable[[str], bytes]) -> _Reversal:
    """Take one swap out of a content."""
    assert swap.after is not None
    before = swap.before
    if content is None:
        return _Reversal(None)
    sha256 = version_of(content, 0).sha256
    if sha256 == swap.after.sha256:
        return _Reversal(None if before is None else read_blob(before.sha256))
    if before is None:
        return _Reversal(content, conflict=True)  # Created by the task, edited since.
    if sha256 == before.sha256:
        return _Reversal(content)
    merged = merge(base=read_blob(swap.after.sha256), ours=content, theirs=read_blob(before.sha256))
    if merged is None:
        return _Reversal(content, conflict=True)
    return _Reversal(merged, exact=False)


def _paths(landings: Sequence[Record]) -> list[str]:
    return sorted({s.path for record in landings for s in record.swaps})


def _of_path(landings: Sequence[Record], path: str) -> list[Swap]:
    """Return the swaps of one path, newest first."""
    return [s for record in reversed(landings) for s in record.swaps if s.path == path]


def _content(version: FileVersion | None, read_blob: Callable[[str], bytes]) -> bytes | None:
    return None if version is None else read_blob(version.sha256)
