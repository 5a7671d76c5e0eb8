"""Making the journal records of a landing and of an undo, and refusing what no record may hold.

Pure: everything that had to be looked up comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import LandingRefusedError, WorkspaceError
from agentcoord.workspace.beneath import checked_path
from agentcoord.workspace.history import Operation, Phase, Record, Swap
from agentcoord.workspace.names import SIBLING_PREFIX, SIBLING_SUFFIX, refusal_of
from agentcoord.workspace.staged import Staged, StagedFile
from agentcoord.workspace.undo import UndoPlan
from agentcoord.workspace.versions import version_of


def landing_record(
    number: int,
    at_ms: int,
    task: TaskId,
    token: FencingToken,
    title: str,
    staged: Staged,
    lines: Mapping[str, tuple[int, int]],
    made_folders: tuple[str, ...],
) -> Record:
    """Return the record of a landing that is prepared."""
    swaps = tuple(
        Swap(f.path, f.base, f.new, _sibling(at_ms, number, n), *lines.get(f.path, (0, 0)))
        for n, f in enumerate(staged.files)
    )
    return Record(
        number=number,
        operation=Operation.LAND,
        phase=Phase.PREPARED,
        task=task,
        token=token,
        title=title,
        at_ms=at_ms,
        swaps=swaps,
        made_folders=made_folders,
        merged=staged.merged,
    )


def undo_record(
    number: int,
    at_ms: int,
    landings: Sequence[Record],
    plan: UndoPlan,
    *,
    rejected: str = "",
    in_part: bool = False,
) -> Record:
    """Return the record of an undo that is prepared; `in_part`: the landings still stand."""
    numbers = tuple(r.number for r in landings)
    swaps = tuple(
        Swap(
            step.path,
            version_of(step.current, step.mode),
            None if step.wanted is None else version_of(step.wanted, step.mode),
            _sibling(at_ms, number, n),
        )
        for n, step in enumerate(plan.steps)
    )
    newest = landings[-1]
    return Record(
        number=number,
        operation=Operation.UNDO,
        phase=Phase.PREPARED,
        task=newest.task,
        token=newest.token,
        title=newest.title,
        at_ms=at_ms,
        swaps=swaps,
        made_folders=tuple(dict.fromkeys(f for r in landings for f in r.made_folders)),
        undoes=() if in_part else numbers,
        trims=numbers if in_part else (),
        restored=tuple(s.path for s in plan.steps if s.exact),
        merged=tuple(s.path for s in plan.steps if not s.exact),
        gone=plan.gone,
        absent=plan.absent,
        rejected=rejected,
    )


def refuse_names(staged: Staged) -> None:
    """Raise LandingRefusedError when some path is not plain, never lands by its name, or clashes."""
    paths = [f.path for f in staged.files]
    if len(set(paths)) != len(paths):
        raise LandingRefusedError("a path is staged twice", sorted(paths))
    reasons = {f.path: _refusal_of_file(f, paths) for f in staged.files}
    refused = {path: reason for path, reason in sorted(reasons.items()) if reason is not None}
    if refused:
        words = "; ".join(f"{path}: {reason}" for path, reason in refused.items())
        raise LandingRefusedError(f"never lands: {words}", list(refused))


def _refusal_of_file(file: StagedFile, paths: Sequence[str]) -> str | None:
    if not _is_plain(file.path):
        return "it is no plain path inside the repository"
    if file.new.mode not in (0o644, 0o755):
        return f"its mode is {file.new.mode:o}"
    if version_of(file.content, file.new.mode) != file.new:
        return "its content is not what was staged"
    if any(p.startswith(file.path + "/") for p in paths):
        return "it would be a file and a folder at once"
    return refusal_of(file.path, exists=file.base is not None)


def _is_plain(path: str) -> bool:
    try:
        return bool(path) and checked_path(path) == path
    except WorkspaceError:
        return False


def _sibling(at_ms: int, number: int, n: int) -> str:
    """Name a sibling: short, whatever the target's name, and never used before."""
    return f"{SIBLING_PREFIX}{at_ms:x}-{number:x}-{n:x}{SIBLING_SUFFIX}"
