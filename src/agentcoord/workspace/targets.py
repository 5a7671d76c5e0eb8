"""The files of the user's that a landing is about: reading one, and opening the folder that it is in.

Beneath the tree and without following symlinks; a folder that is a symlink by now counts as gone. Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from agentcoord.errors import LandingRefusedError
from agentcoord.workspace.beneath import READ, in_words, open_beneath, opened_parent
from agentcoord.workspace.files import read_up_to


def read_target(root_fd: int, path: str, limit: int) -> bytes | None:
    """Return the user's file, None when there is none.

    Raises LandingRefusedError when something else than a plain regular file of at most
    `limit` bytes is there, or stands where a folder above it must be.
    """
    try:
        descriptor = open_beneath(root_fd, path, READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LandingRefusedError(in_words(error, path).message, [path]) from error
    try:
        problem = _problem_with(os.fstat(descriptor), limit)
        if problem is not None:
            raise LandingRefusedError(f"{path!r} {problem}", [path])
        return read_up_to(descriptor, limit + 1)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def reached(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """Open the folder of `path`; yields its descriptor and the last name.

    Raises FileNotFoundError or NotADirectoryError where there is no such folder any more.
    """
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(opened_parent(root_fd, path))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
            raise
        yield opened


def _problem_with(found: os.stat_result, limit: int) -> str | None:
    if stat.S_ISDIR(found.st_mode):
        return "is a folder in the user's tree"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file in the user's tree"
    if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "has a set-id bit in the user's tree"
    if found.st_size > limit:
        return f"has more than {limit >> 20} MB in the user's tree"
    return None
