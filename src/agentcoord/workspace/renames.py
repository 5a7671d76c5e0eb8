"""The two renames that landing is made of: exchange two names, and rename without replacing.

Both are one system call on Linux (`renameat2`) and macOS (`renameatx_np`), so at every
instant each name holds one whole file or the other. `PlainRenames` does the same with
links and ordinary renames for file systems that lack them, and with renames alone where
there are no links either (exFAT); its windows are small but real, which is why it is only
the fallback.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
from typing import Protocol

_LINUX_NOREPLACE, _LINUX_EXCHANGE = 1, 2
"""RENAME_NOREPLACE, RENAME_EXCHANGE: include/uapi/linux/fs.h."""
_DARWIN_SWAP, _DARWIN_EXCL = 2, 4
"""RENAME_SWAP, RENAME_EXCL: sys/stdio.h. From the documentation; not tried."""
_LACKING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
_LINK_SUFFIX = "~"
_EXCHANGE_TRIES = 16
"""Without links: an editor would have to save between two system calls each time to need even a third."""


class Renames(Protocol):
    """Renames of two names within one open folder. Both raise OSError as the kernel does."""

    def exchange(self, folder: int, one: str, other: str) -> None:
        """Swap two existing names."""
        ...

    def move(self, folder: int, source: str, target: str) -> None:
        """Rename; FileExistsError when `target` exists, whatever it is."""
        ...


class KernelRenames:
    """The kernel's own; falls back to `PlainRenames` for a call that the file system lacks."""

    def __init__(self, fallback: Renames | None = None) -> None:
        self._fallback = fallback or PlainRenames()

    def exchange(self, folder: int, one: str, other: str) -> None:
        flag = _DARWIN_SWAP if sys.platform == "darwin" else _LINUX_EXCHANGE
        try:
            _rename(folder, one, other, flag)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            self._fallback.exchange(folder, one, other)

    def move(self, folder: int, source: str, target: str) -> None:
        flag = _DARWIN_EXCL if sys.platform == "darwin" else _LINUX_NOREPLACE
        try:
            _rename(folder, source, target, flag)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            self._fallback.move(folder, source, target)


class PlainRenames:
    """Links and renames of POSIX alone. A crash in `exchange` leaves `<one>~`, see `mend`."""

    def __init__(self, *, links: bool = True) -> None:
        """`links=False` does without second names for a file, as is done where there are none."""
        self._links = links

    def exchange(self, folder: int, one: str, other: str) -> None:
        """Keep `other` under a third name, put `one` in its place, then name the kept one `one`."""
        kept = self.left_over(one)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept, dir_fd=folder)
        if self._link(folder, other, kept):
            os.rename(one, other, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            self._put_in_place(folder, one, other, kept)
        os.rename(kept, one, src_dir_fd=folder, dst_dir_fd=folder)

    def move(self, folder: int, source: str, target: str) -> None:
        """Link, then remove the old name: what `target` names is never replaced.

        Without links the kernel is asked to replace nothing; where it cannot either, we look first.
        """
        if self._link(folder, source, target):
            os.unlink(source, dir_fd=folder)
            return
        try:
            _rename(folder, source, target, _DARWIN_EXCL if sys.platform == "darwin" else _LINUX_NOREPLACE)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            if _exists(folder, target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
            os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)

    def _put_in_place(self, folder: int, one: str, other: str, kept: str) -> None:
        """Move `other` out of the way to `kept`, and `one` to its place: for an instant nothing is there.

        A save in that instant stands: it is moved out of the way next, in place of the older one.
        """
        for _ in range(_EXCHANGE_TRIES):
            os.rename(other, kept, src_dir_fd=folder, dst_dir_fd=folder)
            try:
                self.move(folder, one, other)
            except FileExistsError:
                continue
            except OSError:
                with contextlib.suppress(FileExistsError):
                    self.move(folder, kept, other)
                raise
            return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), other)

    def _link(self, folder: int, source: str, target: str) -> bool:
        """Give a file a second name; False where the file system has no such thing."""
        if not self._links:
            return False
        try:
            os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            return False
        return True

    @staticmethod
    def mend(folder: int, one: str, other: str) -> None:
        """Finish or take back what a crash cut short; nothing to do after a whole call."""
        kept = PlainRenames.left_over(one)
        if _exists(folder, kept):
            if not _exists(folder, one):
                os.rename(kept, one, src_dir_fd=folder, dst_dir_fd=folder)
            elif not _exists(folder, other):  # Only without links.
                os.rename(kept, other, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                os.unlink(kept, dir_fd=folder)
        elif _exists(folder, one) and _exists(folder, other) and _same(folder, one, other):
            os.unlink(one, dir_fd=folder)  # `move` had linked, and had not unlinked yet.

    @staticmethod
    def left_over(one: str) -> str:
        """Return the name that a crash may leave beside `one`."""
        return one + _LINK_SUFFIX


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _same(folder: int, one: str, other: str) -> bool:
    found = os.stat(one, dir_fd=folder, follow_symlinks=False)
    return os.path.samestat(found, os.stat(other, dir_fd=folder, follow_symlinks=False))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _rename(folder: int, source: str, target: str, flag: int) -> None:
    libc = _libc()
    call = getattr(libc, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    failed = call(
        ctypes.c_int(folder),
        ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_int(folder),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(flag),
    )
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source)
