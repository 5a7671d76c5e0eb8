#!/usr/bin/env python3
"""Private copies and landings: the next task's resync against `git worktree add`, and what a landing costs.

Makes repositories of seeded sizes (a median of 5 KB a file, 10 KB on average), then in turn: a new
worktree, and the resync of a copy in which a worker changed files and left others, after the user changed
48. Both are medians of the same run. `--image` also counts the disk that six copies use on Btrfs and XFS,
each in an image of its own, beside six bare `cp -a --reflink=always` of the same files; that needs root and
the tools that make these file systems.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.staged import Staged, StagedFile
from agentcoord.workspace.user_tree import TreeStamp
from agentcoord.workspace.versions import version_of

MOST_OF_A_WORKTREE: Final = {5_000: 1 / 10, 50_000: 1 / 20}
MOST_MS_A_LANDING: Final = 30.0
MOST_OF_BARE_COPIES: Final = 1.1
"""The user's tree with six copies, against the same with six that share all blocks and have only names."""
USERS_CHANGES: Final = 48
WORKERS_CHANGES: Final = 20
LANDED: Final = 20
A_FOLDER: Final = 50
COPIES: Final = 6
IMAGE_FILES: Final = 2_000
IMAGE_BYTES: Final = 1 << 30
MEDIAN_BYTES, SPREAD = 5_000, 1.2


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds, one of each a round."""

    worktree_s: list[float]
    build_s: float
    resync_s: list[float]
    fsync_s: list[float]
    landing_s: list[float]
    undo_s: list[float]

    @property
    def of_a_worktree(self) -> float:
        return statistics.median(self.resync_s) / statistics.median(self.worktree_s)


async def measured(base: Path, files: int, rounds: int) -> Figures:
    """All figures for one number of files, below `base`."""
    dice = random.Random(files)
    root = make_repository(base / "repo", files, dice)
    repo = await Repository.open(root)
    pool = WorkspacePool(repo, base / "copies", ScopeRules(["**"]), size=1, proof_slots=0)
    begun = time.perf_counter()
    workspace = await pool.acquire(TaskId("first"), 1, fresh=False)
    build_s = time.perf_counter() - begun
    worktree_s, resync_s = [], []
    for number in range(rounds):
        worktree_s.append(new_worktree(root, base / "worktree"))
        for path in dice.sample(range(files), WORKERS_CHANGES):
            (workspace.root / name_of(path)).write_bytes(content(dice))
        (workspace.root / "left").mkdir()
        (workspace.root / "left/behind.o").write_bytes(b"junk")
        await pool.release(workspace, keep=False)
        for path in dice.sample(range(files), USERS_CHANGES):
            (root / name_of(path)).write_bytes(content(dice))
        begun = time.perf_counter()
        workspace = await pool.acquire(TaskId(f"task-{number}"), 1, fresh=False)
        resync_s.append(time.perf_counter() - begun)
        assert not (await workspace.changes()).landable
    os.sync()  # What the worktrees and the copies left for the disk to do is no part of a landing.
    fsync_s = [one_fsync(base / "synced") for _ in range(4 * rounds)]
    landing_s, undo_s = await land_and_undo(repo, base / "journal", dice, rounds)
    fsync_s += [one_fsync(base / "synced") for _ in range(4 * rounds)]
    return Figures(worktree_s, build_s, resync_s, fsync_s, landing_s, undo_s)


async def land_and_undo(
    repo: Repository, home: Path, dice: random.Random, rounds: int
) -> tuple[list[float], list[float]]:
    """Land twenty changed files and take them back, `rounds` times."""
    lander = Lander(repo, home, clock=SystemClock())
    landing_s, undo_s = [], []

    async def holds() -> None:
        """The lease is the store's to measure."""

    for number in range(rounds):
        paths = [name_of(n) for n in range(number * LANDED, (number + 1) * LANDED)]
        changed = {path: ((repo.root / path).read_bytes(), content(dice)) for path in paths}
        files = tuple(
            StagedFile(path, version_of(old, 0o644), version_of(new, 0o644), new)
            for path, (old, new) in changed.items()
        )
        ready = Staged(TreeStamp({}, {}, repo.generation), files, "tree")
        begun = time.perf_counter()
        landed = await lander.land(TaskId(f"l{number}"), FencingToken(number), "t", ready, verify=holds)
        landing_s.append(time.perf_counter() - begun)
        assert not isinstance(landed, TreeMoved)
        begun = time.perf_counter()
        undone = await lander.undo(TaskId(f"l{number}"))
        undo_s.append(time.perf_counter() - begun)
        assert len(undone.restored) == LANDED
    return landing_s, undo_s


def make_repository(root: Path, files: int, dice: random.Random) -> Path:
    """A committed repository of seeded texts."""
    root.mkdir(parents=True)
    git(root, "init", "-q")
    for number in range(files):
        path = root / name_of(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content(dice))
    git(root, "add", "-A")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start")
    return root


def name_of(number: int) -> str:
    return f"part{number // A_FOLDER:04d}/module{number}.py"


def content(dice: random.Random) -> bytes:
    """Text of a size such as source files have."""
    size = min(int(dice.lognormvariate(0, SPREAD) * MEDIAN_BYTES), 500_000)
    words = b"".join(b"value_%06x = %d\n" % (dice.getrandbits(24), n) for n in range(size // 20 + 1))
    return words[: size + 1]


def one_fsync(path: Path) -> float:
    """Seconds until a small new file is on the disk: what a landing mostly waits for."""
    with path.open("wb") as out:
        out.write(b"x" * 1000)
        out.flush()
        begun = time.perf_counter()
        os.fsync(out.fileno())
        return time.perf_counter() - begun


def new_worktree(root: Path, at: Path) -> float:
    """Seconds that `git worktree add` takes; the worktree goes again, which is not counted."""
    begun = time.perf_counter()
    git(root, "worktree", "add", "-q", "--detach", str(at))
    took = time.perf_counter() - begun
    shutil.rmtree(at)
    git(root, "worktree", "prune")
    return took


def git(root: Path, *words: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    # Without its own tidying up, which would go on in the background of what is measured.
    subprocess.run(["git", "-c", "gc.auto=0", *words], cwd=root, env=env, check=True)


async def tree_with_copies(base: Path) -> tuple[float, float]:
    """How many times the space of the user's tree the tree and six copies of it use together.

    Of our copies, and of six that share their blocks and have nothing but the files.
    """
    root = make_repository(base / "repo", IMAGE_FILES, random.Random(1))
    before = used_bytes(base)
    tree = sum(found.stat().st_blocks * 512 for found in root.glob("part*/*"))
    pool = WorkspacePool(
        await Repository.open(root), base / "copies", ScopeRules(["**"]), size=COPIES, proof_slots=0
    )
    await pool.warm()
    for path in (base / "copies/slots").glob("*/tree/part*/*"):
        path.read_bytes()  # As a search does: file systems that note when a file was read may write for that.
    ours = (tree + used_bytes(base) - before) / tree
    shutil.rmtree(base / "copies")
    return ours, (tree + six_bare_copies(root, base)) / tree


def six_bare_copies(root: Path, base: Path) -> int:
    """Bytes that six copies of the same files use when all blocks are shared: names, inodes and folders."""
    before = used_bytes(base)
    for number in range(COPIES):
        copy = base / f"bare{number}"
        copy.mkdir()
        subprocess.run(["cp", "-a", "--reflink=always", *sorted(root.glob("part*")), str(copy)], check=True)
    return used_bytes(base) - before


def used_bytes(folder: Path) -> int:
    os.sync()
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@contextmanager
def mounted_image(base: Path, kind: str) -> Iterator[Path]:
    """A new file system of this kind in a file, mounted. Raises OSError or CalledProcessError."""
    image, at = base / f"{kind}.img", base / kind
    at.mkdir()
    with image.open("wb") as out:
        out.truncate(IMAGE_BYTES)
    for command in ([f"mkfs.{kind}", "-q", str(image)], ["mount", "-o", "loop", str(image), str(at)]):
        subprocess.run(command, check=True, capture_output=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def say(figures: Figures, files: int) -> bool:
    """Print a row for each figure; whether the bounds hold."""
    bound = MOST_OF_A_WORKTREE.get(files, 1.0)
    worktree, resync = statistics.median(figures.worktree_s), statistics.median(figures.resync_s)
    landing, undo = (statistics.median(each) * 1000 for each in (figures.landing_s, figures.undo_s))
    least = min(figures.landing_s) * 1000
    print(f"\n{files:,} files")
    print(f"  git worktree add               {worktree * 1000:10.0f} ms")
    print(f"  first copy                     {figures.build_s * 1000:10.0f} ms")
    print(
        f"  resync before the next task    {resync * 1000:10.0f} ms"
        f"  {figures.of_a_worktree:.3f} of a worktree (at most {bound:.3f})"
    )
    print(
        f"  landing of {LANDED} files            {landing:10.1f} ms"
        f"  least {least:.1f} (at most {MOST_MS_A_LANDING:.0f} ms)"
    )
    print(f"  undo of it                     {undo:10.1f} ms")
    one_ms = statistics.median(figures.fsync_s) * 1000
    print(
        f"  one fsync of a small file      {one_ms:10.1f} ms  a landing is {landing / one_ms:.0f} of it",
        flush=True,
    )
    return figures.of_a_worktree <= bound and landing <= MOST_MS_A_LANDING


def main() -> int:
    """Measure, print, and return 0 when every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, nargs="*", default=list(MOST_OF_A_WORKTREE))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", action="store_true", help="count the disk of six copies, as root")
    wanted = parser.parse_args()
    held = True
    for files in wanted.files:
        with tempfile.TemporaryDirectory(prefix="ac-bw-") as folder:
            held = say(asyncio.run(measured(Path(folder), files, wanted.rounds)), files) and held
    for kind in ("btrfs", "xfs") if wanted.image else ():
        with tempfile.TemporaryDirectory(prefix="ac-bw-") as folder:
            try:
                with mounted_image(Path(folder), kind) as at:
                    share, bare = asyncio.run(tree_with_copies(at))
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"\n{kind}: no image could be made and mounted: {error}")
                continue
            print(
                f"\n{kind}: tree and {COPIES} copies use {share:.2f} of the tree; with six bare reflinked"
                f" copies it would be {bare:.2f}: {share / bare:.2f} of that (bound {MOST_OF_BARE_COPIES})"
            )
            held = held and share <= MOST_OF_BARE_COPIES * bare
    print("\nheld" if held else "\nNOT HELD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
