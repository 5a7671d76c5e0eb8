"""What a worker changed: its copy walked against the manifest, sorted into what may land and what not.

Pure of git except for one question asked in the user's own tree: which of the new paths
are ignored. Nothing of the copy is trusted: files are opened beneath it, without
symlinks, and hashed from one descriptor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path

from agentcoord.domain.files import Change, ChangeKind, ChangeSet, FileVersion
from agentcoord.values import dataclass
from agentcoord.workspace.beneath import READ, open_beneath, opened_parent, opened_root
from agentcoord.workspace.files import sha256_of
from agentcoord.workspace.git import GitFailedError
from agentcoord.workspace.manifest import Entry, Manifest
from agentcoord.workspace.mirror import GIT_MOUNT
from agentcoord.workspace.names import is_debris, is_git_folder, is_sibling
from agentcoord.workspace.one_name import folds_case, twins_among
from agentcoord.workspace.repository import Repository, trusts_modes
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.user_tree import Kind, ignored_among
from agentcoord.workspace.walk import Found, folders_above, walk

MAX_LANDED_FILE_BYTES = 32 * 1024 * 1024
"""A larger file never lands; it would also have to be held in memory for the merge."""
MAX_LANDED_FILES = 2000
"""One task that changes more files than this went astray."""
_SELF_IGNORED = b"*"
_IGNORE_FILE_BYTES = 4096
_ASKED_SINGLY = 500
_OWNER_MAY_RUN = stat.S_IXUSR


Refuse = Callable[[str, str], None]
"""Takes a path and the reason why it never lands."""


@dataclass(slots=True)
class _Sorting:
    """The change set while it is put together."""

    landable: list[Change] = field(default_factory=list)
    reported: list[Change] = field(default_factory=list)
    out_of_scope: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def refuse(self, path: str, reason: str) -> None:
        self.refused.append(f"{path}: {reason}")


def find_changes(
    repo: Repository, tree: Path, manifest: Manifest, rules: ScopeRules, mounts: Sequence[str]
) -> ChangeSet:
    """Compare the copy at `tree` with what it was given. Blocking."""
    found = walk(tree, skip=(GIT_MOUNT, *mounts))
    sorting = _Sorting()
    with opened_root(tree) as root_fd:
        _sort_known(root_fd, manifest, found, rules, sorting)
        new = new_paths(repo, root_fd, manifest, found, sorting.refuse)
        # Where git is told not to trust the executable bit, every file may seem to have it.
        there = {path: _looked_at(root_fd, path) for path in new}
        may_run = any(each is not None and each.st_mode & _OWNER_MAY_RUN for each in there.values())
        bits_count = may_run and trusts_modes(repo)
        names = repo.git_names
        for path, each in there.items():
            if names is not None and path in names.not_checked_out:
                sorting.refuse(path, "git has a file there that is not checked out")
                continue
            _sort_new(root_fd, path, each, rules, sorting, bits_count=bits_count)
    _refuse_twins(repo, sorting)
    if found.overflow:
        sorting.refuse(".", "the copy holds so many files that not all were looked at")
    for folder in found.unreadable:
        sorting.refuse(f"{folder}/", "folders are nested too deeply")
    if len(sorting.landable) > MAX_LANDED_FILES:
        sorting.refuse(".", f"{len(sorting.landable)} files changed; at most {MAX_LANDED_FILES} land at once")
        sorting.landable = []
    return ChangeSet(
        landable=tuple(sorted(sorting.landable, key=lambda c: c.path)),
        reported=tuple(sorted(sorting.reported, key=lambda c: c.path)),
        out_of_scope=tuple(sorted(sorting.out_of_scope)),
        refused=tuple(sorted(sorting.refused)),
    )


def new_paths(repo: Repository, root_fd: int, manifest: Manifest, found: Found, refuse: Refuse) -> list[str]:
    """Return the paths that the copy has and the manifest has not, without what git would ignore.

    Those that clash with the user's tree or belong to a repository of their own are handed to
    `refuse` instead.
    """
    own_repositories = {f for f in found.folders if is_git_folder(f.rpartition("/")[2])}
    for folder in own_repositories:
        refuse(f"{folder}/", "it belongs to git")
    quiet = own_repositories | _self_ignored(root_fd, manifest, found)
    candidates = []
    real: dict[str, str | None] = {"": None}
    for path in sorted(found.files):
        if path in manifest.entries or any(f in quiet for f in folders_above(path)):
            continue
        if is_debris(path) or is_sibling(path):  # The latter: a write of ours that a crash cut short.
            continue
        clash = _clash_of(repo, path.rpartition("/")[0], manifest, real)
        if clash is None:
            candidates.append(path)
        else:
            refuse(path, clash)
    ignored = _ask_git(repo, candidates)
    return [p for p in candidates if p not in ignored]


def _sort_known(root_fd: int, manifest: Manifest, found: Found, rules: ScopeRules, sorting: _Sorting) -> None:
    """Sort what the user's tree already has: modified or deleted."""
    files = found.files
    for path in [p for p, copy in manifest.entries.copies.items() if files.get(p) != copy]:
        entry = manifest.entries[path]
        if entry.ignored:
            continue
        there = _looked_at(root_fd, path) if path in files else None
        if there is None:
            base = entry.version if entry.kind is Kind.FILE else None
            sorting.reported.append(Change(path, ChangeKind.DELETED, base, None))
            continue
        _sort_modified(root_fd, path, entry, there, rules, sorting)


def _sort_modified(
    root_fd: int, path: str, entry: Entry, there: os.stat_result, rules: ScopeRules, sorting: _Sorting
) -> None:
    if entry.kind is Kind.LINK:
        if not stat.S_ISLNK(there.st_mode) or _link_moved(root_fd, path, entry):
            sorting.refuse(path, "it is a symlink in the user's tree")
        return
    problem = _problem_with(there)
    version = None if problem else _version(root_fd, path, entry.version.mode)
    if version == entry.version:
        return
    problem = problem or rules.refusal(path, exists=True)
    if problem is not None:
        sorting.refuse(path, problem)
    elif version is None:
        sorting.refuse(path, "it cannot be read")
    elif not rules.allows(path):
        sorting.out_of_scope.append(path)
    else:
        sorting.landable.append(Change(path, ChangeKind.MODIFIED, entry.version, version))


def _sort_new(
    root_fd: int,
    path: str,
    there: os.stat_result | None,
    rules: ScopeRules,
    sorting: _Sorting,
    *,
    bits_count: bool,
) -> None:
    if there is None:
        return  # Gone again.
    problem = rules.refusal(path) or _problem_with(there)
    if problem is not None:
        sorting.refuse(path, problem)
    elif not rules.allows(path):
        sorting.out_of_scope.append(path)
    else:
        may_run = bits_count and bool(there.st_mode & _OWNER_MAY_RUN)
        version = _version(root_fd, path, 0o755 if may_run else 0o644)
        if version is None:
            sorting.refuse(path, "it cannot be read")
        else:
            sorting.landable.append(Change(path, ChangeKind.ADDED, None, version))


def _refuse_twins(repo: Repository, sorting: _Sorting) -> None:
    """Refuse new files of which the user's disk could hold only one."""
    twins = twins_among(change.path for change in sorting.landable if change.base is None)
    if twins and folds_case(repo.root):
        sorting.landable = [change for change in sorting.landable if change.path not in twins]
        for path, other in twins.items():
            sorting.refuse(path, f"on your disk it is one name with {other}")


def _looked_at(root_fd: int, path: str) -> os.stat_result | None:
    """Look at what is at `path` now; None when nothing is, or a symlink is on the way."""
    try:
        with opened_parent(root_fd, path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None


def _problem_with(there: os.stat_result) -> str | None:
    """Say why a file of this kind never lands."""
    if stat.S_ISLNK(there.st_mode):
        return "it is a symlink"
    if not stat.S_ISREG(there.st_mode):
        return "it is not a regular file"
    if there.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "it has a set-id bit"
    if there.st_nlink > 1:
        return "it is a hard link to another file"
    if there.st_size > MAX_LANDED_FILE_BYTES:
        return f"it is larger than {MAX_LANDED_FILE_BYTES >> 20} MB"
    return None


def _version(root_fd: int, path: str, mode: int) -> FileVersion | None:
    """Hash the file as it is now; None when it is no readable regular file any more."""
    try:
        descriptor = open_beneath(root_fd, path, READ)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_LANDED_FILE_BYTES:
            return None
        return FileVersion(sha256_of(descriptor), found.st_size, mode)
    finally:
        os.close(descriptor)


def _link_moved(root_fd: int, path: str, entry: Entry) -> bool:
    try:
        return f"-> {os.readlink(path, dir_fd=root_fd)}" != entry.sha256
    except OSError:
        return True


def _self_ignored(root_fd: int, manifest: Manifest, found: Found) -> set[str]:
    """Return the new folders that ignore themselves: tools put a `.gitignore` of `*` into their caches."""
    own = set()
    for path in found.files:
        folder, _, name = path.rpartition("/")
        if name == ".gitignore" and folder and path not in manifest.entries and _ignores_all(root_fd, path):
            own.add(folder)
    known_folders = {f for path in manifest.entries for f in folders_above(path)} if own else set()
    return own - known_folders


def _ignores_all(root_fd: int, path: str) -> bool:
    try:
        descriptor = open_beneath(root_fd, path, READ)
    except OSError:
        return False
    try:
        return _SELF_IGNORED in os.pread(descriptor, _IGNORE_FILE_BYTES, 0).split()
    finally:
        os.close(descriptor)


def _clash_of(repo: Repository, folder: str, manifest: Manifest, known: dict[str, str | None]) -> str | None:
    """Say what of the user's stands where `folder` would have to be; remembered in `known`."""
    if folder not in known:
        clash = _clash_of(repo, folder.rpartition("/")[0], manifest, known)
        known[folder] = clash or _stands_in_the_way(repo, folder, manifest)
    return known[folder]


def _stands_in_the_way(repo: Repository, folder: str, manifest: Manifest) -> str | None:
    if folder in manifest.nested:
        return "it is inside a repository of its own"
    if folder in manifest.entries:
        return f"the user has a file at {folder}"
    try:
        kind = os.lstat(f"{repo.root}/{folder}").st_mode
    except OSError:
        return None
    return None if stat.S_ISDIR(kind) else f"the user has a file at {folder}"


def _ask_git(repo: Repository, candidates: list[str]) -> frozenset[str]:
    """Return the ignored ones; where the user's tree changes under the question, ask one by one."""
    try:
        return ignored_among(repo, candidates)
    except GitFailedError as error:
        if not _is_about_a_path(error) or len(candidates) > _ASKED_SINGLY:
            raise
        return frozenset(p for p in candidates if _is_ignored(repo, p))


def _is_ignored(repo: Repository, path: str) -> bool:
    try:
        return bool(ignored_among(repo, [path]))
    except GitFailedError as error:
        if not _is_about_a_path(error):
            raise
        return False  # Landing will find what is in the way, and refuse it by name.


def _is_about_a_path(error: GitFailedError) -> bool:
    return "beyond a symbolic link" in error.stderr or "is in submodule" in error.stderr
