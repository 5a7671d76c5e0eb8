"""Swapping files into the user's tree and back, one atomic rename each, verified by what came out.

Theory of operation. A sibling with the new content lies beside the target. Exchanging the
two names puts the new content in and the old one out in one step, so whatever the user
saved up to that instant is what came out: if it is not the base, it goes back. A save in
the middle of going back is again what comes out, and is newer, so it goes in again; each
exchange compares what came out with what was last put in. Nothing is ever overwritten,
only exchanged. Creating is a rename that refuses to replace; removing (undo only) is a
rename to the sibling's name.

Blocking. Deliberately absent: the journal and its phases, see `landing` and `recovery`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from pathlib import Path

from agentcoord.domain.files import FileVersion
from agentcoord.errors import LandingRefusedError
from agentcoord.workspace.beneath import READ, in_words, open_beneath, opened_parent, opened_root
from agentcoord.workspace.blobs import BlobStore, together
from agentcoord.workspace.diffs import merge
from agentcoord.workspace.journal import Swap
from agentcoord.workspace.one_name import may_be_one
from agentcoord.workspace.renames import PlainRenames, Renames
from agentcoord.workspace.siblings import hash_at, holds, read_at, sync_sibling, write_sibling
from agentcoord.workspace.versions import version_of

_GIVE_BACK_TRIES = 16
"""An editor would have to save between two system calls each time to need even a third."""


_GONE = (FileNotFoundError, NotADirectoryError)
"""The user removed the file, or a folder above it."""


class Position(Enum):
    """Where a swap stands, told from its sibling alone."""

    WAITING = auto()
    DONE = auto()
    DISPLACED = auto()
    """The sibling holds a save of the user's that came out and has not gone back yet."""


class Swapper:
    """Swaps files of the tree at `root`; contents come from `blobs`."""

    def __init__(self, root: Path, blobs: BlobStore, renames: Renames, fault: Callable[[str], None]) -> None:
        self._root = root
        self._blobs = blobs
        self._renames = renames
        self._fault = fault

    def read_target(self, path: str, *, limit: int) -> bytes | None:
        """Return the user's file, None when there is none.

        Raises LandingRefusedError when something else than a plain regular file of at most
        `limit` bytes is there, or stands where a folder above it must be.
        """
        try:
            with opened_root(self._root) as root_fd:
                descriptor = open_beneath(root_fd, path, READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LandingRefusedError(in_words(error, path).message, [path]) from error
        try:
            found = os.fstat(descriptor)
            problem = _problem_with(found, limit)
            if problem is not None:
                raise LandingRefusedError(f"{path!r} {problem}", [path])
            with os.fdopen(os.dup(descriptor), "rb") as source:
                return source.read(limit + 1)
        finally:
            os.close(descriptor)

    def missing_folders(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the folders above `paths` that do not exist, topmost first."""
        missing: dict[str, None] = {}
        for path in paths:
            components = path.split("/")[:-1]
            for count in range(1, len(components) + 1):
                folder = "/".join(components[:count])
                if not (self._root / folder).is_dir():
                    missing[folder] = None
        return tuple(missing)

    def put_siblings(self, swaps: Sequence[Swap], made_folders: Sequence[str]) -> None:
        """Write the new contents beside their targets, and all of it to the disk. Raises OSError."""
        with opened_root(self._root) as root_fd:
            for folder in made_folders:
                with contextlib.suppress(FileExistsError), opened_parent(root_fd, folder) as (above, name):
                    os.mkdir(name, 0o755, dir_fd=above)
        for number, swap in enumerate(swaps):
            self._fault(f"sibling {number}")
            if swap.after is not None:
                with self._folder(swap) as (descriptor, name):
                    content = self._blobs.read(swap.after.sha256)
                    write_sibling(descriptor, name, swap.sibling, content, swap.after.mode, durable=False)
        # Only now: a disk that has all of them to write at once is done sooner than one after the other.
        together(self._sync_sibling, [swap for swap in swaps if swap.after is not None])
        self.sync_folders(swaps)

    def put_all_in(self, swaps: Sequence[Swap]) -> tuple[str, ...]:
        """Put all new contents in, or none; return the paths that were not their base.

        Raises OSError, with everything put back, when the disk refuses; and so LandingRefusedError when a
        new file is in the way of another one: the disk takes their names for the same.
        """
        done: list[Swap] = []
        for number, swap in enumerate(swaps):
            self._fault(f"swap {number}")
            try:
                went_in = self.put_in(swap)
            except OSError:
                self.put_all_back(done)
                raise
            if not went_in:
                self._refuse_twins(swap, done)
                return (swap.path, *self.put_all_back(done))
            done.append(swap)
        return ()

    def _refuse_twins(self, swap: Swap, done: Sequence[Swap]) -> None:
        for other in done if swap.before is None else ():
            if other.before is None and may_be_one(swap.path, other.path) and self._is_at(other, swap.path):
                self.put_all_back(done)
                twins = sorted((swap.path, other.path))
                names = " and ".join(map(repr, twins))
                raise LandingRefusedError(f"{names} are one name on your disk: rename one of them", twins)

    def _is_at(self, swap: Swap, path: str) -> bool:
        """Whether what a swap has put in is what one finds at `path`."""
        assert swap.after is not None
        with (
            contextlib.suppress(*_GONE),
            opened_root(self._root) as root_fd,
            _reached(root_fd, path) as (at, name),
        ):
            return hash_at(at, name) == swap.after.sha256
        return False

    def put_all_back(self, swaps: Sequence[Swap]) -> tuple[str, ...]:
        """Take out again what went in; return the paths where the user saved on top meanwhile.

        There the user's save stays; ours is taken out of it where that merges cleanly.
        """
        left = []
        for number, swap in enumerate(reversed(swaps)):
            self._fault(f"back {number}")
            if not self.put_back(swap):
                left.append(swap.path)
        return tuple(left)

    def put_in(self, swap: Swap) -> bool:
        """Put the new content in; False, with nothing changed, when the base was not there."""
        try:
            with self._folder(swap) as (folder, name):
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
        except _GONE:
            return False  # The user removed the file or a folder above it.

    def put_back(self, swap: Swap) -> bool:
        """Take the new content out again; False where the user saved on top and no clean merge exists."""
        try:
            with self._folder(swap) as (folder, name):
                if swap.before is None:
                    return self._uncreate(folder, name, swap)
                self._ensure_sibling(folder, name, swap, swap.before)
                if swap.after is None:
                    with contextlib.suppress(FileExistsError):
                        self._renames.move(folder, swap.sibling, name)
                    return True
                return self._exchange_back(folder, name, swap)
        except _GONE:
            return True  # The user removed it since: there is nothing to take out.

    def give_back(self, swap: Swap) -> None:
        """Return a displaced save to the user (after a crash in the middle of a swap)."""
        with contextlib.suppress(*_GONE), self._folder(swap) as (folder, name):
            if swap.after is None:
                with contextlib.suppress(FileExistsError):
                    self._renames.move(folder, swap.sibling, name)
            else:
                self._give_back(folder, name, swap.sibling, swap.after.sha256)

    def position(self, swap: Swap) -> Position:
        """Tell from the sibling where a swap stands; only once all siblings had been written."""
        try:
            with self._folder(swap) as (folder, name):
                self._mend_exchange(folder, swap, name)
                sibling = hash_at(folder, swap.sibling)
                target = hash_at(folder, name)
        except _GONE:
            return Position.WAITING
        if swap.before is None:
            return Position.DONE if sibling is None else Position.WAITING
        if sibling is None:
            # For a removal that is how it starts; else somebody removed the sibling, and the target tells.
            done = swap.after is not None and target == swap.after.sha256
            return Position.DONE if done else Position.WAITING
        if sibling == swap.before.sha256:
            return Position.DONE
        if swap.after is not None and sibling == swap.after.sha256:
            return Position.WAITING
        return Position.DISPLACED

    def ensure_sibling(self, swap: Swap) -> None:
        """Write a waiting swap's new content beside its target again if it is gone. Raises OSError."""
        if swap.after is not None:
            with self._folder(swap) as (folder, name):
                self._ensure_sibling(folder, name, swap, swap.after)

    def clear(self, swaps: Sequence[Swap], made_folders: Sequence[str] = ()) -> None:
        """Remove the siblings, and those of `made_folders` that are empty.

        A sibling with a content that no record knows is stored first: it is a save of the
        user's that a newer save replaced.
        """
        for number, swap in enumerate(swaps):
            self._fault(f"clear {number}")
            known = _known(swap)
            with (
                contextlib.suppress(*_GONE),
                self._folder(swap) as (folder, _),
            ):
                self._remove_sibling(folder, swap.sibling, known)
        self.remove_empty(made_folders)

    def remove_empty(self, folders: Sequence[str]) -> None:
        """Remove those of `folders` that are empty, the deepest first."""
        with opened_root(self._root) as root_fd:
            for folder in sorted(folders, key=lambda f: -f.count("/")):
                with contextlib.suppress(OSError), opened_parent(root_fd, folder) as (above, name):
                    os.rmdir(name, dir_fd=above)

    def sync_folders(self, swaps: Sequence[Swap]) -> None:
        """Put the names in all folders of `swaps`, and in those above, on the disk."""
        folders = {""}
        for swap in swaps:
            components = swap.path.split("/")[:-1]
            folders |= {"/".join(components[:n]) for n in range(1, len(components) + 1)}
        together(self._sync_folder, folders)

    def _sync_folder(self, folder: str) -> None:
        inside = f"{folder}/." if folder else "."
        with (
            contextlib.suppress(*_GONE),
            opened_root(self._root) as root_fd,
            _reached(root_fd, inside) as (descriptor, _),
        ):
            os.fsync(descriptor)

    def _sync_sibling(self, swap: Swap) -> None:
        with self._folder(swap) as (descriptor, _):
            sync_sibling(descriptor, swap.sibling)

    @contextlib.contextmanager
    def _folder(self, swap: Swap) -> Iterator[tuple[int, str]]:
        with opened_root(self._root) as root_fd, _reached(root_fd, swap.path) as opened:
            yield opened

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
            self._remove_sibling(folder, swap.sibling, {swap.before.sha256, swap.after.sha256})
            write_sibling(folder, name, swap.sibling, merged, swap.before.mode)
            expected, put_in = version_of(saved, 0).sha256, version_of(merged, 0).sha256
        return False

    def _mend_exchange(self, folder: int, swap: Swap, name: str) -> None:
        """Finish what a crash left of an exchange without the kernel's help; store what only that holds."""
        left_over = PlainRenames.left_over(swap.sibling)
        if hash_at(folder, left_over) not in (None, "", *_known(swap)):
            content = read_at(folder, left_over)
            if content is not None:
                self._blobs.put(content)
        PlainRenames.mend(folder, swap.sibling, name)

    def _ensure_sibling(self, folder: int, name: str, swap: Swap, version: FileVersion) -> None:
        if hash_at(folder, swap.sibling) is None:
            write_sibling(folder, name, swap.sibling, self._blobs.read(version.sha256), version.mode)

    def _remove_sibling(self, folder: int, sibling: str, known: set[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            if hash_at(folder, sibling) not in known:
                content = read_at(folder, sibling)
                if content is not None:
                    self._blobs.put(content)
            os.unlink(sibling, dir_fd=folder)


def _known(swap: Swap) -> set[str]:
    """The contents that the record knows."""
    return {v.sha256 for v in (swap.before, swap.after) if v is not None}


@contextlib.contextmanager
def _reached(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """Open the folder of `path`; a symlink on the way counts as "no folder there any more"."""
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
