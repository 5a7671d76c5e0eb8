"""Private copies on Btrfs, where one begins as a snapshot of another.

Run by `make btrfs` (as root: scripts/on_btrfs_disk.sh makes and mounts such a disk); the folder is named by
AGENTCOORD_BTRFS_DIR. As root the state is on that disk beside the repository, as it is for most people.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.subvolumes import begin_copy, is_subvolume
from workspace_kit import World, save, snapshot, write

pytestmark = pytest.mark.btrfs

FILES = {f"part{n // 8}/module{n}.py": b"value = %d\n" % n * 500 for n in range(24)} | {"empty": b""}


@pytest.fixture
def disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=os.environ["AGENTCOORD_BTRFS_DIR"]))
    yield folder
    shutil.rmtree(folder)


def places_of(world: World, number: int) -> CopyPlaces:
    return CopyPlaces(world.state / f"copies/slots/{number}")


def given(tree: Path) -> dict[str, tuple[int, int]]:
    """When each file was last changed in any way, and its inode: both are another's when it is copied."""
    found = {path: (tree / path).lstat() for path in FILES}
    return {path: (each.st_ctime_ns, each.st_ino) for path, each in found.items()}


async def test_further_copies_are_snapshots_in_which_nothing_had_to_be_copied(disk: Path) -> None:
    world = await World.make(disk, FILES, size=3)
    first = CopyPlaces(world.state / "copies/proofs/0")
    async with world.pool.proof() as copy:
        await copy.sync()
        # The user's files are so new at first that only a further look can prove them unchanged.
        while (manifest := Manifest.load(first.manifest)) and not all(manifest.entries.sources.values()):
            await copy.sync()
    await world.pool.warm()
    proof = first.tree
    for tree in (world.state / f"copies/slots/{n}/tree" for n in range(3)):
        assert is_subvolume(tree)
        assert snapshot(tree) == FILES
        assert given(tree) == given(proof)
        assert tree.stat().st_dev != proof.stat().st_dev


async def test_reading_a_copy_writes_nothing_into_its_inodes(disk: Path) -> None:
    world = await World.make(disk, FILES, size=1)
    await world.pool.warm()
    tree = world.state / "copies/slots/0/tree"
    before = {p: p.stat().st_atime_ns for p in tree.rglob("*") if ".git" not in p.parts and p.name != "empty"}
    assert snapshot(tree) == FILES
    assert {path: path.stat().st_atime_ns for path in before} == before


async def test_a_task_begins_from_a_snapshot_of_a_copy_in_use_lands_and_is_undone(disk: Path) -> None:
    world = await World.make(disk, FILES, size=2)
    busy = await world.work("busy", {"part0/module0.py": b"half done\n", "junk/j.py": b"j"})
    (busy.root / "part1/module8.py").unlink()
    begin_copy(places_of(world, 7), [])  # Another one's subvolume inside a copy: it stays behind empty.
    (world.state / "copies/slots/7/tree").rename(busy.root / "part2/nested")
    write(busy.root, "part2/nested/deep/d.py", b"d")
    (busy.root / "closed").mkdir(mode=0)
    save(world.root, "part1/module9.py", b"the user's\n")
    ws = await world.work("next", {"part0/module1.py": b"done\n"})
    now = FILES | {"part1/module9.py": b"the user's\n"}
    assert snapshot(ws.root) == now | {"part0/module1.py": b"done\n"}
    assert await world.land(ws)
    assert snapshot(world.root) == now | {"part0/module1.py": b"done\n"}
    assert (busy.root / "part0/module0.py").read_bytes() == b"half done\n"
    assert (busy.root / "part2/nested/deep/d.py").exists()
    assert (await world.lander.undo(TaskId("next"))).restored == ("part0/module1.py",)
    assert snapshot(world.root) == now


@pytest.mark.parametrize("left", ["empty", "no list", "list alone"])
async def test_a_copy_whose_making_was_cut_short_anywhere_is_made_whole(disk: Path, left: str) -> None:
    world = await World.make(disk, FILES, size=2)
    first = await world.work("first", {})
    places = places_of(world, 1)
    begin_copy(places, [] if left == "empty" else [places_of(world, 0)])
    if left == "no list":
        places.manifest.unlink()
    elif left == "list alone":
        shutil.rmtree(places.tree)
    ws = await world.work("second", {})
    assert ws.root == places.tree != first.root
    assert snapshot(ws.root) == FILES
    assert (manifest := Manifest.load(places.manifest)) is not None
    assert set(manifest.entries) == set(FILES)
    assert not (await ws.changes()).landable


async def test_copies_that_came_back_empty_with_their_disk_are_no_tasks_work(disk: Path) -> None:
    """A snapshot of the disk shows each subvolume in it as an empty folder that takes no files."""
    whole, put_back = CopyPlaces(disk / "whole"), CopyPlaces(disk / "put back")
    begin_copy(whole, [])
    write(disk, "whole/manifest.json", b"")
    world = await World.make(whole.tree, FILES, size=1)
    await world.pool.warm()
    await world.pool.release(await world.work("task", {"part0/module0.py": b"work\n"}), keep=True)
    begin_copy(put_back, [whole])
    repo, home = await Repository.open(put_back.tree / "repo"), put_back.tree / "state/copies"
    pool = WorkspacePool(repo, home, world.rules, size=1, proof_slots=1)
    again = await pool.acquire(TaskId("task"), 1, fresh=False)
    assert not again.resumed
    assert snapshot(again.root) == FILES
    async with pool.proof() as proof:
        await proof.sync()
        assert snapshot(proof.root) == FILES


async def test_what_is_no_slots_any_more_is_removed(disk: Path) -> None:
    world = await World.make(disk, FILES, size=2)
    await world.pool.warm()
    smaller = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1, proof_slots=1)
    assert await smaller.cleanup([]) == 1
    assert sorted(path.name for path in (world.state / "copies/slots").iterdir()) == ["0"]
    assert snapshot(world.state / "copies/slots/0/tree") == FILES


async def test_copies_of_before_stay_folders_and_new_ones_are_subvolumes(disk: Path) -> None:
    world = await World.make(disk, FILES, size=2)
    old = places_of(world, 0)
    write(old.tree, "left/behind.py", b"")
    first, second = await world.work("a", {}), await world.work("b", {})
    assert (first.root, is_subvolume(first.root)) == (old.tree, False)
    assert is_subvolume(second.root)
    assert snapshot(first.root) == snapshot(second.root) == FILES
