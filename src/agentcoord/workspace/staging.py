"""Putting a task's change set on top of the user's tree as it is now, merging where both moved.

Contents are decided in memory first (`_decide` is pure); only then is the proof tree
written. Separate from `landing`, which puts the same bytes into the user's tree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from agentcoord.domain.files import Change, ChangeSet, FileVersion
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.diffs import Pair, merge, whole_patch
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.manifest import Entry, Manifest
from agentcoord.workspace.one_name import users_name_of
from agentcoord.workspace.signatures import size_of
from agentcoord.workspace.staged import MergeConflict, Staged, StagedFile
from agentcoord.workspace.user_tree import Kind
from agentcoord.workspace.versions import version_of
from agentcoord.workspace.walk import folders_above

MAX_STAGED_BYTES = 256 * 1024 * 1024
"""All contents of one landing together; they are held in memory until it ends."""
_HELD_ABOVE_BYTES = 1024
_HELD_BELOW_SHARE = 0.2


_Read = Callable[[str], bytes]
"""Returns a content by its SHA-256."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """Every content that a merge may need: stored ones, and those that only the line holds."""

    blobs: BlobStore
    ahead: Mapping[str, bytes]

    def read(self, sha256: str) -> bytes:
        found = self.ahead.get(sha256)
        return self.blobs.read(sha256) if found is None else found


@dataclass(frozen=True, slots=True)
class _Decision:
    """What to do with one path. None as content: the user's tree has it already."""

    content: bytes | None
    merged: bool = False
    conflict: bool = False


def stage_changes(
    changes: ChangeSet,
    files: SafeTree,
    proof: Path,
    current: Manifest,
    blobs: BlobStore,
    generation: int,
    user_root: Path,
    ahead: Sequence[Staged] = (),
) -> Staged | MergeConflict:
    """Stage the landable changes of the copy `files` onto the proof tree, which shows `current`.

    `ahead` is put there first, as what will have landed by then. Raises WorkspaceError when a file of
    the copy is not what the change set says, or all together are too large.
    """
    tree = SafeTree(proof)
    earlier = [file for each in ahead for file in each.files]
    for file in earlier:
        tree.write_bytes(file.path, file.content, mode=file.new.mode)
    if earlier:
        current = current.with_files({file.path: file.new for file in earlier})
    read = _Contents(blobs, {file.new.sha256: file.content for file in earlier}).read
    contents = _read_contents(changes.landable, files)
    decisions = {}
    for change in changes.landable:
        if change.base is None and _clashes(change.path, current, user_root):
            decisions[change.path] = _Decision(None, conflict=True)
        else:
            there = current.entries.get(change.path)
            decisions[change.path] = _decide(change, contents[change.path], there, read)
    conflicts = tuple(path for path, d in decisions.items() if d.conflict)
    if conflicts:
        patch = whole_patch(_pairs(changes.landable, contents, read))
        return MergeConflict(conflicts, patch, _other_names(changes, conflicts, current, user_root))
    staged = []
    for change in changes.landable:
        content = decisions[change.path].content
        if content is not None:
            entry = current.entries.get(change.path)
            base = entry.version if entry else None
            assert change.new is not None
            mode = base.mode if base else change.new.mode
            staged.append(StagedFile(change.path, base, version_of(content, mode), content))
    for file in staged:
        tree.write_bytes(file.path, file.content, mode=file.new.mode)
    return Staged(
        stamp=current.stamp(generation),
        files=tuple(staged),
        tree_hash=current.tree_hash({f.path: f.new for f in staged}),
        merged=tuple(path for path, d in decisions.items() if d.merged),
        held=tuple(f.path for f in staged if f.base is not None and is_drastic(f.base, f.new)),
    )


def is_drastic(base: FileVersion, new: FileVersion) -> bool:
    """Whether a file is emptied, or loses over 80% of more than 1 KB."""
    if base.size > 0 and new.size == 0:
        return True
    return base.size > _HELD_ABOVE_BYTES and new.size < base.size * _HELD_BELOW_SHARE


def _read_contents(landable: Iterable[Change], files: SafeTree) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    total_bytes = 0
    for change in landable:
        assert change.new is not None
        try:
            content = files.read_bytes(change.path, limit=MAX_LANDED_FILE_BYTES)
        except FileNotFoundError as error:
            raise WorkspaceError(f"{change.path!r} vanished from the copy while it was staged") from error
        if version_of(content, change.new.mode) != change.new:
            raise WorkspaceError(f"{change.path!r} changed in the copy while it was staged")
        total_bytes += len(content)
        if total_bytes > MAX_STAGED_BYTES:
            raise WorkspaceError(f"the changes have more than {MAX_STAGED_BYTES >> 20} MB together")
        contents[change.path] = content
    return contents


def _decide(change: Change, new: bytes, there: Entry | None, read: _Read) -> _Decision:
    """Decide what the path should hold, given what the user has there now."""
    if there is None:
        # Modified by us, removed by the user: theirs to decide.
        return _Decision(new) if change.base is None else _Decision(None, conflict=True)
    if there.kind is not Kind.FILE:
        return _Decision(None, conflict=True)
    assert change.new is not None
    if there.sha256 == change.new.sha256:
        return _Decision(None)
    if change.base is not None and there.sha256 == change.base.sha256:
        return _Decision(new)
    if change.base is None or size_of(there.copy) > MAX_LANDED_FILE_BYTES:
        return _Decision(None, conflict=True)
    ours = read(there.sha256)
    result = merge(base=read(change.base.sha256), ours=ours, theirs=new)
    if result is None:
        return _Decision(None, conflict=True)
    return _Decision(None if result == ours else result, merged=True)


def _clashes(path: str, current: Manifest, user_root: Path) -> bool:
    """Whether something else stands where a new file, or a folder above it, must be.

    The disk is asked too: an ignored file of the user's is in no copy, and wins all the same.
    """
    if any(folder in current.entries for folder in folders_above(path)):
        return True
    return path not in current.entries and os.path.lexists(f"{user_root}/{path}")


def _other_names(
    changes: ChangeSet, conflicts: Collection[str], current: Manifest, user_root: Path
) -> dict[str, str]:
    new = [change.path for change in changes.landable if change.base is None and change.path in conflicts]
    others = {path: users_name_of(path, current.entries, user_root) for path in new}
    return {path: other for path, other in others.items() if other is not None}


def _pairs(landable: Iterable[Change], contents: dict[str, bytes], read: _Read) -> list[Pair]:
    return [
        Pair(
            c.path,
            read(c.base.sha256) if c.base is not None else None,
            contents[c.path],
            executable=c.base is None and c.new is not None and bool(c.new.mode & 0o100),
        )
        for c in landable
    ]
