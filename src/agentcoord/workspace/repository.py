"""The user's repository: where it is, what git says about it, and whether its files are at rest.

Separate from the copies: this tree is read by everything here and written by landing
alone. `generation` lets a reader find out that a landing happened while it read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator
from dataclasses import field
from pathlib import Path

from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass
from agentcoord.workspace.git import GitFailedError, run_git


@dataclass(frozen=True, slots=True)
class GitNames:
    """Which paths a private copy may hold, as git last said."""

    paths: frozenset[str] = field(repr=False)
    folders: frozenset[str] = field(repr=False)
    """Every folder that holds one of them; the empty path for the root."""
    included: frozenset[str]
    """Those that git ignores and `.worktreeinclude` names."""
    nested: frozenset[str]
    not_checked_out: frozenset[str] = field(repr=False)
    """Tracked, and kept from the disk by a sparse checkout."""
    left_out: tuple[str, ...]
    said: bytes = field(repr=False)
    said_of_ignored: bytes = field(repr=False)
    """What git printed: who is told the same again need not take it apart again."""


class Repository:
    """The user's tree. Made by `open`; never written except by landing and undo."""

    def __init__(self, root: Path, git_dir: Path, common_dir: Path, objects_dir: Path, branch: str) -> None:
        self.root = root
        """The top level's real path."""
        self.git_dir = git_dir
        """This working tree's own git folder (for a worktree: `.git/worktrees/<name>`)."""
        self.common_dir = common_dir
        """The git folder that worktrees share: refs, objects, info."""
        self.objects_dir = objects_dir
        self.branch = branch
        """The branch's short name, or `detached at <commit>`."""
        self.git_names: GitNames | None = None
        """What `list_tree` was told last."""
        self._still = asyncio.Lock()
        self._generation = 0

    @classmethod
    async def open(cls, path: Path) -> Repository:
        """Find the repository that `path` is in; a repository without a commit will do.

        Raises WorkspaceError in words for a path that is missing, no repository, a bare one,
        inside `.git`, or owned by somebody else.
        """
        return await asyncio.to_thread(_open, path)

    @property
    def generation(self) -> int:
        """Grows with every landing or undo; odd while one is swapping files."""
        return self._generation

    @contextlib.asynccontextmanager
    async def held_still(self) -> AsyncIterator[None]:
        """Keep landings away for as long as the body runs. Hold it briefly."""
        async with self._still:
            yield

    @contextlib.asynccontextmanager
    async def swapping(self) -> AsyncIterator[None]:
        """Tell readers that files are being swapped for as long as the body runs."""
        async with self._still:
            self._generation += 1
            try:
                yield
            finally:
                self._generation += 1

    def holds(self, path: Path) -> bool:
        """Whether `path` lies inside the user's tree."""
        return Path(os.path.realpath(path)).is_relative_to(self.root)


def trusts_modes(repo: Repository) -> bool:
    """Whether executable bits in the user's tree mean something (`core.fileMode`). Blocking."""
    said = run_git(["config", "--type=bool", "--get", "core.fileMode"], cwd=repo.root, expected=(0, 1))
    return said.strip() != b"false"


def refuse_inside(repo: Repository, home: Path, what: str) -> None:
    """Raise WorkspaceError when `home` lies inside the tree, where `git clean` could destroy it."""
    if repo.holds(home):
        raise WorkspaceError(
            f"{what} would be at {home}, inside the repository {repo.root}",
            mend="set XDG_STATE_HOME to a folder outside the repository",
        )


def _open(path: Path) -> Repository:
    if not path.is_dir():
        raise WorkspaceError(f"{path} is no folder")
    try:
        bare = _ask(path, "--is-bare-repository")
        inside = _ask(path, "--is-inside-work-tree")
        if bare == "true":
            raise WorkspaceError(f"{path} is a bare repository: it has no files to work on", mend="clone it")
        if inside != "true":
            raise WorkspaceError(
                f"{path} is inside a .git folder: no working tree is there",
                mend="go to the repository's folder",
            )
        root = Path(os.path.realpath(_ask(path, "--show-toplevel")))
        return Repository(
            root=root,
            git_dir=_resolved(path, _ask(path, "--absolute-git-dir")),
            common_dir=_resolved(path, _ask(path, "--git-common-dir")),
            objects_dir=_resolved(path, _ask(path, "--git-path", "objects")),
            branch=_branch(path),
        )
    except GitFailedError as error:
        raise _in_words(path, error) from error


def _ask(path: Path, *question: str) -> str:
    answer = run_git(["rev-parse", *question], cwd=path)
    return os.fsdecode(answer.removesuffix(b"\n"))


def _resolved(base: Path, answer: str) -> Path:
    return Path(os.path.realpath(base / answer))


def _branch(path: Path) -> str:
    named = run_git(["symbolic-ref", "-q", "--short", "HEAD"], cwd=path, expected=(0, 1))
    if named:
        return os.fsdecode(named.strip())
    return f"detached at {_ask(path, '--short', 'HEAD')}"


def _in_words(path: Path, error: GitFailedError) -> WorkspaceError:
    if "dubious ownership" in error.stderr:
        return WorkspaceError(
            f"git does not trust {path}: the folder belongs to another user",
            mend=f"git config --global --add safe.directory {shlex.quote(str(path))}",
        )
    if "not a git repository" in error.stderr:
        return WorkspaceError(f"{path} is not in a git repository", mend="git init")
    return WorkspaceError(f"git cannot read {path}: {error.stderr}")
