"""Which files of a copy its checks have written over: not what was shown to them any more.

Separate from `changes`, which sorts what a worker made by what may land: nothing of this does. Told by
content, not by times: to write a file again as it was is no change, nor is to lay it out anew, as
formatters do. Nothing of the copy is trusted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.beneath import READ, open_beneath, opened_root
from agentcoord.workspace.files import sha256_of
from agentcoord.workspace.manifest import Entry, Manifest
from agentcoord.workspace.mirror import GIT_MOUNT
from agentcoord.workspace.reformatted import MOST_BYTES, is_reformatted
from agentcoord.workspace.signatures import size_of
from agentcoord.workspace.user_tree import Kind
from agentcoord.workspace.walk import walk

GONE = ""
"""What stands for the hash of a file that is not there."""
_OTHER = "?"
"""For that of something that is no file, or has another size than a large file had."""
_HASHED_IN_ANY_CASE_BYTES = 32 * 1024 * 1024
_COMPARED_MOST = 50
"""Files that are looked at for their layout, after one check; of more it is told that they changed."""
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(slots=True)
class Shown:
    """What a copy held before its checks began."""

    manifest: Manifest
    on_top: Mapping[str, str]
    """The hashes of files that were put over it; `GONE` where one was removed."""
    read: Callable[[str], bytes]
    """Gives what has a hash. Raises WorkspaceError where that is lost."""
    told: dict[str, str] = field(default_factory=dict)
    """The hashes of what was told already."""

    def rewritten(self, tree: Path, mounts: Sequence[str]) -> tuple[str, ...]:
        """Return the files whose content is another one than at the last call, or at first. Blocking.

        Those that git ignores are not looked at, nor are new ones.
        """
        files, entries = walk(tree, skip=(GIT_MOUNT, *mounts)).files, self.manifest.entries
        touched = [path for path, copy in entries.copies.items() if files.get(path) != copy]
        found, compared = [], 0
        with opened_root(tree) as root_fd:
            for path in dict.fromkeys([*touched, *self.on_top]):
                entry = entries.get(path)
                if entry is not None and entry.ignored:
                    continue
                last = self.told.get(path, self.on_top.get(path, entry.sha256 if entry else GONE))
                now = _hash_now(root_fd, path, None if path in self.on_top else entry)
                if now == last:
                    continue
                compared += 1
                if compared > _COMPARED_MOST or not self._is_laid_out_anew(root_fd, path, last, now):
                    self.told[path] = now
                    found.append(path)
        return tuple(sorted(found))

    def _is_laid_out_anew(self, root_fd: int, path: str, last: str, now: str) -> bool:
        if not (_HASH.fullmatch(last) and _HASH.fullmatch(now)):
            return False
        try:
            descriptor = open_beneath(root_fd, path, READ)
            with os.fdopen(descriptor, "rb") as file:
                after = file.read(MOST_BYTES + 1)
            return len(after) <= MOST_BYTES and is_reformatted(path, self.read(last), after)
        except (OSError, WorkspaceError):
            return False


def _hash_now(root_fd: int, path: str, entry: Entry | None) -> str:
    """The hash of what stands there, in the manner of an entry."""
    if entry is not None and entry.kind is Kind.LINK:
        try:
            return f"-> {os.readlink(path, dir_fd=root_fd)}"
        except OSError:
            return _OTHER
    try:
        descriptor = open_beneath(root_fd, path, READ)
    except FileNotFoundError:
        return GONE
    except OSError:
        return _OTHER
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return _OTHER
        large = found.st_size > _HASHED_IN_ANY_CASE_BYTES
        if large and (entry is None or found.st_size != size_of(entry.copy)):
            return _OTHER
        return sha256_of(descriptor)
    finally:
        os.close(descriptor)
