"""One file of the user's exchanged for another in one atomic step, verified by what came out; and back.

Theory of operation. A sibling with the new content lies beside the target. Exchanging the
two names puts the new content in and the old one out in one step, so whatever the user
saved up to that instant is what came out: if it is not the base, it goes back. A save in
the middle of going back is again what comes out, and is newer, so it goes in again; each
exchange compares what came out with what was last put in. Nothing is ever overwritten,
only exchanged. Creating is a rename that refuses to replace; removing (undo only) is a
rename to the sibling's name.

All of it within one open folder, and blocking. Which folder, and what many files take
together, is `swaps`' to know.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from enum import Enum, auto

from agentcoord.domain.files import FileVersion
from agentcoord.workspace.diffs import merge
from agentcoord.workspace.history import Swap
from agentcoord.workspace.packs import PackedContents
from agentcoord.workspace.renames import PlainRenames, Renames
from agentcoord.workspace.siblings import hash_at, holds, read_at, write_sibling
from agentcoord.workspace.versions import version_of

_GIVE_BACK_TRIES = 16
"""An editor would have to save between two system calls each time to need even a third."""


class Position(Enum):
    """Where a swap stands, told from its sibling alone."""

    WAITING = auto()
    DONE = auto()
    DISPLACED = auto()
    """The sibling holds a save of the user's that came out and has not gone back yet."""


class Exchanges:
    """Exchanges of a file called `name` in an open `folder`; contents come from `blobs`."""

    def __init__(self, blobs: PackedContents, renames: Renames, fault: Callable[[str], None]) -> None:
        self._blobs = blobs
        self._renames = renames
        self._fault = fault

    def put_in(self, folder: int, name: str, swap: Swap) -> bool:
        """Put the new content in; False, with nothing changed, when the base was not there."""
        if swap.before is None:
            return self._create(folder, name, swap)
        if swap.after is None:
            return self._remove(folder, name, swap, swap.before.sha256)
        self._renames.exchange(folder, swap.sibling, name)
        self._fault("exchanged")
        if holds(folder, swap.sibling, swap.before.sha256):
            return True
        self._give_back(folder, name, swap.sibling, swap.after.sha256)
        return False

    def put_back(self, folder: int, name: str, swap: Swap) -> bool:
        """Take the new content out again; False where the user saved on top and no clean merge exists."""
        if swap.before is None:
            return self._uncreate(folder, name, swap)
        self.ensure_sibling(folder, name, swap, swap.before)
        if swap.after is None:
            with contextlib.suppress(FileExistsError):
                self._renames.move(folder, swap.sibling, name)
            return True
        return self._exchange_back(folder, name, swap)

    def give_back(self, folder: int, name: str, swap: Swap) -> None:
        """Return a displaced save to the user (after a crash in the middle of a swap)."""
        if swap.after is None:
            with contextlib.suppress(FileExistsError):
                self._renames.move(folder, swap.sibling, name)
        else:
            self._give_back(folder, name, swap.sibling, swap.after.sha256)

    def position(self, folder: int, name: str, swap: Swap) -> Position:
        """Tell from the sibling where a swap stands; only once all siblings had been written."""
        self._mend(folder, swap, name)
        sibling = hash_at(folder, swap.sibling)
        target = hash_at(folder, name)
        if swap.before is None:
            # Where neither is there, somebody removed the sibling: it is not in, and half a landing is none.
            return Position.DONE if sibling is None and target is not None else Position.WAITING
        if sibling is None:
            # For a removal that is how it starts; else somebody removed the sibling, and the target tells.
            done = swap.after is not None and target == swap.after.sha256
            return Position.DONE if done else Position.WAITING
        if sibling == swap.before.sha256:
            return Position.DONE
        if swap.after is not None and sibling == swap.after.sha256:
            return Position.WAITING
        return Position.DISPLACED

    def ensure_sibling(self, folder: int, name: str, swap: Swap, version: FileVersion) -> None:
        if hash_at(folder, swap.sibling) is None:
            write_sibling(folder, name, swap.sibling, self._blobs.read(version.sha256), version.mode)

    def remove_sibling(self, folder: int, swap: Swap) -> None:
        """Remove the sibling; a content that no record knows, a save that a newer one replaced, is stored."""
        with contextlib.suppress(FileNotFoundError):
            # Asked first: a read-only disk refuses to remove also what is not there.
            os.stat(swap.sibling, dir_fd=folder, follow_symlinks=False)
            if hash_at(folder, swap.sibling) not in _known(swap):
                content = read_at(folder, swap.sibling)
                if content is not None:
                    self._blobs.put(content)
            os.unlink(swap.sibling, dir_fd=folder)

    def _create(self, folder: int, name: str, swap: Swap) -> bool:
        try:
            self._renames.move(folder, swap.sibling, name)
        except FileExistsError:
            return False
        return True

    def _uncreate(self, folder: int, name: str, swap: Swap) -> bool:
        assert swap.after is not None
        with contextlib.suppress(FileExistsError):
            self._renames.move(folder, name, swap.sibling)
        if holds(folder, swap.sibling, swap.after.sha256):
            return True
        with contextlib.suppress(FileExistsError):
            self._renames.move(folder, swap.sibling, name)
        return False

    def _remove(self, folder: int, name: str, swap: Swap, before_sha256: str) -> bool:
        self._renames.move(folder, name, swap.sibling)
        self._fault("removed")
        if holds(folder, swap.sibling, before_sha256):
            return True
        with contextlib.suppress(FileExistsError):
            self._renames.move(folder, swap.sibling, name)
        return False

    def _give_back(self, folder: int, name: str, sibling: str, ours_sha256: str | None) -> None:
        """Put the user's save, which lies at `sibling`, back to `name`, which holds ours.

        Should a newer save come out instead of ours, it goes in again, and so on.
        """
        expected = ours_sha256
        for _ in range(_GIVE_BACK_TRIES):
            put_in = hash_at(folder, sibling)
            self._fault("giving back")
            self._renames.exchange(folder, sibling, name)
            if expected is not None and holds(folder, sibling, expected):
                return
            expected = put_in

    def _exchange_back(self, folder: int, name: str, swap: Swap) -> bool:
        """Put the old content, which lies at the sibling, back in place of ours."""
        assert swap.before is not None
        assert swap.after is not None
        ours, base = self._blobs.read(swap.after.sha256), self._blobs.read(swap.before.sha256)
        expected, put_in = swap.after.sha256, swap.before.sha256
        for _ in range(_GIVE_BACK_TRIES):
            self._renames.exchange(folder, swap.sibling, name)
            if holds(folder, swap.sibling, expected):
                return True
            self._give_back(folder, name, swap.sibling, put_in)
            saved = read_at(folder, name)
            merged = None if saved is None else merge(base=ours, ours=saved, theirs=base)
            if saved is None or merged is None:
                return False
            self.remove_sibling(folder, swap)
            write_sibling(folder, name, swap.sibling, merged, swap.before.mode)
            expected, put_in = version_of(saved, 0).sha256, version_of(merged, 0).sha256
        return False

    def _mend(self, folder: int, swap: Swap, name: str) -> None:
        """Finish what a crash left of an exchange without the kernel's help; store what only that holds."""
        left_over = PlainRenames.left_over(swap.sibling)
        if hash_at(folder, left_over) not in (None, "", *_known(swap)):
            content = read_at(folder, left_over)
            if content is not None:
                self._blobs.put(content)
        PlainRenames.mend(folder, swap.sibling, name)


def _known(swap: Swap) -> set[str]:
    """The contents that the record knows."""
    return {v.sha256 for v in (swap.before, swap.after) if v is not None}
