"""Landing, undo and copies in a tree whose file system takes `Main.py` and `main.py` for one file.

Run by `make folding` (as root: scripts/on_folding_disk.sh makes and mounts such disks); the folder is
named by AGENTCOORD_FOLDING_DIR. One of them can neither exchange two names nor tell how a name was spelled,
the other has no links, no modes and no rename that promises to replace nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import LandingRefusedError, WorkspaceError
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.staged import MergeConflict
from workspace_kit import TOKEN, HandClock, World, git, make_repo, nothing_to_verify, snapshot, staged, write

pytestmark = pytest.mark.folding

FILES = {"readme.md": b"read me\n" * 9, "src/main.py": b"m = 1\n" * 9, "src/gr\u00fcn.py": b"g = 1\n"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    folder = Path(tempfile.mkdtemp(dir=os.environ["AGENTCOORD_FOLDING_DIR"]))
    write(folder, "probe", b"")
    assert (folder / "PROBE").exists(), "this file system does not fold case"
    root, state = make_repo(folder / "repo", FILES), tmp_path / "state"
    repo, rules = await Repository.open(root), ScopeRules(("**",))
    pool = WorkspacePool(repo, state / "copies", rules, size=6, proof_slots=1)
    yield World(root, state, repo, rules, pool, Lander(repo, state / "journal", clock=HandClock()))
    assert not [path for path in snapshot(root) if ".agentcoord" in path]
    shutil.rmtree(folder)


async def test_a_task_lands_and_is_undone_as_anywhere(world: World) -> None:
    changed = {
        "src/main.py": FILES["src/main.py"] + b"more\n",
        "src/gr\u00fcn.py": b"g = 2\n",
        "new/n.py": b"n\n",
    }
    await world.land_task("a", changed)
    assert snapshot(world.root) == FILES | changed
    write(world.root, "readme.md", b"the user's own\n")
    outcome = await world.lander.undo(TaskId("a"))
    assert not outcome.conflicts
    assert snapshot(world.root) == FILES | {"readme.md": b"the user's own\n"}


@pytest.mark.parametrize("path", ["README.md", "src/Main.py", "SRC/main.py", "src/GR\u00dcN.py"])
async def test_a_new_file_that_is_the_users_under_another_spelling_is_a_conflict(
    world: World, path: str
) -> None:
    ws = await world.work("a", {path: b"owned\n", "other.py": b"o\n"})
    conflict = await world.stage(ws)
    assert isinstance(conflict, MergeConflict)
    (users,) = (each for each in FILES if each.casefold() == path.casefold())
    assert conflict.why == f"{path} and your {users} are one file on this disk"
    ready = staged(world.repo, {path: (None, b"owned\n")})
    landed = await world.lander.land(TaskId("b"), TOKEN, "t", ready, verify=nothing_to_verify)
    assert isinstance(landed, TreeMoved)
    assert snapshot(world.root) == FILES


async def test_where_lines_clash_as_well_both_are_told(world: World) -> None:
    ws = await world.work("a", {"Readme.md": b"owned\n", "src/main.py": b"ours\n"})
    write(world.root, "src/main.py", b"the user's\n")
    conflict = await world.stage(ws)
    assert isinstance(conflict, MergeConflict)
    assert conflict.why == (
        "Readme.md and your readme.md are one file on this disk; the same lines changed under it: src/main.py"
    )


async def test_a_folder_of_the_users_is_named_too(world: World) -> None:
    ws = await world.work("a", {"SRC": b"a file\n"})
    conflict = await world.stage(ws)
    assert isinstance(conflict, MergeConflict)
    assert conflict.why == "SRC and your src are one file on this disk"


async def test_a_file_that_a_worker_renamed_by_case_alone_harms_nothing(world: World) -> None:
    ws = await world.work("a", {"src/Main.py": b"owned\n"})
    (ws.root / "src/main.py").unlink()
    changes = await ws.changes()
    assert [change.path for change in changes.reported] == ["src/main.py"]
    assert isinstance(await world.stage(ws, changes), MergeConflict)
    assert snapshot(world.root) == FILES


async def test_of_two_new_files_that_are_one_here_none_lands_and_both_are_named(world: World) -> None:
    new = {"src/one.py": (None, b"1\n"), "new.py": (None, b"n\n"), "src/One.py": (None, b"2\n")}
    ready = staged(world.repo, new)
    with pytest.raises(
        LandingRefusedError, match=re.escape("'src/One.py' and 'src/one.py' are one name")
    ) as e:
        await world.lander.land(TaskId("a"), TOKEN, "t", ready, verify=nothing_to_verify)
    assert e.value.paths == ("src/One.py", "src/one.py")
    assert snapshot(world.root) == FILES
    assert not await world.lander.recover()
    await world.land_task("b", {"src/one.py": b"1\n"})
    assert snapshot(world.root) == FILES | {"src/one.py": b"1\n"}


async def test_a_worker_is_told_of_two_new_files_that_are_one_here_and_lands_when_one_is_renamed(
    world: World,
) -> None:
    ws = await world.work("a", {"src/One.py": b"1\n", "src/one.py": b"2\n", "src/two.py": b"3\n"})
    changes = await ws.changes()
    assert changes.refused == (
        "src/One.py: on your disk it is one name with src/one.py",
        "src/one.py: on your disk it is one name with src/One.py",
    )
    assert changes.paths == ("src/two.py",)
    (ws.root / "src/One.py").rename(ws.root / "src/first.py")
    assert isinstance(await world.land(ws), tuple)
    new = {"src/first.py": b"1\n", "src/one.py": b"2\n", "src/two.py": b"3\n"}
    assert snapshot(world.root) == FILES | new


async def test_a_new_file_in_a_folder_spelled_otherwise_lands_there_and_goes_again(world: World) -> None:
    await world.land_task("a", {"SRC/other.py": b"o\n"})
    assert snapshot(world.root) == FILES | {"src/other.py": b"o\n"}
    await world.lander.undo(TaskId("a"))
    assert snapshot(world.root) == FILES


@pytest.mark.parametrize("path", [".GIT/hooks/post-checkout", ".Git/config", "GIT~1/config"])
async def test_git_is_not_reached_by_another_spelling(world: World, path: str) -> None:
    before = {p: p.read_bytes() for p in (world.root / ".git").rglob("*") if p.is_file()}
    ready = staged(world.repo, {path: (None, b"owned\n")})
    with pytest.raises(LandingRefusedError):
        await world.lander.land(TaskId("a"), TOKEN, "t", ready, verify=nothing_to_verify)
    ws = await world.work("b", {})
    with pytest.raises(WorkspaceError):
        ws.files.write_bytes(path, b"owned\n")
    assert {p: p.read_bytes() for p in (world.root / ".git").rglob("*") if p.is_file()} == before


def test_a_landing_without_that_guard_would_have_written_a_hook(world: World) -> None:
    """The control: here `.GIT` is `.git`."""
    write(world.root, ".GIT/hooks/post-checkout", b"#!/bin/sh\n")
    assert (world.root / ".git/hooks/post-checkout").exists()


async def test_a_path_that_git_spells_otherwise_than_the_disk_is_copied_and_lands(world: World) -> None:
    git(world.root, "rm", "-q", "--cached", "src/main.py")
    blob = git(world.root, "hash-object", "-w", "src/main.py").strip()
    git(world.root, "update-index", "--add", "--cacheinfo", f"100644,{blob},src/Main.py")
    ws = await world.work("a", {"src/Main.py": b"changed\n"})
    assert (await ws.changes()).paths == ("src/Main.py",)
    assert isinstance(await world.land(ws), tuple)
    # By the names that the disk tells: FUSE may show the old content under another spelling.
    assert by_folded_name(world) == FILES | {"src/main.py": b"changed\n"}
    await world.lander.undo(TaskId("a"))
    assert by_folded_name(world) == FILES


def by_folded_name(world: World) -> dict[str, bytes]:
    return {path.casefold(): content for path, content in snapshot(world.root).items()}
