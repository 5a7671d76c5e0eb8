"""What tells a file from an earlier state of it without reading it, as one short text.

Type, mode, size, times and inode. A change of content, name or mode moves the change time, which no
program can set; the others are there for file systems whose clocks are coarse. A text, because tens of
thousands are compared at once: making and comparing texts is the cheapest that Python has, and they
are no concern of the garbage collector. `find` prints the same (`system_find`).
"""

from __future__ import annotations

import os
import stat

Signature = str
"""`<type><mode> <size> <mtime> <ctime> <inode>`, times in seconds with ten digits after the point."""
FOLDER: Signature = "d"
"""Folders have no other: what is in them is looked at anyway."""
UNPROVEN: Signature = ""
"""Fits no file."""
PRINTED_BY_FIND = "%y%m %s %T@ %C@ %i"
_LETTERS = {stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFSOCK: "s", stat.S_IFCHR: "c"}
_SECOND_NS = 1_000_000_000
_RACY_NS = 100_000_000
_RACY_COARSE_NS = 2_500_000_000


def signature_of(found: os.stat_result) -> Signature:
    """Return the signature of what `lstat` found."""
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        return FOLDER
    letter = _LETTERS.get(stat.S_IFMT(mode), "b")
    changed, altered = _printed(found.st_mtime_ns), _printed(found.st_ctime_ns)
    return f"{letter}{stat.S_IMODE(mode):o} {found.st_size} {changed} {altered} {found.st_ino}"


def of_size(size: int) -> Signature:
    """Return what stands for a file of which only the size is known."""
    return f"f0 {size} 0.0 0.0 0"


def size_of(signature: Signature) -> int:
    return int(signature.split(" ", 2)[1])


def changed_ns_of(signature: Signature) -> int:
    """Return the change time (not the modification time)."""
    seconds, _, part = signature.split(" ")[3].partition(".")
    return int(seconds) * _SECOND_NS + int(part[:9].ljust(9, "0"))


def is_racy(signature: Signature, now_ns: int) -> bool:
    """Whether it may change again within the same tick of the file system's clock, and so proves nothing.

    A change time of whole seconds is taken for a clock that knows no finer ones (FAT: two seconds).
    """
    changed_ns = changed_ns_of(signature)
    return changed_ns > now_ns - (_RACY_NS if changed_ns % _SECOND_NS else _RACY_COARSE_NS)


def _printed(time_ns: int) -> str:
    return f"{time_ns // _SECOND_NS}.{time_ns % _SECOND_NS:09d}0"
