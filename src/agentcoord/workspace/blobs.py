"""Contents by their SHA-256: the bases of the copies, and what the journal keeps beside its packs.

One file a content, written beside and renamed, never changed. The pool's store is a cache
(`durable=False`); the journal's (see `packs`) is on the disk before anything refers to it. A content is
checked against its name whenever it is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Collection
from itertools import count
from pathlib import Path

from agentcoord.errors import WorkspaceError

_FICLONE = 0x40049409
"""include/uapi/linux/fs.h; the number is the same on x86-64 and ARM."""
_IN_MEMORY_BYTES = 1 << 20
_COPY_BYTES = 1 << 20
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_GRACE_S = 24 * 3600
"""A content this young is kept even when nothing refers to it yet: something may be about to."""


class BlobStore:
    """A folder of contents. Blocking; safe for several threads at once."""

    def __init__(self, home: Path, *, durable: bool) -> None:
        self.home = home
        self._durable = durable
        self._numbers = count()
        self._takes_clones = True
        self._gives_clones = True
        """Whether blocks can be shared with who stores and with who copies; False once that failed."""

    def put(self, content: bytes) -> str:
        """Store `content` and return its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self._touch(sha256, len(content)):
            self._store(sha256, content)
        return sha256

    @property
    def shares_blocks(self) -> bool:
        """Whether `copy_to` costs no space; as long as nothing says otherwise."""
        return self._gives_clones

    def put_file(self, source: int, size: int) -> tuple[str, bytes | None]:
        """Store what the open descriptor `source` holds, from its start; `size` is what it seems to have.

        Returns the SHA-256, and the content itself when it was small enough for memory.
        """
        if size <= _IN_MEMORY_BYTES:
            content = _read_all(source, size)
            if content is not None:
                return self._put_read(source, content), content
        return self._put_large(source), None

    def _put_read(self, source: int, content: bytes) -> str:
        """Store a content that was read from `source`, with its blocks where the file system can."""
        sha256 = hashlib.sha256(content).hexdigest()
        if self._touch(sha256, len(content)):
            return sha256
        if self._takes_clones and content:
            descriptor, temporary = self._temporary()
            try:
                self._takes_clones = clone(source, descriptor)
                same = self._takes_clones and _read_all(descriptor, len(content)) == content
                if same:
                    self._settle(descriptor)
            finally:
                os.close(descriptor)
            if same:
                self._adopt(temporary, sha256)
                return sha256
            temporary.unlink()
        self._store(sha256, content)
        return sha256

    def _put_large(self, source: int) -> str:
        """Store a content piece by piece."""
        descriptor, temporary = self._temporary()
        try:
            self._takes_clones = cloned = self._takes_clones and clone(source, descriptor)
            # What was cloned stands still, whatever the user does to the file meanwhile.
            read_from = descriptor if cloned else source
            digest = hashlib.sha256()
            offset = 0
            while chunk := os.pread(read_from, _COPY_BYTES, offset):
                digest.update(chunk)
                if not cloned:
                    write_all(descriptor, chunk)
                offset += len(chunk)
            self._settle(descriptor)
        finally:
            os.close(descriptor)
        self._adopt(temporary, digest.hexdigest())
        return digest.hexdigest()

    def _store(self, sha256: str, content: bytes) -> None:
        descriptor, temporary = self._temporary()
        try:
            write_all(descriptor, content)
            self._settle(descriptor)
        finally:
            os.close(descriptor)
        self._adopt(temporary, sha256)

    def read(self, sha256: str) -> bytes:
        """Return a content. Raises WorkspaceError when it is gone or damaged."""
        try:
            content = self._path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise WorkspaceError(f"the stored content {sha256[:12]} is gone from {self.home}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise WorkspaceError(f"the stored content {sha256[:12]} in {self.home} is damaged")
        return content

    def copy_to(self, sha256: str, target: int) -> None:
        """Write a content into the open, empty descriptor `target`; blocks are shared where they can be."""
        with self._path(sha256).open("rb") as source:
            self._gives_clones = self._gives_clones and clone(source.fileno(), target)
            if self._gives_clones:
                return
            left = os.fstat(source.fileno()).st_size
            try:
                while left > 0 and (done := os.copy_file_range(source.fileno(), target, left)):
                    left -= done
            except (OSError, AttributeError):
                os.lseek(target, 0, os.SEEK_SET)
                os.ftruncate(target, 0)
                source.seek(0)
                with os.fdopen(os.dup(target), "wb") as out:
                    shutil.copyfileobj(source, out, _COPY_BYTES)

    def drop(self, sha256: str) -> int:
        """Remove one content; return how many bytes that freed, 0 when it was gone."""
        path = self._path(sha256)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def drop_others(self, referred: Collection[str]) -> int:
        """Remove the contents that nothing refers to and that are not young; return how many."""
        dropped = 0
        oldest_kept_s = time.time() - _GRACE_S
        with contextlib.suppress(FileNotFoundError), os.scandir(self.home) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    young = entry.stat(follow_symlinks=False).st_mtime >= oldest_kept_s
                    if not young and entry.name not in referred and entry.is_file(follow_symlinks=False):
                        Path(entry.path).unlink()
                        dropped += 1
        return dropped

    def _path(self, sha256: str) -> Path:
        # All in one folder, whatever their number: each folder more takes space, and has to be looked for.
        return self.home / sha256

    def _touch(self, sha256: str, size: int) -> bool:
        """Whether the content is stored whole already; then it counts as young again."""
        path = self._path(sha256)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _temporary(self) -> tuple[int, Path]:
        """Open a new file beside the contents; also gives its path."""
        while True:
            path = self.home / f"new-{os.getpid()}-{next(self._numbers)}"
            try:
                return os.open(path, _NEW, 0o600), path
            except FileNotFoundError:
                self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            except FileExistsError:
                continue  # Another store of ours has it, or one that was killed under the same number.

    def _settle(self, descriptor: int) -> None:
        if self._durable:
            os.fsync(descriptor)

    def _adopt(self, temporary: Path, sha256: str) -> None:
        temporary.rename(self._path(sha256))
        if self._durable:
            sync_folder(self.home)


def clone(source: int, target: int) -> bool:
    """Let the open `target` share all blocks of `source`; False where the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def write_all(descriptor: int, content: bytes) -> None:
    """Write the whole of a content; the kernel may take it in pieces."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_all(source: int, size: int) -> bytes | None:
    """Read from the start what should have `size` bytes; None when there is more than memory should hold."""
    content = os.pread(source, size + 1, 0)
    if len(content) == size:
        return content
    pieces, offset = [content], len(content)
    while chunk := os.pread(source, _COPY_BYTES, offset):
        pieces.append(chunk)
        offset += len(chunk)
        if offset > _IN_MEMORY_BYTES:
            return None
    return b"".join(pieces)
