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

from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.beneath import (
    READ,
    checked_path,
    in_words,
    open_beneath,
    open_folder,
    opened_parent,
    opened_root,
)
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.files import replace_file
from agentcoord.workspace.manifest import Entry, Manifest
from agentcoord.workspace.names import is_git_folder
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.signatures import Signature, changed_ns_of, is_racy, signature_of
from agentcoord.workspace.subvolumes import is_subvolume, note_no_reading
from agentcoord.workspace.user_tree import Kind, Listing, folders_of, kind_of, link_hash, list_tree
from agentcoord.workspace.walk import Found, folders_above, remove_beneath, walk

FREE_FLOOR_BYTES = 200 * 1024 * 1024
"""What must stay free on the disk after a copy was made."""
GIT_MOUNT = ".git"
_READ_TRIES = 3
_TICK_WAIT_S = 0.002
_TICK_TRIES = 1000
_PLACING = ".agentcoord-place.tmp"


@dataclass(frozen=True, slots=True)
class _Target:
    """The copy that is brought up to date."""

    fd: int
    tree: Path
    quiet: bool
    """Whether it shares its inodes with others, so that none is to be written for a mere reading."""


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
    to mount over, as `.git` is. Raises WorkspaceError when the disk is too full.
    """
    places.tree.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ThreadPoolExecutor(1) as beside:  # The copy is walked while git lists the user's tree.
        walking = beside.submit(walk, places.tree, (GIT_MOUNT, *mounts))
        listing = list_tree(repo).without(mounts)
        found = walking.result()
    if found.overflow:
        # Some worker flooded the copy, and the walk did not see everything: start from nothing.
        remove_beneath(places.tree, [below.name for below in places.tree.iterdir()])
        found = Found()
    stale = _stale(listing, known, found)
    gone = [path for path in known.entries if path not in listing.files]
    _refuse_full_disk(places.home, listing.size_bytes(stale))
    _remove_junk(places.tree, listing, found, mounts)
    entries = known.entries.copied() if stale or gone else known.entries
    quiet = is_subvolume(places.tree)
    with opened_root(repo.root) as source_fd, opened_root(places.tree) as target_fd:
        target = _Target(target_fd, places.tree, quiet)
        for path in [*gone, *stale]:
            entries.drop(path)
        for path in stale:
            ignored = path in listing.ignored
            entry = _copy(source_fd, target, path, listing.files[path], blobs, ignored=ignored)
            if entry is not None:
                entries.put(path, entry)
        for folder in sorted(listing.folders - found.folders) if quiet else ():
            _note_no_reading_of_folder(target_fd, folder)
    for mount in (GIT_MOUNT, *mounts):
        _make_mount_target(places.tree, mount)
    manifest = Manifest(entries, listing.nested)
    if stale or gone or listing.nested != known.nested or not places.manifest.exists():
        copied = (entries.copies[p] for p in stale if p in entries)
        newest_ns = max(map(changed_ns_of, copied), default=0)
        wait_for_tick(places.home, newest_ns)
        manifest.save(places.manifest)
    return manifest


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


def _refuse_full_disk(home: Path, needed_bytes: int) -> None:
    problem = free_floor_problem(home, needed_bytes=needed_bytes, free_bytes=shutil.disk_usage(home).free)
    if problem is not None:
        raise WorkspaceError(problem, mend="free some space, or set XDG_STATE_HOME to a larger disk")


def _remove_junk(tree: Path, listing: Listing, found: Found, mounts: Sequence[str]) -> None:
    """Remove what is not listed, each topmost path once, and what stands where a folder must be."""
    wanted_folders = listing.folders | folders_of(mounts)
    junk = [path for path in found.files if path not in listing.files]
    junk += [p for p in found.folders | found.unreadable if p not in wanted_folders]
    topmost: set[str] = set()
    for path in sorted(junk, key=lambda p: p.count("/")):
        if not any(f in topmost for f in folders_above(path)):
            topmost.add(path)
    remove_beneath(tree, sorted(topmost))


def _copy(
    source_fd: int,
    target: _Target,
    path: str,
    listed: Signature,
    blobs: BlobStore,
    *,
    ignored: bool,
) -> Entry | None:
    """Copy one path; None when the user removed it, or it cannot be read, by now."""
    if kind_of(listed) is Kind.LINK:
        return _copy_link(source_fd, target, path, ignored=ignored)
    try:
        source = open_beneath(source_fd, path, READ)
    except OSError:
        return None
    try:
        for _ in range(_READ_TRIES):
            begun_ns, before = time.time_ns(), os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                return None
            sha256, content = blobs.put_file(source)
            calm = signature_of(os.fstat(source)) == signature_of(before)
            if calm:
                break
    finally:
        os.close(source)
    executable = bool(before.st_mode & 0o100)
    mode = 0o755 if executable else 0o644
    signature = _place(target, path, sha256, content, mode, blobs)
    proven = _proven(before, begun_ns) if calm else None
    return Entry(Kind.FILE, executable, sha256, proven, signature, ignored)


def _proven(found: os.stat_result, begun_ns: int) -> Signature | None:
    """Return the signature of what was found after `begun_ns`; None when that is too fresh for a proof."""
    signature = signature_of(found)
    return None if is_racy(signature, begun_ns) else signature


def _place(
    target: _Target, path: str, sha256: str, content: bytes | None, mode: int, blobs: BlobStore
) -> Signature:
    try:
        with opened_parent(target.fd, path, make=True) as (folder, name):
            if content is not None and not (content and blobs.shares_blocks):
                replace_file(folder, name, content, mode)
            else:
                _place_stored(folder, name, sha256, mode, blobs, quiet=target.quiet)
            return signature_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        raise in_words(error, path) from error


def _place_stored(folder: int, name: str, sha256: str, mode: int, blobs: BlobStore, *, quiet: bool) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_PLACING, dir_fd=folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(_PLACING, flags, 0o600, dir_fd=folder)
    try:
        blobs.copy_to(sha256, target)
        os.fchmod(target, mode)
        if quiet:
            note_no_reading(target)
    finally:
        os.close(target)
    os.rename(_PLACING, name, src_dir_fd=folder, dst_dir_fd=folder)


def _copy_link(source_fd: int, place: _Target, path: str, *, ignored: bool) -> Entry | None:
    try:
        with opened_parent(source_fd, path) as (folder, name):
            begun_ns, before = time.time_ns(), os.stat(name, dir_fd=folder, follow_symlinks=False)
            target = os.readlink(name, dir_fd=folder)
    except OSError:
        return None
    try:
        with opened_parent(place.fd, path, make=True) as (folder, name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.symlink(target, name, dir_fd=folder)
            signature = signature_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError as error:
        raise in_words(error, path) from error
    executable = bool(before.st_mode & 0o100)
    return Entry(Kind.LINK, executable, link_hash(target), _proven(before, begun_ns), signature, ignored)


def _note_no_reading_of_folder(target_fd: int, path: str) -> None:
    with contextlib.suppress(OSError):
        folder = open_folder(target_fd, path)
        try:
            note_no_reading(folder)
        finally:
            os.close(folder)


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
