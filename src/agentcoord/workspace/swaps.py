"""The swaps of a whole landing or undo in the user's tree: all of them or none, each in its own folder.

Each is an exchange of two names (see `exchanges`); here is what many of them take: the siblings beside
the targets, the order, putting back what went in, and what has to be on the disk when. Folders are opened
beneath the tree without following symlinks; one that is a symlink by now counts as gone.

Blocking. Deliberately absent: the journal and its phases, see `landing` and `recovery`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from agentcoord.errors import LandingRefusedError
from agentcoord.workspace.beneath import opened_parent, opened_root
from agentcoord.workspace.exchanges import Exchanges, Position
from agentcoord.workspace.history import Swap
from agentcoord.workspace.one_name import may_be_one
from agentcoord.workspace.packs import PackedContents
from agentcoord.workspace.renames import Renames
from agentcoord.workspace.siblings import hash_at, sync_sibling, write_sibling
from agentcoord.workspace.targets import reached, read_target
from agentcoord.workspace.walk import folders_above

_AT_ONCE = 8
_GONE = (FileNotFoundError, NotADirectoryError)
"""The user removed the file, or a folder above it."""


_NOT_TO_BE_CHANGED = (errno.EPERM, errno.EACCES, errno.EROFS, errno.EBUSY)
"""What the system says of an immutable file, of a folder that is closed, and where something is mounted."""


class Swapper:
    """Swaps files of the tree at `root`; contents come from `blobs`."""

    def __init__(
        self, root: Path, blobs: PackedContents, renames: Renames, fault: Callable[[str], None]
    ) -> None:
        self._root = root
        self._blobs = blobs
        self._exchanges = Exchanges(blobs, renames, fault)
        self._fault = fault
        self._waiting = ThreadPoolExecutor(_AT_ONCE)
        """Its threads begin when first needed, and end with it."""

    def read_targets(self, paths: Iterable[str], *, limit: int) -> dict[str, bytes | None]:
        """Return the user's files, None where there is none.

        Raises LandingRefusedError when something else than a plain regular file of at most
        `limit` bytes is there, or stands where a folder above it must be.
        """
        with opened_root(self._root) as root_fd:
            return {path: read_target(root_fd, path, limit) for path in paths}

    def missing_folders(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the folders above `paths` that do not exist, topmost first."""
        folders = dict.fromkeys(folder for path in paths for folder in folders_above(path))
        return tuple(folder for folder in folders if not (self._root / folder).is_dir())

    def put_siblings(
        self, swaps: Sequence[Swap], made_folders: Sequence[str], contents: Mapping[str, bytes]
    ) -> None:
        """Write the new contents, by their SHA-256, beside their targets, and all of it to the disk.

        Raises OSError, and LandingRefusedError where the system lets nobody write.
        """
        with opened_root(self._root) as root_fd:
            for folder in made_folders:
                try:
                    with (
                        contextlib.suppress(FileExistsError),
                        opened_parent(root_fd, folder) as (above, name),
                    ):
                        os.mkdir(name, 0o755, dir_fd=above)
                except OSError as error:
                    _refuse_what_is_closed(error, folder)
                    raise
            for number, swap in enumerate(swaps):
                self._fault(f"sibling {number}")
                if swap.after is not None:
                    content, mode = contents[swap.after.sha256], swap.after.mode
                    try:
                        with reached(root_fd, swap.path) as (descriptor, name):
                            write_sibling(descriptor, name, swap.sibling, content, mode, durable=False)
                    except OSError as error:
                        _refuse_what_is_closed(error, swap.path)
                        raise
            # Only now: a disk that has all of them to write at once is done sooner than one after the other.
            written = [partial(_sync_sibling, root_fd, swap) for swap in swaps if swap.after is not None]
            self._together([*written, *_folder_syncs(root_fd, swaps)])

    def put_all_in(self, swaps: Sequence[Swap]) -> tuple[str, ...]:
        """Put all new contents in, or none; return the paths that were not their base.

        Raises OSError, with everything put back, when the disk refuses; and so LandingRefusedError when the
        system lets nobody exchange a file, or when a new one is in the way of another: the disk takes their
        names for the same.
        """
        done: list[Swap] = []
        with opened_root(self._root) as root_fd:
            for number, swap in enumerate(swaps):
                self._fault(f"swap {number}")
                try:
                    went_in = self._put_in(root_fd, swap)
                except OSError as error:
                    self.put_all_back(done)
                    _refuse_what_is_closed(error, swap.path)
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
            reached(root_fd, path) as (at, name),
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
        with opened_root(self._root) as root_fd:
            return self._put_in(root_fd, swap)

    def put_back(self, swap: Swap) -> bool:
        """Take the new content out again; False where the user saved on top and no clean merge exists."""
        try:
            with self._folder(swap) as (folder, name):
                return self._exchanges.put_back(folder, name, swap)
        except _GONE:
            return True  # The user removed it since: there is nothing to take out.

    def give_back(self, swap: Swap) -> None:
        """Return a displaced save to the user (after a crash in the middle of a swap)."""
        with contextlib.suppress(*_GONE), self._folder(swap) as (folder, name):
            self._exchanges.give_back(folder, name, swap)

    def position(self, swap: Swap) -> Position:
        """Tell from the sibling where a swap stands; only once all siblings had been written."""
        try:
            with self._folder(swap) as (folder, name):
                return self._exchanges.position(folder, name, swap)
        except _GONE:
            return Position.WAITING

    def ensure_sibling(self, swap: Swap) -> None:
        """Write a waiting swap's new content beside its target again if it is gone. Raises OSError."""
        if swap.after is not None:
            with self._folder(swap) as (folder, name):
                self._exchanges.ensure_sibling(folder, name, swap, swap.after)

    def clear(self, swaps: Sequence[Swap], made_folders: Sequence[str] = ()) -> None:
        """Remove the siblings, and those of `made_folders` that are empty.

        A sibling with a content that no record knows is stored first: it is a save of the
        user's that a newer save replaced.
        """

        def in_turn(root_fd: int) -> Iterator[Callable[[], None]]:
            for number, swap in enumerate(swaps):
                self._fault(f"clear {number}")
                yield partial(self._clear, root_fd, swap)

        with opened_root(self._root) as root_fd:
            # Together: on a busy disk each removal waits until others' writes are through.
            self._together(in_turn(root_fd))
        self.remove_empty(made_folders)

    def remove_empty(self, folders: Sequence[str]) -> None:
        """Remove those of `folders` that are empty, the deepest first."""
        with opened_root(self._root) as root_fd:
            for folder in sorted(folders, key=lambda f: -f.count("/")):
                with contextlib.suppress(OSError), opened_parent(root_fd, folder) as (above, name):
                    os.rmdir(name, dir_fd=above)

    def sync_folders(self, swaps: Sequence[Swap]) -> None:
        """Put the names in all folders of `swaps`, and in those above, on the disk."""
        with opened_root(self._root) as root_fd:
            self._together(_folder_syncs(root_fd, swaps))

    def _put_in(self, root_fd: int, swap: Swap) -> bool:
        try:
            with reached(root_fd, swap.path) as (folder, name):
                return self._exchanges.put_in(folder, name, swap)
        except _GONE:
            return False  # The user removed the file or a folder above it.

    def _clear(self, root_fd: int, swap: Swap) -> None:
        with contextlib.suppress(*_GONE), reached(root_fd, swap.path) as (folder, _):
            self._exchanges.remove_sibling(folder, swap)

    def _together(self, works: Iterable[Callable[[], None]]) -> None:
        """Do what mostly waits for the disk at once: a file system does what is asked for together in one go.

        Raises what one of them raised, after all have ended.
        """
        begun: list[Future[None]] = []
        try:
            begun.extend(map(self._waiting.submit, works))
        finally:
            wait(begun)
        for each in begun:
            each.result()

    @contextlib.contextmanager
    def _folder(self, swap: Swap) -> Iterator[tuple[int, str]]:
        with opened_root(self._root) as root_fd, reached(root_fd, swap.path) as opened:
            yield opened


def _sync_sibling(root_fd: int, swap: Swap) -> None:
    with reached(root_fd, swap.path) as (descriptor, _):
        sync_sibling(descriptor, swap.sibling)


def _folder_syncs(root_fd: int, swaps: Sequence[Swap]) -> list[Callable[[], None]]:
    folders = {"", *(folder for swap in swaps for folder in folders_above(swap.path))}
    return [partial(_sync_folder, root_fd, folder) for folder in folders]


def _sync_folder(root_fd: int, folder: str) -> None:
    inside = f"{folder}/." if folder else "."
    with contextlib.suppress(*_GONE), reached(root_fd, inside) as (descriptor, _):
        os.fsync(descriptor)


def _refuse_what_is_closed(error: OSError, path: str) -> None:
    """Raise LandingRefusedError when nobody may write at this path; a disk that is full is something else."""
    if error.errno in _NOT_TO_BE_CHANGED:
        raise LandingRefusedError(
            f"{path!r} cannot be changed: {error.strerror}",
            [path],
            mend="see whether the file is immutable (lsattr), its folder closed, or something mounted there",
        ) from error
