"""Putting back what a check changed or removed of the tree that it ran on, before the next check runs.

Separate from `proof`, which makes that tree. Else a test that a worker wrote could decide what every check
after it sees. What a check added stays: a build comes before what needs it. Blocking; nobody may run in the
copy meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agentcoord.domain.files import FileVersion
from agentcoord.workspace.beneath import READ, in_words, open_beneath, opened_parent, opened_root
from agentcoord.workspace.files import SafeTree, sha256_of
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.signatures import Signature
from agentcoord.workspace.user_tree import Kind, link_hash
from agentcoord.workspace.versions import version_of
from agentcoord.workspace.walk import folders_above, remove_beneath, walk


class Shown(NamedTuple):
    """What a copy is to show."""

    manifest: Manifest
    on_top: Mapping[str, tuple[bytes | None, int]]
    """By path the content (None: gone) and mode of what stands in the manifest's place."""


def put_back(
    root: Path,
    shown: Shown,
    before: Mapping[str, Signature],
    read: Callable[[str], bytes],
    skip: Sequence[str],
) -> None:
    """Make the paths that were there `before` what they are to be. Raises WorkspaceError."""
    there = walk(root, skip).files
    for path in sorted(path for path, signature in before.items() if there.get(path) != signature):
        if path in shown.on_top:
            content, mode = shown.on_top[path]
            if content is not None:
                _put_file(root, path, version_of(content, mode), partial(bytes, content))
        elif path in shown.manifest.entries:
            entry = shown.manifest.entries[path]
            if entry.kind is Kind.LINK:
                _put_link(root, path, entry.sha256)
            else:
                _put_file(root, path, entry.version, partial(read, entry.sha256))


def _put_file(root: Path, path: str, version: FileVersion, content: Callable[[], bytes]) -> None:
    if _holds(root, path, version):
        return
    _clear(root, path, lambda kind: not stat.S_ISREG(kind))
    SafeTree(root).write_bytes(path, content(), mode=version.mode)


def _put_link(root: Path, path: str, said: str) -> None:
    _clear(root, path, lambda kind: not stat.S_ISLNK(kind))
    try:
        with opened_root(root) as root_fd, opened_parent(root_fd, path, make=True) as (folder, name):
            with contextlib.suppress(FileNotFoundError):
                if link_hash(os.readlink(name, dir_fd=folder)) == said:
                    return
                os.unlink(name, dir_fd=folder)
            os.symlink(said.removeprefix(link_hash("")), name, dir_fd=folder)
    except OSError as error:
        raise in_words(error, path) from error


def _holds(root: Path, path: str, version: FileVersion) -> bool:
    with contextlib.suppress(OSError), opened_root(root) as root_fd:
        descriptor = open_beneath(root_fd, path, READ)
        try:
            found = os.fstat(descriptor)
            same = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == version.mode
            # A sparse file may seem to hold a terabyte.
            return same and found.st_size == version.size and sha256_of(descriptor) == version.sha256
        finally:
            os.close(descriptor)
    return False


def _clear(root: Path, path: str, is_wrong: Callable[[int], bool]) -> None:
    """Remove what stands where a folder above `path` must be, or is of a wrong kind at `path` itself."""
    for above in folders_above(path):
        if _is_at(root, above, lambda kind: not stat.S_ISDIR(kind)):
            remove_beneath(root, [above])
        elif _is_at(root, above, lambda kind: kind & stat.S_IRWXU != stat.S_IRWXU):
            (root / above).chmod(0o755)
    if _is_at(root, path, is_wrong):
        remove_beneath(root, [path])


def _is_at(root: Path, path: str, is_kind: Callable[[int], bool]) -> bool:
    try:
        with opened_root(root) as root_fd, opened_parent(root_fd, path) as (folder, name):
            return is_kind(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
