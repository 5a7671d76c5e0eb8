"""Opening paths strictly beneath a folder: no `..`, no absolute path, no symlink on the way.

A worker owns its copy and may swap a folder for a symlink between any two of our calls,
so a path is never checked first and opened afterwards: the kernel resolves it in one go
(`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), or each component is opened with
O_NOFOLLOW from the one before. Everything here is blocking and works on descriptors.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from agentcoord.errors import WorkspaceError

_SYS_OPENAT2 = 437
"""The same number on every Linux architecture we know, alpha excepted."""
_RESOLVE = 0x02 | 0x04 | 0x08
"""RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH: include/uapi/linux/openat2.h."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def checked_path(path: str) -> str:
    """Return a path that somebody else chose in its plain form, `a/b/c`.

    Raises WorkspaceError with words for NUL, half of a surrogate pair, `~`, an absolute path, `..`, and
    what is too long for a file name.
    """
    if "\0" in path:
        raise WorkspaceError("a path cannot hold a NUL character")
    if path.startswith("/"):
        raise WorkspaceError(f"{path!r} is absolute: give a path relative to the repository")
    if path.startswith("~"):
        raise WorkspaceError(f"{path!r} starts with ~: give a path relative to the repository")
    components = [c for c in path.split("/") if c not in ("", ".")]
    if ".." in components:
        raise WorkspaceError(f"{path!r} leads out with ..: give a path inside the repository")
    try:
        longest = max((len(os.fsencode(c)) for c in components), default=0)
        length = len(os.fsencode(path))
    except UnicodeEncodeError as error:
        raise WorkspaceError("a path cannot hold half of a surrogate pair") from error
    if longest > 255 or length > 4000:
        raise WorkspaceError(f"{path[:80]!r}... is too long for a file name")
    return "/".join(components)


@contextlib.contextmanager
def opened_root(root: Path) -> Iterator[int]:
    """Open `root` itself; whoever calls must own its parents."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_beneath(root_fd: int, path: str, flags: int = READ, mode: int = 0, *, by_kernel: bool = True) -> int:
    """Open `path` beneath `root_fd` and return the descriptor, which the caller closes.

    Raises OSError as the kernel does: ELOOP where a symlink is on the way or at the end.
    `by_kernel=False` takes the component-wise way, as systems without openat2 do.
    """
    if not (by_kernel and _openat2_works()):
        return _open_by_components(root_fd, path, flags, mode)
    try:
        return _openat2(root_fd, path, flags, mode)
    except NotADirectoryError as error:
        raise _symlink_or(error, root_fd, path) from error


@contextlib.contextmanager
def opened_parent(root_fd: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """Open the folder that holds `path`; yields its descriptor and the last name.

    With `make`, missing folders are created (0755). Raises FileNotFoundError without it.
    """
    folder, _, name = path.rpartition("/")
    if make and folder:
        make_folders(root_fd, folder)
    descriptor = open_beneath(root_fd, folder, _DIRECTORY) if folder else os.dup(root_fd)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def make_folders(root_fd: int, folder: str) -> None:
    """Create `folder` and what is missing above it, never through a symlink."""
    current = os.dup(root_fd)
    try:
        for component in folder.split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(component, 0o755, dir_fd=current)
            below = _open_component(current, component, _DIRECTORY, 0)
            os.close(current)
            current = below
    finally:
        os.close(current)


def open_folder(root_fd: int, folder: str) -> int:
    """Open a folder beneath `root_fd`; the empty path is the root itself."""
    return open_beneath(root_fd, folder, _DIRECTORY) if folder else os.dup(root_fd)


def is_symlink(root_fd: int, path: str) -> bool:
    """Whether some component of `path` is a symlink now; only for wording an error."""
    components = path.split("/")
    for count in range(1, len(components) + 1):
        try:
            found = os.stat("/".join(components[:count]), dir_fd=root_fd, follow_symlinks=False)
        except OSError:
            return False
        if stat.S_ISLNK(found.st_mode):
            return True
    return False


def in_words(error: OSError, path: str) -> WorkspaceError:
    """Translate what the kernel said about `path`."""
    match error.errno:
        case errno.ELOOP | errno.EXDEV:
            return WorkspaceError(f"{path!r} is, or goes through, a symlink: use the real path")
        case errno.ENOTDIR:
            return WorkspaceError(f"{path!r} goes through something that is no folder")
        case errno.EISDIR:
            return WorkspaceError(f"{path!r} is a folder, not a file")
        case errno.ENXIO | errno.ENODEV | errno.EOPNOTSUPP:
            return WorkspaceError(f"{path!r} is not a regular file")
        case errno.ENAMETOOLONG:
            return WorkspaceError(f"{path[:80]!r}... is too long for a file name")
        case errno.EACCES | errno.EPERM:
            return WorkspaceError(f"{path!r} cannot be opened: permission denied")
        case errno.ENOSPC | errno.EDQUOT:
            return WorkspaceError("the disk is full", mend="free some space")
        case _:
            return WorkspaceError(f"{path!r}: {error.strerror or error}")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _openat2_works() -> bool:
    """Whether this kernel (and its seccomp filter) lets us call openat2."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.close(_openat2(-100, ".", _DIRECTORY, 0))  # -100 is AT_FDCWD.
    except OSError:
        return False
    return True


def _openat2(root_fd: int, path: str, flags: int, mode: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE)
    descriptor = _libc().syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root_fd),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(descriptor)


def _open_by_components(root_fd: int, path: str, flags: int, mode: int) -> int:
    *folders, last = path.split("/")
    current = os.dup(root_fd)
    try:
        for component in folders:
            below = _open_component(current, component, _DIRECTORY, 0)
            os.close(current)
            current = below
        return _open_component(current, last, flags, mode)
    finally:
        os.close(current)


def _open_component(folder_fd: int, name: str, flags: int, mode: int) -> int:
    if name in ("", ".", ".."):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder_fd)
    except NotADirectoryError as error:
        raise _symlink_or(error, folder_fd, name) from error


def _symlink_or(error: NotADirectoryError, root_fd: int, path: str) -> OSError:
    """Tell apart what O_DIRECTORY reports alike: a symlink and any other thing that is no folder."""
    if is_symlink(root_fd, path):
        return OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return error
