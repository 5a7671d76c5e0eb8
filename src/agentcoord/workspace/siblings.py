"""The file beside a target: writing it as the target's double, and asking what it holds.

Functions on names within one open folder, as `swaps` uses them. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import stat

from agentcoord.workspace.beneath import READ
from agentcoord.workspace.files import sha256_of, write_new_file
from agentcoord.workspace.leases import is_at_rest


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
    like_target = there is not None and stat.S_ISREG(there.st_mode)
    mode = there.st_mode & 0o777 if there is not None and like_target else created_mode
    with contextlib.suppress(FileNotFoundError):
        os.unlink(sibling, dir_fd=folder)
    write_new_file(folder, sibling, content, mode, durable=durable)
    if there is not None and like_target:
        _take_over(folder, name, sibling, there, mode)


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


def _take_over(folder: int, name: str, sibling: str, there: os.stat_result, mode: int) -> None:
    """Give the sibling the group, owner and extended attributes of the target, as far as we may."""
    with contextlib.suppress(OSError):
        os.chown(sibling, there.st_uid, there.st_gid, dir_fd=folder, follow_symlinks=False)
    with contextlib.suppress(OSError, AttributeError):
        source = os.open(name, READ, dir_fd=folder)
        try:
            target = os.open(sibling, READ, dir_fd=folder)
            try:
                for attribute in os.listxattr(source):
                    with contextlib.suppress(OSError):
                        os.setxattr(target, attribute, os.getxattr(source, attribute))
                os.fchmod(target, mode)
            finally:
                os.close(target)
        finally:
            os.close(source)
