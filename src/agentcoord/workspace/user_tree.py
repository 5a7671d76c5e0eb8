"""What the user's tree holds now: the files a copy should have, and what moved since a moment.

Separate from `mirror`, which makes copies of it. A file is told by size, times and inode
first and by its hash only when these differ. Everything here is blocking and only reads.
What exists once a file is a tuple: making and comparing them is most of the work, and plain
tuples of numbers are no concern of the garbage collector, which holds up the event loop.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import READ, open_beneath, opened_root
from agentcoord.workspace.files import sha256_of
from agentcoord.workspace.git import run_git
from agentcoord.workspace.names import is_secret, is_sibling
from agentcoord.workspace.repository import Repository

_RACY_NS = 100_000_000
"""A file changed this recently may change again within the same tick of the file system's clock."""
_INCLUDE_FILE = ".worktreeinclude"


class Kind(StrEnum):
    FILE = "f"
    LINK = "l"


Signature = tuple[int, int, int, int]
"""What tells a file from an earlier state of it without reading it: size, mtime, ctime (ns), inode."""
SIZE, CHANGED_NS = 0, 2


def signature_of(found: os.stat_result) -> Signature:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


class Listed(NamedTuple):
    """One path of the user's tree as the listing found it."""

    kind: Kind
    executable: bool
    signature: Signature
    racy: bool
    """Changed so recently that the signature proves nothing."""
    ignored: bool
    """Ignored by git, and here only because `.worktreeinclude` names it: never lands."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The user's tree at one moment."""

    files: Mapping[str, Listed]
    nested: frozenset[str]
    """Submodules and other repositories inside this one; never entered."""
    left_out: tuple[str, ...]
    """Untracked files whose names look like a secret's."""

    @property
    def size_bytes(self) -> int:
        return sum(f.signature[SIZE] for f in self.files.values())


class Stamped(NamedTuple):
    """One path as a stamp remembers it. `signature` None: only the hash can tell."""

    kind: Kind
    executable: bool
    signature: Signature | None
    sha256: str


@dataclass(frozen=True, slots=True)
class TreeStamp:
    """The user's tree at the moment when a proof tree was brought up to date with it."""

    files: Mapping[str, Stamped] = field(repr=False)
    generation: int
    """The repository's generation then: tells whether a landing came since."""


def list_tree(repo: Repository) -> Listing:
    """List what a copy should hold: tracked, and untracked but not ignored, as it is on disk.

    Paths that are gone from the disk, submodules, nested repositories, secret-looking
    untracked files, a landing's siblings, and everything that is neither a regular file nor
    a symlink are left out.
    """
    now_ns = time.time_ns()
    tracked, untracked, nested = _known_to_git(repo)
    left_out = sorted(p for p in untracked if is_secret(p))
    included = {p for p in _included(repo) if not is_secret(p)} - tracked - untracked
    real_folders: dict[str, bool] = {"": True}
    files: dict[str, Listed] = {}
    above, top = f"{repo.root}/", repo.root
    for path in sorted((tracked | untracked | included).difference(left_out)):
        folder = path.rpartition("/")[0]
        real = real_folders.get(folder)
        if real is None:
            real = _is_real_folder(top, folder, real_folders)
        if not real or is_sibling(path):
            continue
        try:
            found = os.lstat(above + path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WorkspaceError(f"{path!r} cannot be looked at: {error.strerror}") from error
        mode = found.st_mode
        if stat.S_ISREG(mode):
            kind = Kind.FILE
        elif stat.S_ISLNK(mode):
            kind = Kind.LINK
        else:
            continue
        signature = signature_of(found)
        racy = signature[CHANGED_NS] > now_ns - _RACY_NS
        files[path] = Listed(kind, bool(mode & 0o100), signature, racy, path in included)
    return Listing(files, frozenset(nested), tuple(left_out))


def paths_moved(repo: Repository, stamp: TreeStamp) -> tuple[str, ...]:
    """Return the paths that were added, changed or removed since `stamp`, sorted."""
    listing = list_tree(repo)
    moved = {path for path in stamp.files if path not in listing.files}
    with opened_root(repo.root) as root_fd:
        for path, listed in listing.files.items():
            known = stamp.files.get(path)
            if known is None or not _is_same(root_fd, path, listed, known):
                moved.add(path)
    return tuple(sorted(moved))


def link_hash(target: str) -> str:
    """Return what stands for a symlink's content where a file has its SHA-256."""
    return f"-> {target}"


def ignored_among(repo: Repository, paths: list[str]) -> frozenset[str]:
    """Return those of `paths` (which need not exist) that git ignores in the user's tree.

    None of them may lie below a symlink or in a submodule of the user's tree.
    """
    if not paths:
        return frozenset()
    # With ./ in front no name is taken for pathspec magic, such as ":(glob)x".
    asked = b"".join(b"./" + os.fsencode(p) + b"\0" for p in paths)
    said = run_git(
        ["check-ignore", "--no-index", "--stdin", "-z"], cwd=repo.root, stdin=asked, expected=(0, 1)
    )
    return frozenset(os.fsdecode(p.removeprefix(b"./")) for p in said.split(b"\0") if p)


def _known_to_git(repo: Repository) -> tuple[set[str], set[str], set[str]]:
    """Return the paths in the index, the untracked ones that are not ignored, and what is nested.

    Nested are submodules and the repositories among the untracked; they are in no other set.
    """
    said = run_git(
        ["ls-files", "-t", "--stage", "--cached", "--others", "--exclude-standard", "-z"], cwd=repo.root
    )
    tracked: set[str] = set()
    untracked: set[str] = set()
    nested: set[str] = set()
    for record in os.fsdecode(said).split("\0"):
        if record.startswith("? "):  # "? path"; of a repository "? path/".
            path = record[2:]
            (nested if path.endswith("/") else untracked).add(path.rstrip("/"))
        elif record:  # "H 100644 <object> <stage>TAB<path>", with other letters for odd states.
            path = record.partition("\t")[2]
            (nested if record.startswith("160000", 2) else tracked).add(path)
    return tracked, untracked, nested


def _included(repo: Repository) -> set[str]:
    """Return the ignored files that `.worktreeinclude` (gitignore syntax) asks for."""
    if not (repo.root / _INCLUDE_FILE).is_file():
        return set()
    said = run_git(
        ["ls-files", "--others", "--ignored", f"--exclude-from={repo.root / _INCLUDE_FILE}", "-z"],
        cwd=repo.root,
    )
    return {os.fsdecode(p) for p in said.split(b"\0") if p and not p.endswith(b"/")}


def _is_real_folder(root: Path, folder: str, known: dict[str, bool]) -> bool:
    """Whether every component of `folder` is a folder itself, no symlink; remembered in `known`."""
    if folder not in known:
        above = folder.rpartition("/")[0]
        known[folder] = _is_real_folder(root, above, known) and _is_folder(f"{root}/{folder}")
    return known[folder]


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_same(root_fd: int, path: str, listed: Listed, known: Stamped) -> bool:
    if (listed.kind, listed.executable) != (known.kind, known.executable):
        return False
    if known.signature == listed.signature and not listed.racy:
        return True
    try:
        if listed.kind is Kind.LINK:
            return link_hash(os.readlink(path, dir_fd=root_fd)) == known.sha256
        descriptor = open_beneath(root_fd, path, READ)
    except OSError:
        return False
    try:
        return sha256_of(descriptor) == known.sha256
    finally:
        os.close(descriptor)
