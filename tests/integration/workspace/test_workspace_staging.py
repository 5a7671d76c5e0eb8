"""Staging: the task's changes on top of the user's tree as it is now."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.staged import MergeConflict, Staged, TreeMoved
from workspace_kit import LINES, TOKEN, World, nothing_to_verify, save, snapshot, write

TASK = TaskId("a")


async def test_the_proof_tree_is_the_users_tree_now_with_the_changes_on_top(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    ws = await world.work("a", {"a.py": b"A", "d/new.py": b"n"})
    write(ws.root, "__pycache__/left.pyc", b"not in the proof")
    changes = await ws.changes()
    save(world.root, "b.py", b"saved meanwhile")
    async with world.pool.proof() as proof:
        ready = await proof.stage(ws, changes)
        assert isinstance(ready, Staged)
        assert snapshot(proof.root) == {
            "a.py": b"A",
            "b.py": b"saved meanwhile",
            "d/new.py": b"n",
        }
        assert [f.path for f in ready.files] == ["a.py", "d/new.py"]
        stamp = await proof.sync()
        assert snapshot(proof.root) == {"a.py": b"a", "b.py": b"saved meanwhile"}
        assert await world.pool.moved(stamp) == ()


async def test_an_edit_of_the_users_elsewhere_in_the_file_merges_onto_theirs(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    ws = await world.work("a", {"a.py": LINES.replace(b"line 17\n", b"task\n")})
    users = LINES.replace(b"line 2\n", b"user\n")
    save(world.root, "a.py", users)
    ready = await world.stage(ws)
    assert isinstance(ready, Staged)
    assert ready.merged == ("a.py",)
    assert ready.files[0].content == users.replace(b"line 17\n", b"task\n")
    await world.land(ws)
    assert world.read("a.py") == users.replace(b"line 17\n", b"task\n")


@pytest.mark.parametrize("lands", [True, False], ids=["lands", "does not land"])
async def test_what_is_staged_on_top_of_another_is_what_the_tree_is_once_that_has_landed(
    tmp_path: Path, lands: bool
) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    first = await world.work(
        "a", {"a.py": LINES.replace(b"line 2\n", b"first\n"), "bin/tool": b"#!/bin/sh\n"}
    )
    (first.root / "bin/tool").chmod(0o755)
    second = await world.work("b", {"a.py": LINES.replace(b"line 17\n", b"second\n"), "bin/b": b"b"})
    before = await world.stage(first)
    assert isinstance(before, Staged)
    async with world.pool.proof() as proof:
        ready = await proof.stage(second, await second.changes(), ahead=[before])
        proven = snapshot(proof.root)
        assert os.access(proof.root / "bin/tool", os.X_OK)
    assert isinstance(ready, Staged)
    assert ready.merged == ("a.py",)
    if not lands:
        assert await world.pool.confirmed(ready) == TreeMoved(("a.py", "bin/tool"))
        return
    await world.lander.land(first.task, TOKEN, "a", before, verify=nothing_to_verify)
    confirmed = await world.pool.confirmed(ready)
    assert isinstance(confirmed, Staged)
    anew = await world.stage(second)
    assert isinstance(anew, Staged)
    assert anew.tree_hash == ready.tree_hash
    await world.lander.land(second.task, TOKEN, "b", confirmed, verify=nothing_to_verify)
    assert snapshot(world.root) == proven


@pytest.mark.parametrize(
    ("mine", "users"),
    [
        (LINES.replace(b"line 2\n", b"task\n"), LINES.replace(b"line 2\n", b"user\n")),
        (b"\0task", b"\0user"),
        (LINES + b"x", None),
    ],
    ids=["same place", "binary", "removed by the user"],
)
async def test_what_does_not_merge_is_a_conflict_with_a_patch(
    tmp_path: Path, mine: bytes, users: bytes | None
) -> None:
    world = await World.make(tmp_path, {"a.py": LINES, "b.py": b"b\n"})
    ws = await world.work("a", {"a.py": mine, "b.py": b"B\n"})
    if users is None:
        (world.root / "a.py").unlink()
    else:
        save(world.root, "a.py", users)
    ready = await world.stage(ws)
    assert isinstance(ready, MergeConflict)
    assert ready.paths == ("a.py",)
    assert "+B\n" in ready.patch
    assert "a/a.py" in ready.patch


async def test_the_patch_of_a_conflict_applies_to_what_the_task_started_from(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    mine = LINES.replace(b"line 2\n", b"task\n")
    ws = await world.work("a", {"a.py": mine})
    save(world.root, "a.py", LINES.replace(b"line 2\n", b"user\n"))
    ready = await world.stage(ws)
    assert isinstance(ready, MergeConflict)
    write(tmp_path / "elsewhere", "a.py", LINES)
    subprocess.run(["git", "apply", "-"], input=ready.patch.encode(), cwd=tmp_path / "elsewhere", check=True)
    assert (tmp_path / "elsewhere/a.py").read_bytes() == mine


@pytest.mark.parametrize(
    ("path", "base", "mine"),
    [
        ("a.py", b"caf\xe9\n", b"caf\xe9!\n"),
        ("a.bin", bytes(256), bytes(range(256))),
        ("caf\udce9 a\n.py", b"a\n", b"b\n"),
        ("a.py", LINES.replace(b"\n", b"\r\n"), LINES.replace(b"\n", b"\r\n") + b"x"),
        ("long.txt", b"1234567\n" * 150_000, b"7654321\n" * 150_000),
    ],
    ids=["not UTF-8", "binary", "a name", "CRLF", "longer than people read"],
)
async def test_the_patch_of_a_conflict_makes_the_same_bytes(
    tmp_path: Path, path: str, base: bytes, mine: bytes
) -> None:
    world = await World.make(tmp_path, {path: base})
    new = {"blob": b"\0\xff", "empty": b"", "latin": b"\xe4\n"}
    ws = await world.work("a", {path: mine, **new, "run.sh": b"#!/bin/sh\n"})
    (ws.root / "run.sh").chmod(0o755)
    save(world.root, path, b"user\n")
    ready = await world.stage(ws)
    assert isinstance(ready, MergeConflict)
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, path, base)
    patch = ready.patch.encode("utf-8", "surrogateescape")
    subprocess.run(["git", "apply", "-"], input=patch, cwd=elsewhere, check=True)
    assert snapshot(elsewhere) == {path: mine, **new, "run.sh": b"#!/bin/sh\n"}
    assert (elsewhere / "run.sh").stat().st_mode & 0o100


@pytest.mark.parametrize("kind", ["tracked", "ignored", "folder", "link", "parent"])
async def test_a_new_file_where_the_user_has_something_is_a_conflict(tmp_path: Path, kind: str) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", ".gitignore": b"*.log\n"})
    path = "new/x.log.py" if kind != "ignored" else "new/x.py"
    ws = await world.work("a", {path: b"task"})
    changes = await ws.changes()
    match kind:
        case "tracked" | "ignored":
            write(world.root, path, b"user")
            if kind == "ignored":
                write(world.root, ".gitignore", b"new/\n")
        case "folder":
            (world.root / path).mkdir(parents=True)
        case "link":
            (world.root / "new").mkdir()
            (world.root / path).symlink_to("/etc/hostname")
        case "parent":
            write(world.root, "new", b"a file")
    before = snapshot(world.root)
    ready = await world.stage(ws, changes)
    assert isinstance(ready, MergeConflict)
    assert ready.paths == (path,)
    assert snapshot(world.root) == before


async def test_what_the_user_has_already_is_not_staged(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    ws = await world.work("a", {"a.py": b"same", "new.py": b"same", "b.py": b"B"})
    save(world.root, "a.py", b"same")
    write(world.root, "new.py", b"same")
    ready = await world.stage(ws)
    assert isinstance(ready, Staged)
    assert [f.path for f in ready.files] == ["b.py"]


async def test_emptied_and_shrunk_files_are_held_and_small_ones_are_not(tmp_path: Path) -> None:
    big = b"x" * 2000
    files = {"emptied.py": b"x", "shrunk.py": big, "halved.py": big, "small.py": b"x" * 900}
    world = await World.make(tmp_path, files)
    new = {"emptied.py": b"", "shrunk.py": b"y" * 399, "halved.py": b"y" * 400, "small.py": b"y"}
    ready = await world.stage(await world.work("a", new))
    assert isinstance(ready, Staged)
    assert ready.held == ("emptied.py", "shrunk.py")


async def test_a_copy_that_changes_while_it_is_staged_is_an_error(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {"a.py": b"A", "b.py": b"B"})
    changes = await ws.changes()
    write(ws.root, "a.py", b"swapped after the look")
    with pytest.raises(WorkspaceError, match="changed in the copy"):
        await world.stage(ws, changes)
    (ws.root / "a.py").unlink()
    with pytest.raises(WorkspaceError, match="vanished"):
        await world.stage(ws, changes)


async def test_equal_trees_have_equal_hashes_and_others_not(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    hashes = []
    for content in (b"A", b"A", b"B"):
        ws = await world.work("a", {"a.py": content})
        ready = await world.stage(ws)
        assert isinstance(ready, Staged)
        hashes.append(ready.tree_hash)
        await world.pool.release(ws, keep=False)
    assert hashes[0] == hashes[1] != hashes[2]


async def test_moved_names_added_changed_removed_and_retyped_paths_only(
    tmp_path: Path,
) -> None:
    files = dict.fromkeys(("touched", "changed", "removed", "mode", "retyped", "same"), b"x")
    world = await World.make(tmp_path, files)
    (world.root / "link").symlink_to("same")
    async with world.pool.proof() as proof:
        stamp = await proof.sync()
        times = (world.root / "changed").stat()
        os.utime(world.root / "touched")
        (world.root / "changed").write_bytes(b"y")
        os.utime(world.root / "changed", ns=(times.st_atime_ns, times.st_mtime_ns))
        (world.root / "removed").unlink()
        (world.root / "mode").chmod(0o755)
        (world.root / "retyped").unlink()
        (world.root / "retyped").symlink_to("same")
        (world.root / "link").unlink()
        (world.root / "link").symlink_to("touched")
        write(world.root, "d/added", b"n")
        moved = await world.pool.moved(stamp)
    assert moved == ("changed", "d/added", "link", "mode", "removed", "retyped")
