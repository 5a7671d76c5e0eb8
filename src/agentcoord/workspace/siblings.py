"""The file beside a target: writing it as the target's double, and asking what it holds.

Functions on names within one open folder, as `swaps` uses them. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from agentcoord.workspace.beneath import READ
from agentcoord.workspace.blobs import write_all
from agentcoord.workspace.files import new_file, sha256_of
from agentcoord.workspace.leases import is_at_rest

_ACCESS_LIST = "system.posix_acl_access"
"""The extended attribute in which Linux keeps who may do what with a file, beyond its mode."""


def write_sibling(
    folder: int, name: str, sibling: str, content: bytes, created_mode: int, *, durable: bool = True
) -> None:
    """Write `content` beside the target `name`, onto the disk, replacing an older sibling.

    It gets the target's permissions, and its owner, group and attributes as far as we may
    give them; `created_mode` where there is no target.
    """
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is not None and not stat.S_ISREG(there.st_mode):
        there = None
    mode = created_mode if there is None else there.st_mode & 0o777
    with _new_sibling(folder, sibling, mode, durable=durable) as descriptor:
        write_all(descriptor, content)
        if there is not None:
            _take_over(folder, name, there, descriptor)


def sync_sibling(folder: int, sibling: str) -> None:
    """Put what was written with `durable=False` on the disk."""
    descriptor = os.open(sibling, READ, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds(folder: int, name: str, sha256: str) -> bool:
    """Whether the file at `name` has this content and nobody can still be writing to it."""
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        # The lease comes first: once nobody writes, the hash that follows stays true.
        return is_at_rest(descriptor) and sha256_of(descriptor) == sha256
    finally:
        os.close(descriptor)


def hash_at(folder: int, name: str) -> str | None:
    """Hash the regular file at `name`; None when there is none; empty for anything else."""
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        return sha256_of(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""
    finally:
        os.close(descriptor)


def read_at(folder: int, name: str) -> bytes | None:
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as source:
        return source.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


@contextlib.contextmanager
def _new_sibling(folder: int, sibling: str, mode: int, *, durable: bool) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(new_file(folder, sibling, mode, durable=durable))
        except FileExistsError:
            os.unlink(sibling, dir_fd=folder)
            made = stack.enter_context(new_file(folder, sibling, mode, durable=durable))
        yield made


def _take_over(folder: int, name: str, there: os.stat_result, target: int) -> None:
    """Give the open `target` the group, owner and extended attributes of `name`, as far as we may."""
    with contextlib.suppress(OSError):
        ours = os.fstat(target)
        if (ours.st_uid, ours.st_gid) != (there.st_uid, there.st_gid):
            os.fchown(target, there.st_uid, there.st_gid)
    with contextlib.suppress(OSError, AttributeError):
        source = os.open(name, READ, dir_fd=folder)
        try:
            theirs = os.listxattr(source)
            for attribute in theirs:
                with contextlib.suppress(OSError):
                    os.setxattr(target, attribute, os.getxattr(source, attribute))
            if _ACCESS_LIST not in theirs and _ACCESS_LIST in os.listxattr(target):
                os.removexattr(target, _ACCESS_LIST)  # What the folder gives new files opens it to others.
        finally:
            os.close(source)
