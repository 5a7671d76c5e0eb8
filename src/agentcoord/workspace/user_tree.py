"""What the user's tree holds now: the files a copy should have, and what moved since a moment.

Separate from `mirror`, which makes copies of it. A file is told by its signature first and by its hash
only when that differs. Everything here is blocking and only reads. What git knows is asked each time and
taken apart only when the answer is another one than last time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.beneath import READ, open_beneath, opened_root
from agentcoord.workspace.files import sha256_of
from agentcoord.workspace.git import run_git
from agentcoord.workspace.names import is_secret, is_sibling
from agentcoord.workspace.repository import GitNames, Repository
from agentcoord.workspace.signatures import FOLDER, Signature, signature_of, size_of
from agentcoord.workspace.system_find import FindFailedError, within_folders

_INCLUDE_FILE = ".worktreeinclude"


class Kind(StrEnum):
    FILE = "f"
    LINK = "l"


@dataclass(frozen=True, slots=True)
class Listing:
    """The user's tree at one moment."""

    files: Mapping[str, Signature] = field(repr=False)
    """Regular files and symlinks."""
    folders: frozenset[str] = field(repr=False)
    """Every folder that holds one of them."""
    ignored: frozenset[str]
    """Ignored by git, and here only because `.worktreeinclude` names them: never land."""
    nested: frozenset[str]
    """Submodules and other repositories inside this one; never entered."""
    left_out: tuple[str, ...]
    """Untracked files whose names look like a secret's."""

    def size_bytes(self, paths: Iterable[str]) -> int:
        return sum(size_of(self.files[path]) for path in paths)

    def without(self, folders: Collection[str]) -> Listing:
        """Return the listing without these folders and what is in them."""
        if not folders:
            return self
        below = tuple(f"{folder}/" for folder in folders)
        kept = {p: s for p, s in self.files.items() if p not in folders and not p.startswith(below)}
        return Listing(kept, folders_of(kept), self.ignored & kept.keys(), self.nested, self.left_out)


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
    signatures: Mapping[str, Signature] = field(repr=False)
    """Those of `files`, UNPROVEN where only the hash can tell."""
    generation: int
    """The repository's generation then: tells whether a landing came since."""
    shared: frozenset[str] = frozenset()
    """Shared folders: shown from where they are, so that nothing of them was looked at."""


def list_tree(repo: Repository) -> Listing:
    """List what a copy should hold: tracked, and untracked but not ignored, as it is on disk.

    Paths that are gone from the disk, submodules, nested repositories, secret-looking
    untracked files, a landing's siblings, and everything that is neither a regular file nor
    a symlink are left out.
    """
    earlier = repo.git_names
    with ThreadPoolExecutor(1) as beside:  # The folders that are known are looked into while git thinks.
        asking = beside.submit(_known_to_git, repo)
        found = _look_into(repo.root, earlier.folders) if earlier is not None else {}
        names = asking.result()
    if found is not None and names is not earlier:
        more = _look_into(repo.root, names.folders.difference(earlier.folders if earlier is not None else ()))
        found = None if more is None else found | more
    repo.git_names = names
    files = _only_wanted(repo.root, names, found or {})
    missing = len(files) < len(names.paths)
    folders = folders_of(files) if missing else names.folders - {""}
    return Listing(files, folders, names.included & files.keys(), names.nested, names.left_out)


def paths_moved(repo: Repository, stamp: TreeStamp) -> tuple[str, ...]:
    """Return the paths that were added, changed or removed since `stamp`, sorted."""
    files, known = list_tree(repo).without(stamp.shared).files, stamp.signatures
    moved = {path for path in known if path not in files}
    with opened_root(repo.root) as root_fd:
        for path in [p for p, signature in files.items() if known.get(p) != signature]:
            if path not in known or not _is_same(root_fd, path, files[path], stamp.files[path]):
                moved.add(path)
    return tuple(sorted(moved))


def folders_of(paths: Iterable[str]) -> frozenset[str]:
    """Return every folder that holds one of `paths`, the root not counted."""
    folders: set[str] = set()
    for folder in {path.rpartition("/")[0] for path in paths}:
        above = folder
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    return frozenset(folders)


def link_hash(target: str) -> str:
    """Return what stands for a symlink's content where a file has its SHA-256."""
    return f"-> {target}"


def kind_of(signature: Signature) -> Kind:
    return Kind(signature[0])


def is_executable(signature: Signature) -> bool:
    """Whether the owner may run it."""
    return bool(int(signature[1 : signature.index(" ")], 8) & stat.S_IXUSR)


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


def _look_into(root: Path, folders: Iterable[str]) -> dict[str, Signature] | None:
    """Return what is directly in these folders; None when `find` could not tell."""
    found: dict[str, Signature] = {}
    try:
        for some in within_folders(root, sorted(folders)):
            found.update(some)
    except FindFailedError:
        return None
    return found


def _only_wanted(root: Path, names: GitNames, found: Mapping[str, Signature]) -> dict[str, Signature]:
    """Return the files and symlinks among `names`; those that are not in `found` are looked for one by one.

    A case-insensitive file system may show a path in another spelling, and `find` may not have worked.
    """
    files = {p: s for p, s in found.items() if s[0] in "fl" and p in names.paths}
    unreal = tuple(f"{f}/" for f in names.folders if f and found.get(f) != FOLDER)
    if unreal:  # A symlink stands there, or nothing: `find` went through it.
        files = {path: signature for path, signature in files.items() if not path.startswith(unreal)}
    real_folders: dict[str, bool] = {"": True}
    for path in sorted(names.paths - files.keys()):
        folder = path.rpartition("/")[0]
        if _is_real_folder(root, folder, real_folders):
            try:
                signature = signature_of(os.lstat(f"{root}/{path}"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise WorkspaceError(f"{path!r} cannot be looked at: {error.strerror}") from error
            if signature[0] in "fl":
                files[path] = signature
    return files


def _known_to_git(repo: Repository) -> GitNames:
    """Return which paths a copy may hold, as git knows them."""
    said = run_git(
        ["ls-files", "-t", "--stage", "--cached", "--others", "--exclude-standard", "-z"], cwd=repo.root
    )
    said_of_ignored = _included(repo)
    last = repo.git_names
    if last is not None and (last.said, last.said_of_ignored) == (said, said_of_ignored):
        return last
    tracked, untracked, nested, sparse = _taken_apart(said)
    named = {os.fsdecode(p) for p in said_of_ignored.split(b"\0") if p and not p.endswith(b"/")}
    included = frozenset({p for p in named if not is_secret(p)} - tracked - untracked)
    left_out = sorted(p for p in untracked if is_secret(p))
    paths = frozenset(p for p in (tracked | untracked | included).difference(left_out) if not is_sibling(p))
    folders = folders_of(paths) | {""}
    return GitNames(
        paths,
        folders,
        included,
        frozenset(nested),
        frozenset(sparse),
        tuple(left_out),
        said,
        said_of_ignored,
    )


def _taken_apart(said: bytes) -> tuple[set[str], set[str], set[str], set[str]]:
    """Return the paths in the index, the untracked that are not ignored, what is nested, and what is sparse.

    Nested are submodules and the repositories among the untracked; they are in no other set. Sparse are those
    in the index that git keeps from the disk.
    """
    tracked: set[str] = set()
    untracked: set[str] = set()
    nested: set[str] = set()
    sparse: set[str] = set()
    for record in os.fsdecode(said).split("\0"):
        if record.startswith("? "):  # "? path"; of a repository "? path/".
            path = record[2:]
            (nested if path.endswith("/") else untracked).add(path.rstrip("/"))
        elif record:  # "H 100644 <object> <stage>TAB<path>", with other letters for odd states.
            path = record.partition("\t")[2]
            (nested if record.startswith("160000", 2) else tracked).add(path)
            if record.startswith("S "):
                sparse.add(path)
    return tracked, untracked, nested, sparse


def _included(repo: Repository) -> bytes:
    """Ask git for the ignored files that `.worktreeinclude` (gitignore syntax) names."""
    if not (repo.root / _INCLUDE_FILE).is_file():
        return b""
    return run_git(
        ["ls-files", "--others", "--ignored", f"--exclude-from={repo.root / _INCLUDE_FILE}", "-z"],
        cwd=repo.root,
    )


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


def _is_same(root_fd: int, path: str, signature: Signature, known: Stamped) -> bool:
    if (kind_of(signature), is_executable(signature)) != (known.kind, known.executable):
        return False
    try:
        if known.kind is Kind.LINK:
            return link_hash(os.readlink(path, dir_fd=root_fd)) == known.sha256
        descriptor = open_beneath(root_fd, path, READ)
    except OSError:
        return False
    try:
        return sha256_of(descriptor) == known.sha256
    finally:
        os.close(descriptor)
