"""Putting single files of the user's tree into a copy that nobody works in meanwhile.

Separate from `mirror`, which decides what is to be put. A content goes to the store and into the copy in one
reading. In the copy it is written where it will stand: what a crash leaves half written has another signature
than the list says, and is copied again before anybody is given the copy. Renaming it over the older file
would have some file systems write it out at once (ext4), which is most of what a file costs.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcoord.workspace.beneath import (
    READ,
    in_words,
    make_folders,
    open_beneath,
    open_folder,
    opened_parent,
    opened_root,
)
from agentcoord.workspace.blobs import BlobStore, write_all
from agentcoord.workspace.manifest import Entry
from agentcoord.workspace.signatures import Signature, is_racy, signature_of
from agentcoord.workspace.subvolumes import is_subvolume, note_no_reading
from agentcoord.workspace.user_tree import Kind, kind_of, link_hash

_READ_TRIES = 3
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN_MODE, _EXECUTABLE_MODE = 0o644, 0o755


class Placer:
    """Copies paths of the user's tree into one copy; quickest in the order of their names. Blocking."""

    def __init__(self, source_fd: int, target_fd: int, tree: Path, blobs: BlobStore) -> None:
        """`tree` is the copy's folder, and `target_fd` it, opened. Made by `placing`."""
        self._source_fd = source_fd
        self._target_fd = target_fd
        self._blobs = blobs
        self._quiet = is_subvolume(tree)
        """Whether the copy shares its inodes with others: none is to be written for a mere reading."""
        self._folder = ""
        self._folder_fd = os.dup(target_fd)
        """The folder of the copy that the last path was in."""

    def copy(self, path: str, listed: Signature, *, ignored: bool) -> Entry | None:
        """Copy one path; None when the user removed it, or it cannot be read, by now.

        Raises WorkspaceError when the copy cannot be written.
        """
        if kind_of(listed) is Kind.LINK:
            return self._copy_link(path, ignored=ignored)
        try:
            source = open_beneath(self._source_fd, path, READ)
        except OSError:
            return None
        try:
            for _ in range(_READ_TRIES):
                begun_ns, before = time.time_ns(), os.fstat(source)
                if not stat.S_ISREG(before.st_mode):
                    return None
                sha256, content = self._blobs.put_file(source, before.st_size)
                calm = signature_of(os.fstat(source)) == signature_of(before)
                if calm:
                    break
        finally:
            os.close(source)
        executable = bool(before.st_mode & 0o100)
        try:
            signature = self._place(path, sha256, content, _EXECUTABLE_MODE if executable else _PLAIN_MODE)
        except OSError as error:
            raise in_words(error, path) from error
        proven = _proven(before, begun_ns) if calm else None
        return Entry(Kind.FILE, executable, sha256, proven, signature, ignored)

    def note_no_reading_of(self, folder: str) -> None:
        """See to it that reading a new folder of the copy writes nothing into its inode."""
        if self._quiet:
            with contextlib.suppress(OSError):
                opened = open_folder(self._target_fd, folder)
                try:
                    note_no_reading(opened)
                finally:
                    os.close(opened)

    def close(self) -> None:
        """Close what it holds open itself."""
        os.close(self._folder_fd)

    def _place(self, path: str, sha256: str, content: bytes | None, mode: int) -> Signature:
        name = self._cleared(path)
        target = os.open(name, _NEW, mode, dir_fd=self._folder_fd)
        try:
            if content is not None and not (content and self._blobs.shares_blocks):
                write_all(target, content)
            else:
                self._blobs.copy_to(sha256, target)
            found = os.fstat(target)
            if stat.S_IMODE(found.st_mode) != mode:
                with contextlib.suppress(PermissionError):  # Of a file system without modes (exFAT).
                    os.fchmod(target, mode)
                found = os.fstat(target)
            if self._quiet:
                note_no_reading(target)
                found = os.fstat(target)
        finally:
            os.close(target)
        return signature_of(found)

    def _copy_link(self, path: str, *, ignored: bool) -> Entry | None:
        try:
            with opened_parent(self._source_fd, path) as (folder, name):
                begun_ns, before = time.time_ns(), os.stat(name, dir_fd=folder, follow_symlinks=False)
                target = os.readlink(name, dir_fd=folder)
        except OSError:
            return None
        try:
            name = self._cleared(path)
            os.symlink(target, name, dir_fd=self._folder_fd)
            signature = signature_of(os.stat(name, dir_fd=self._folder_fd, follow_symlinks=False))
        except OSError as error:
            raise in_words(error, path) from error
        executable = bool(before.st_mode & 0o100)
        proven = _proven(before, begun_ns)
        return Entry(Kind.LINK, executable, link_hash(target), proven, signature, ignored)

    def _cleared(self, path: str) -> str:
        """Open the folder that `path` is in, and see to it that nothing is at its last name; return that."""
        folder, _, name = path.rpartition("/")
        if folder != self._folder:
            opened = self._opened(folder)
            os.close(self._folder_fd)
            self._folder, self._folder_fd = folder, opened
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder_fd)
        return name

    def _opened(self, folder: str) -> int:
        try:
            return open_folder(self._target_fd, folder)
        except FileNotFoundError:
            make_folders(self._target_fd, folder)
            return open_folder(self._target_fd, folder)


@contextmanager
def placing(root: Path, tree: Path, blobs: BlobStore) -> Iterator[Placer]:
    """A placer from the user's tree at `root` into the copy at `tree`."""
    with opened_root(root) as source_fd, opened_root(tree) as target_fd:
        placer = Placer(source_fd, target_fd, tree, blobs)
        try:
            yield placer
        finally:
            placer.close()


def _proven(found: os.stat_result, begun_ns: int) -> Signature | None:
    """Return the signature of what was found after `begun_ns`; None when that is too fresh for a proof."""
    signature = signature_of(found)
    return None if is_racy(signature, begun_ns) else signature
