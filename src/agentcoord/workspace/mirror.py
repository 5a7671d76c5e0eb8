"""Bringing a private copy up to date with the user's tree: copies what differs, removes what is junk.

Theory of operation. The listing says what the copy should hold; a walk says what it holds;
the manifest remembers, for each path, the signature of the user's file and of the copy's
file when the two were last equal. A path whose two signatures both still fit is left
alone; every other is copied again; what is not listed is removed. So the work is as large
as the difference, wherever the difference came from. Every content also goes to the blob
store, which makes it the base of a later three-way merge.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agentcoord.errors import DiskShortError, WorkspaceError
from agentcoord.workspace.beneath import checked_path, in_words, opened_parent, opened_root
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.names import is_git_folder
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.placing import placing
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.signatures import changed_ns_of
from agentcoord.workspace.user_tree import Listing, folders_of, list_tree
from agentcoord.workspace.walk import Found, folders_above, remove_beneath, remove_each, walk

FREE_FLOOR_BYTES = 200 * 1024 * 1024
"""What must stay free on the disk after a copy was made."""
GIT_MOUNT = ".git"
_REMOVED_SINGLY = 100
"""More than that is left to a program, which takes some milliseconds to start."""
_TICK_WAIT_S = 0.002
_TICK_TRIES = 1000


def shared_folders(repo: Repository, share: Sequence[str]) -> dict[str, Path]:
    """Return each folder of `share` that the user has, with the real path behind it.

    Raises WorkspaceError for one that leads out or names `.git`.
    """
    folders = {}
    for name in share:
        plain = checked_path(name.rstrip("/"))
        if not plain or any(is_git_folder(c) for c in plain.split("/")):
            raise WorkspaceError(f"project.share cannot name {name!r}", mend="name a folder such as .venv")
        real = Path(os.path.realpath(repo.root / plain))
        if real.is_dir():
            folders[plain] = real
    return folders


def update_copy(
    repo: Repository, places: CopyPlaces, known: Manifest, blobs: BlobStore, mounts: Sequence[str]
) -> Manifest:
    """Make the copy equal to the user's tree and return (and save) its manifest.

    `mounts` are the shared folders: left out, and present as empty folders for the sandbox
    to mount over, as `.git` is. Raises DiskShortError.
    """
    listing, found = _look(repo, places.tree, mounts)
    stale = _stale(listing, known, found)
    gone = [path for path in known.entries if path not in listing.files]
    refuse_full_disk(places.home, listing.size_bytes(stale))
    _remove_junk(places.tree, listing, found, mounts)
    entries = known.entries.copied() if stale or gone else known.entries
    for path in [*gone, *stale]:
        entries.drop(path)
    with placing(repo.root, places.tree, blobs) as placer:
        for path in stale:
            entry = placer.copy(path, listing.files[path], ignored=path in listing.ignored)
            if entry is not None:
                entries.put(path, entry)
        for folder in sorted(listing.folders - found.folders):
            placer.note_no_reading_of(folder)
    for mount in (GIT_MOUNT, *mounts):
        _make_mount_target(places.tree, mount)
    manifest = Manifest(entries, listing.nested, known.kept)
    if stale or gone or listing.nested != known.nested or not places.manifest.exists():
        copied = (entries.copies[p] for p in stale if p in entries)
        newest_ns = max(map(changed_ns_of, copied), default=0)
        wait_for_tick(places.home, newest_ns)
        manifest = manifest.saved(places.manifest, known, [*gone, *stale])
    return manifest


def _look(repo: Repository, tree: Path, mounts: Sequence[str]) -> tuple[Listing, Found]:
    """Return what the copy should hold, and what it holds; one that was flooded is emptied."""
    tree.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ThreadPoolExecutor(1) as beside:  # The copy is walked while git lists the user's tree.
        walking = beside.submit(walk, tree, (GIT_MOUNT, *mounts))
        listing = list_tree(repo).without(mounts)
        found = walking.result()
    if found.overflow:
        # Some worker flooded the copy, and the walk did not see everything: start from nothing.
        remove_beneath(tree, [below.name for below in tree.iterdir()])
        found = Found()
    return listing, found


def _stale(listing: Listing, known: Manifest, found: Found) -> list[str]:
    """Return the paths of which the user's file or the copy's has changed since the two were equal."""
    sources, copies, there = known.entries.sources, known.entries.copies, found.files
    stale = {
        path
        for path, signature in listing.files.items()
        if sources.get(path) != signature or copies[path] != there.get(path)
    }
    stale |= (known.entries.ignored ^ listing.ignored) & listing.files.keys()
    return sorted(stale)


def free_floor_problem(home: Path, *, needed_bytes: int, free_bytes: int) -> str | None:
    """Say what is missing when a copy would not leave the floor free."""
    # Twice: a content is stored once in the copy and once as a blob.
    wanted_bytes = FREE_FLOOR_BYTES + 2 * needed_bytes
    if free_bytes >= wanted_bytes:
        return None
    return (
        f"the disk of {home} has {free_bytes >> 20} MB free; a copy of the tree needs {wanted_bytes >> 20} MB"
    )


def refuse_full_disk(home: Path, needed_bytes: int) -> None:
    """Raise DiskShortError when a copy of so much would not leave the floor free. Blocking."""
    problem = free_floor_problem(home, needed_bytes=needed_bytes, free_bytes=shutil.disk_usage(home).free)
    if problem is not None:
        raise DiskShortError(problem, mend="free some space, or set XDG_STATE_HOME to a larger disk")


def _remove_junk(tree: Path, listing: Listing, found: Found, mounts: Sequence[str]) -> None:
    """Remove what is not listed, each topmost path once, and what stands where a folder must be."""
    wanted_folders = listing.folders | folders_of(mounts)
    junk = [path for path in found.files if path not in listing.files]
    junk += [p for p in found.folders | found.unreadable if p not in wanted_folders]
    if len(junk) <= _REMOVED_SINGLY:
        with contextlib.suppress(OSError):  # Something in there is closed by its mode, or not as it was.
            remove_each(tree, [(path, path not in found.files) for path in sorted(junk, reverse=True)])
            return
    topmost: set[str] = set()
    for path in sorted(junk, key=lambda p: p.count("/")):
        if not any(f in topmost for f in folders_above(path)):
            topmost.add(path)
    remove_beneath(tree, sorted(topmost))


def _make_mount_target(tree: Path, mount: str) -> None:
    """Make sure that an empty real folder is at `mount`."""
    try:
        with opened_root(tree) as root_fd, opened_parent(root_fd, mount, make=True) as (folder, name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=folder)
                return
            is_folder = stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
            if is_folder:
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=folder)  # Fails when it is not empty: then it is cleared below.
                    os.mkdir(name, 0o755, dir_fd=folder)
                    return
            remove_beneath(tree, [mount])
            os.mkdir(name, 0o755, dir_fd=folder)
    except OSError as error:
        raise in_words(error, mount) from error


def wait_for_tick(home: Path, newest_ns: int) -> None:
    """Return when the file system's clock has passed `newest_ns`.

    Without this, a worker's write within the same tick, of the same size, would leave the
    signature as it was. A tick is some milliseconds; the wait is bounded.
    """
    probe = home / "tick"
    for _ in range(_TICK_TRIES):
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns > newest_ns:
            return
        time.sleep(_TICK_WAIT_S)
