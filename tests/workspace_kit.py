"""Real repositories, copies and landings for the workspace's tests, in a few lines each."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentcoord.domain.files import ChangeSet, FileVersion, LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.pool import Workspace, WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.staged import MergeConflict, Staged, StagedFile, TreeMoved
from agentcoord.workspace.user_tree import TreeStamp
from agentcoord.workspace.versions import version_of

TOKEN = FencingToken(7)
LINES = b"".join(b"line %d\n" % n for n in range(20))


class HandClock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        self.ms += 1
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        await asyncio.sleep(0)


def git(folder: Path, *args: str) -> str:
    """Run the user's git with a name of their own."""
    env = {n: v for n, v in os.environ.items() if not n.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "user.name=U", "-c", "user.email=u@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run([*command, *args], cwd=folder, capture_output=True, env=env, check=True)
    return done.stdout.decode("utf-8", "surrogateescape")


def write(root: Path, path: str, content: bytes) -> None:
    """Write a file the way a program without any care does."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def save(root: Path, path: str, content: bytes) -> None:
    """Save as an editor does: a new file, renamed over the old."""
    (root / f"{path}.swp~").write_bytes(content)
    (root / f"{path}.swp~").replace(root / path)


def make_repo(root: Path, files: Mapping[str, bytes], *, commit: bool = True) -> Path:
    """Make a repository with these files, committed."""
    root.mkdir(parents=True)
    git(root, "init", "-q")
    for path, content in files.items():
        write(root, path, content)
    if commit and files:
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "start")
    return root


def snapshot(root: Path) -> dict[str, bytes]:
    """Everything in a tree but `.git`: contents of files, targets of symlinks, folders as None-like marks."""
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(root):
        if ".git" in folders and Path(folder) == root:
            folders.remove(".git")
        for name in names:
            path = Path(folder) / name
            content = f"-> {path.readlink()}".encode() if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(root))] = content
        if not names and not folders and Path(folder) != root:
            found[str(Path(folder).relative_to(root)) + "/"] = b""
    return found


def git_state(root: Path) -> dict[str, bytes]:
    """Every file of the user's `.git`."""
    return {str(p): p.read_bytes() for p in (root / ".git").rglob("*") if p.is_file()}


def staged(
    repo: Repository, files: Mapping[str, tuple[bytes | None, bytes]], *, executable: bool = False
) -> Staged:
    """Stage contents by hand: path to (base, new)."""
    mode = 0o755 if executable else 0o644
    listed = tuple(
        StagedFile(path, None if base is None else version_of(base, mode), version_of(new, mode), new)
        for path, (base, new) in files.items()
    )
    return Staged(TreeStamp({}, {}, repo.generation), listed, "tree")


async def nothing_to_verify() -> None:
    """The lease always holds."""


@dataclass
class World:
    """One repository with everything around it."""

    root: Path
    state: Path
    repo: Repository
    rules: ScopeRules
    pool: WorkspacePool
    lander: Lander

    @classmethod
    async def make(
        cls,
        tmp_path: Path,
        files: Mapping[str, bytes],
        *,
        scope: tuple[str, ...] = ("**",),
        share: tuple[str, ...] = (),
        size: int = 2,
        commit: bool = True,
    ) -> World:
        root = make_repo(tmp_path / "repo", files, commit=commit)
        repo = await Repository.open(root)
        rules = ScopeRules(scope)
        state = tmp_path / "state"
        pool = WorkspacePool(repo, state / "copies", rules, share=share, size=size, proof_slots=1)
        return cls(root, state, repo, rules, pool, Lander(repo, state / "journal", clock=HandClock()))

    async def work(self, task: str, files: Mapping[str, bytes], *, attempt: int = 1) -> Workspace:
        """Take a copy for a task and write files into it, as its worker would."""
        ws = await self.pool.acquire(TaskId(task), attempt, fresh=False)
        for path, content in files.items():
            await asyncio.to_thread(ws.files.write_bytes, path, content)
        return ws

    async def stage(self, ws: Workspace, changes: ChangeSet | None = None) -> Staged | MergeConflict:
        async with self.pool.proof() as proof:
            return await proof.stage(ws, changes or await ws.changes())

    async def land(self, ws: Workspace) -> tuple[LandedFile, ...] | TreeMoved:
        """Stage and land what a copy holds."""
        ready = await self.stage(ws)
        assert isinstance(ready, Staged), ready
        return await self.lander.land(ws.task, TOKEN, ws.task, ready, verify=nothing_to_verify)

    async def land_task(self, task: str, files: Mapping[str, bytes]) -> tuple[LandedFile, ...]:
        """A whole task, from the copy to the user's tree."""
        ws = await self.work(task, files)
        landed = await self.land(ws)
        await self.pool.release(ws, keep=False)
        assert not isinstance(landed, TreeMoved), landed
        return landed

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def plain(content: bytes) -> FileVersion:
    """The version of a content with mode 0644."""
    return version_of(content, 0o644)
