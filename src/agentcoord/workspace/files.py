"""A worker's files, opened safely: what the daemon's own file tools read and write goes through here.

The copy belongs to the worker, so every path and every file in it is hostile: see
`beneath`. Writes are atomic within the copy (a temporary sibling, then a rename).
Deliberately absent: scope, locks and the meaning of text; the daemon adds those.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import (
    READ,
    checked_path,
    in_words,
    open_beneath,
    open_folder,
    opened_parent,
    opened_root,
)
from agentcoord.workspace.blobs import write_all
from agentcoord.workspace.names import is_git_folder

_TEMPORARY = ".agentcoord-write.tmp"
_CHUNK_BYTES = 1 << 20


class SafeTree:
    """One folder, reached only beneath itself. Blocking; call it from a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read_bytes(self, path: str, *, limit: int) -> bytes:
        """Return the content of a regular file of at most `limit` bytes.

        Raises FileNotFoundError when there is none, and WorkspaceError in words for a path
        that leads out or through a symlink, a folder, a fifo, or a file that is too large.
        """
        with self.opened(path) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise WorkspaceError(f"{path!r} has {size} bytes; at most {limit} can be read")
            content = read_up_to(descriptor, limit + 1)
        if len(content) > limit:
            raise WorkspaceError(f"{path!r} grew beyond {limit} bytes while it was read")
        return content

    def write_bytes(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Create or replace a regular file at once, with the folders above it.

        `mode` None keeps the exec bit of the file that was there, else 0644. Raises
        WorkspaceError in words where the path leads out, through a symlink, into `.git`, or
        ends at something that is no regular file.
        """
        plain = _writable(path)
        try:
            with (
                opened_root(self.root) as root_fd,
                opened_parent(root_fd, plain, make=True) as (folder, name),
            ):
                there = _mode_of(folder, name, path)
                wanted = mode if mode is not None else 0o755 if there & 0o100 else 0o644
                replace_file(folder, name, content, wanted)
        except OSError as error:
            raise in_words(error, path) from error

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error. Raises WorkspaceError like `write_bytes`."""
        plain = _writable(path)
        try:
            with opened_root(self.root) as root_fd, opened_parent(root_fd, plain) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise in_words(error, path) from error

    def list_dir(self, path: str = "") -> list[str]:
        """Return the names in a folder, sorted, folders with a trailing `/`, `.git` left out.

        Raises FileNotFoundError when there is none, WorkspaceError in words as `read_bytes`.
        """
        plain = checked_path(path)
        try:
            with opened_root(self.root) as root_fd:
                folder = open_folder(root_fd, plain)
                try:
                    with os.scandir(folder) as entries:
                        names = [e.name + "/" if e.is_dir(follow_symlinks=False) else e.name for e in entries]
                finally:
                    os.close(folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise in_words(error, path) from error
        return sorted(n for n in names if n not in (".git", ".git/"))

    def exists(self, path: str) -> bool:
        """Whether a regular file or a folder is at `path`. Raises WorkspaceError where `path` leads out."""
        plain = checked_path(path)
        if not plain:
            return True
        try:
            with opened_root(self.root) as root_fd, opened_parent(root_fd, plain) as (folder, name):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)

    def is_dir(self, path: str) -> bool:
        """Whether a folder is at `path`, not through a symlink."""
        plain = checked_path(path)
        try:
            with opened_root(self.root) as root_fd:
                os.close(open_folder(root_fd, plain))
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open a regular file for reading; the descriptor is closed at the end. Raises as `read_bytes`."""
        plain = checked_path(path)
        if not plain:
            raise WorkspaceError("the empty path is the repository itself, a folder")
        try:
            with opened_root(self.root) as root_fd:
                descriptor = open_beneath(root_fd, plain, READ)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise in_words(error, path) from error
        try:
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(kind):
                raise WorkspaceError(f"{path!r} is a folder, not a file")
            if not stat.S_ISREG(kind):
                raise WorkspaceError(f"{path!r} is not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)


def replace_file(folder: int, name: str, content: bytes, mode: int, *, durable: bool = False) -> None:
    """Put a new regular file at `name` within the open `folder`, in one rename.

    With `durable` the content is on the disk before the rename; the folder is the caller's to sync.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_TEMPORARY, dir_fd=folder)
    write_new_file(folder, _TEMPORARY, content, mode, durable=durable)
    try:
        os.rename(_TEMPORARY, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(_TEMPORARY, dir_fd=folder)
        raise


def write_new_file(folder: int, name: str, content: bytes, mode: int, *, durable: bool = False) -> None:
    """Create `name` within the open `folder`; it must not exist, not even as a symlink."""
    with new_file(folder, name, mode, durable=durable) as descriptor:
        write_all(descriptor, content)


@contextlib.contextmanager
def new_file(folder: int, name: str, mode: int, *, durable: bool = False) -> Iterator[int]:
    """Create `name` as `write_new_file` does, for the body to fill; gone again when that raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor
        with contextlib.suppress(PermissionError):  # It is ours: a file system without modes (exFAT) refuses.
            os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def sha256_of(descriptor: int) -> str:
    """Hash an open file from its start."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def read_up_to(descriptor: int, limit: int) -> bytes:
    """Read an open file on from where it stands."""
    pieces = []
    left = limit
    while left and (piece := os.read(descriptor, min(left, _CHUNK_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _writable(path: str) -> str:
    plain = checked_path(path)
    if not plain or path.endswith("/"):
        raise WorkspaceError(f"{path!r} names a folder, not a file")
    if is_git_folder(plain.split("/", 1)[0]):
        raise WorkspaceError(f"{path!r} is inside .git, which nobody here writes")
    return plain


def _mode_of(folder: int, name: str, path: str) -> int:
    """Return the permission bits of the regular file at `name`, 0 when there is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if stat.S_ISLNK(found.st_mode):
        raise WorkspaceError(f"{path!r} is a symlink: use the real path")
    if stat.S_ISDIR(found.st_mode):
        raise WorkspaceError(f"{path!r} is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise WorkspaceError(f"{path!r} is not a regular file")
    return stat.S_IMODE(found.st_mode)
