"""Walking a folder that a worker owns: what is in it, without following or trusting anything.

Separate because the resync and the change set walk alike. The system's `find` does it where it sees
everything. Else folders are opened one by one beneath the root, never through a symlink; a folder that
the worker closed (mode 000) is opened up, since the copy is ours.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import field
from pathlib import Path

from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.beneath import open_folder, opened_parent, opened_root
from agentcoord.workspace.signatures import FOLDER, Signature, signature_of
from agentcoord.workspace.spawned import run_program
from agentcoord.workspace.system_find import FindFailedError, everything_beneath

MAX_DEPTH = 200
MAX_PATHS = 500_000
_MAX_PATH_BYTES = 3500
_REMOVED_AT_ONCE = 200
_REMOVAL_TIMEOUT_S = 120


@dataclass(slots=True)
class Found:
    """What a walk met. Paths are relative, `/`-separated, in no order."""

    files: dict[str, Signature] = field(default_factory=dict)
    """Everything that is not a folder: regular files, symlinks, fifos, sockets."""
    folders: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    """Folders too deep to be entered, or that will not open."""
    overflow: bool = False
    """There are more than MAX_PATHS paths: the rest was not looked at."""


def walk(root: Path, skip: Sequence[str] = ()) -> Found:
    """Look at everything beneath `root` except the folders (or files) of `skip`."""
    with contextlib.suppress(FindFailedError):
        found = _walk_with_find(root, skip)
        if found is not None:
            return found
    return walk_by_steps(root, skip)


def walk_by_steps(root: Path, skip: Collection[str] = ()) -> Found:
    """Do the same without `find`, and open closed folders up."""
    found = Found()
    pending = [""]
    with opened_root(root) as root_fd:
        while pending:
            folder = pending.pop()
            below = _look_into(root_fd, folder, found, skip)
            if _is_too_deep(folder):
                found.unreadable |= set(below)
                continue
            pending += below
            if len(found.files) + len(found.folders) > MAX_PATHS:
                found.overflow = True
                break
    return found


def folders_above(path: str) -> list[str]:
    """Return the folders that hold `path`, the topmost first."""
    components = path.split("/")[:-1]
    return ["/".join(components[:n]) for n in range(1, len(components) + 1)]


def remove_beneath(root: Path, paths: Sequence[str]) -> None:
    """Remove whatever is at `paths`, folders with all they hold; nothing outside is touched.

    No worker may run in the copy meanwhile. Raises WorkspaceError for what cannot be removed.
    """
    folders = []
    with opened_root(root) as root_fd:
        for path in paths:
            with contextlib.suppress(FileNotFoundError), opened_parent(root_fd, path) as (folder, name):
                if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    folders.append(f"{root}/{path}")
                else:
                    os.unlink(name, dir_fd=folder)
    for first in range(0, len(folders), _REMOVED_AT_ONCE):
        _remove_folders(folders[first : first + _REMOVED_AT_ONCE])


def remove_each(root: Path, paths: Sequence[tuple[str, bool]]) -> None:
    """Remove these files and (where the second is true) folders one by one, what is in a folder before it.

    Quicker than `remove_beneath` for few. Raises OSError for what does not go this way.
    """
    with opened_root(root) as root_fd:
        for path, is_folder in paths:
            with contextlib.suppress(FileNotFoundError), opened_parent(root_fd, path) as (folder, name):
                (os.rmdir if is_folder else os.unlink)(name, dir_fd=folder)


def _walk_with_find(root: Path, skip: Sequence[str]) -> Found | None:
    """Return what `find` found; None when folders are nested too deeply for us."""
    found = Found()
    for some in everything_beneath(root, skip):
        below = {path for path, signature in some.items() if signature == FOLDER}
        if any(_is_too_deep(folder) for folder in below) or max(map(len, some), default=0) > _MAX_PATH_BYTES:
            return None
        found.folders |= below
        for folder in below:
            del some[folder]
        found.files.update(some)
        if len(found.files) + len(found.folders) > MAX_PATHS:
            found.overflow = True
            break
    return found


def _is_too_deep(folder: str) -> bool:
    return folder.count("/") >= MAX_DEPTH or len(os.fsencode(folder)) > _MAX_PATH_BYTES


def _look_into(root_fd: int, folder: str, found: Found, skip: Collection[str]) -> list[str]:
    """Record what is in one folder; return the folders in it."""
    try:
        descriptor = _opened_up(root_fd, folder)
    except OSError:
        found.unreadable.add(folder)
        return []
    below = []
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in skip:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.folders.add(path)
                    below.append(path)
                else:
                    try:
                        found.files[path] = signature_of(entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
    finally:
        os.close(descriptor)
    return below


def _opened_up(root_fd: int, folder: str) -> int:
    """Open a folder; where its own mode forbids that, change the mode first."""
    try:
        return open_folder(root_fd, folder)
    except PermissionError:
        parent, _, name = folder.rpartition("/")
        above = open_folder(root_fd, parent)
        try:
            if sys.platform == "darwin":
                os.chmod(name, 0o700, dir_fd=above, follow_symlinks=False)
            else:
                pinned = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
                try:
                    # Linux changes modes through a pinned descriptor only by this detour.
                    Path(f"/proc/self/fd/{pinned}").chmod(0o700)
                finally:
                    os.close(pinned)
        finally:
            os.close(above)
        return open_folder(root_fd, folder)


def _remove_folders(folders: list[str]) -> None:
    """Remove folders with `rm`, which follows no symlink and needs no descriptor a level."""
    try:
        done = _run(["rm", "-rf", "--", *folders])
        if done.returncode:  # Something in there was closed by its mode.
            _run(["chmod", "-R", "u+rwx", "--", *folders])
            done = _run(["rm", "-rf", "--", *folders])
    except subprocess.TimeoutExpired as error:
        raise WorkspaceError("what a worker left in its copy cannot be removed in time") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise WorkspaceError(f"what a worker left in its copy cannot be removed: {said[:300]}")


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return run_program(command, cwd=Path("/"), stdin=b"", env=os.environ, timeout_s=_REMOVAL_TIMEOUT_S)
