"""How the folder of a private copy begins: on Btrfs as a snapshot of another one, which costs nearly nothing.

Theory of operation. A snapshot shares names, inodes and contents with what it was taken of until one of the
two changes, and keeps every inode's number and times. So the manifest of the other copy tells of the new one
what it tells of its own: what differs from it by now, be it that a worker is at work there, is brought up to
date by the resync that follows anyway. Only subvolumes can be snapshotted, so on Btrfs every copy is one. An
ordinary user may make them, snapshot his own, and remove an empty one as any folder (Linux 4.18). Everywhere
else, and where the system refuses, a copy is a plain folder. Blocking.

What is read gets the time of that noted in its inode, once a day at most (`relatime`), and so a search
through a copy would end the sharing. In a subvolume we set that time so far ahead that nobody notes another.

Deliberately absent: turning plain folders into subvolumes. They stay what they are until they go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from agentcoord.workspace.blobs import clone
from agentcoord.workspace.places import CopyPlaces

_SUBVOL_CREATE, _SNAP_CREATE, _SUBVOL_GETFLAGS = 0x5000940E, 0x50009401, 0x80089419
"""include/uapi/linux/btrfs.h; the numbers are the same on x86-64 and ARM."""
_ARGUMENTS = struct.Struct("=q4088s")
"""`struct btrfs_ioctl_vol_args`: the descriptor of what a snapshot is taken of, and the new name."""
_READ_AT_S = 2_114_380_800
"""2037, which is ahead long enough, and fits where seconds have 32 bits."""
_REMOVED_AS_FOLDERS_SINCE = (4, 18)


def begin_copy(places: CopyPlaces, others: Iterable[CopyPlaces]) -> None:
    """Make the folder of a copy that has none, from the first of `others` that will do, with its manifest.

    An empty one is made anew: where a disk was put back from a snapshot of its own, a subvolume in it is
    an empty folder that takes no files.
    """
    places.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(OSError):
        places.tree.rmdir()
    if os.path.lexists(places.tree):
        return
    with contextlib.suppress(OSError):
        for other in others if _removable() else ():
            if other.manifest.exists() and _snapshot(other.tree, places):
                _copy_manifest(other, places)
                return
        if _removable():
            _ask(places, _SUBVOL_CREATE, 0)
    places.tree.mkdir(exist_ok=True, mode=0o700)


def is_subvolume(tree: Path) -> bool:
    """Whether the folder shares its names and inodes with other copies, or may do so."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError):
        folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.ioctl(folder, _SUBVOL_GETFLAGS, bytearray(8))
        finally:
            os.close(folder)
        return True
    return False


def note_no_reading(opened: int) -> None:
    """Have nobody write into the inode of an open file or folder of ours that it was read."""
    with contextlib.suppress(OSError):
        os.utime(opened, ns=(_READ_AT_S * 1_000_000_000, os.fstat(opened).st_mtime_ns))


def _snapshot(other: Path, places: CopyPlaces) -> bool:
    """Make the folder a snapshot of `other`; False where that is no subvolume, or not ours."""
    with contextlib.suppress(OSError):
        source = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _ask(places, _SNAP_CREATE, source)
        finally:
            os.close(source)
        return True
    return False


def _ask(places: CopyPlaces, request: int, source: int) -> None:
    """Have the file system make `places.tree`. Raises OSError where it is not Btrfs, or refuses."""
    home = os.open(places.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(home, request, bytearray(_ARGUMENTS.pack(source, os.fsencode(places.tree.name))))
    finally:
        os.close(home)


def _copy_manifest(other: CopyPlaces, places: CopyPlaces) -> None:
    """Without it all would be copied again; one that was cut short counts for none."""
    with (
        contextlib.suppress(OSError),
        other.manifest.open("rb") as source,
        places.manifest.open("wb") as target,
    ):
        if not clone(source.fileno(), target.fileno()):
            shutil.copyfileobj(source, target)


def _removable() -> bool:
    """Whether this system lets an ordinary user remove a subvolume again."""
    if not sys.platform.startswith("linux"):
        return False
    numbers = platform.release().split(".")[:2]
    return all(n.isdigit() for n in numbers) and tuple(map(int, numbers)) >= _REMOVED_AS_FOLDERS_SINCE
