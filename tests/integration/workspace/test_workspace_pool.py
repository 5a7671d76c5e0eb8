"""Private copies: what is in them, how they are kept up to date, and whom they belong to."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.staged import Staged
from workspace_kit import World, git, git_state, make_repo, save, snapshot, write

A, B, C = TaskId("a"), TaskId("b"), TaskId("c")


async def test_a_copy_has_uncommitted_and_untracked_files_and_neither_ignored_nor_secret_ones(
    tmp_path: Path,
) -> None:
    files = {"a.py": b"a", "run.sh": b"#!", "gone.py": b"g", ".gitignore": b"*.log\n", ".env": b"tracked"}
    world = await World.make(tmp_path, files)
    write(world.root, "a.py", b"edited\r\n")
    write(world.root, "new.py", b"new")
    write(world.root, "x.log", b"ignored")
    write(world.root, "conf/.env.local", b"KEY=1")
    write(world.root, "deploy.pem", b"KEY")
    write(world.root, "credentials.json", b"KEY")
    (world.root / "gone.py").unlink()
    (world.root / "run.sh").chmod(0o775)
    (world.root / "link").symlink_to("a.py")
    (world.root / "out").symlink_to("/etc/hostname")
    os.mkfifo(world.root / "fifo")
    before = git_state(world.root)
    ws = await world.pool.acquire(A, 1, fresh=False)
    assert snapshot(ws.root) == {
        "a.py": b"edited\r\n",
        "run.sh": b"#!",
        "new.py": b"new",
        ".gitignore": b"*.log\n",
        ".env": b"tracked",
        "link": b"-> a.py",
        "out": b"-> /etc/hostname",
    }
    assert await world.pool.left_out() == ("conf/.env.local", "credentials.json", "deploy.pem")
    assert (ws.root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (ws.root / "a.py").stat().st_mode & 0o777 == 0o644
    assert (ws.root / ".git").is_dir()
    assert git_state(world.root) == before
    assert (await ws.changes()).paths == ()


async def test_odd_names_are_copied_as_they_are(tmp_path: Path) -> None:
    names = ["a\nb.py", "x\udcff.py", "-rf", "ü" * 127 + "x", 'q"uote', " lead", "tab\t", ":(glob)x", "*.py"]
    world = await World.make(tmp_path, {name: os.fsencode(name) for name in names})
    ws = await world.pool.acquire(A, 1, fresh=False)
    assert snapshot(ws.root) == {name: os.fsencode(name) for name in names}


async def test_a_resync_copies_what_the_user_changed_and_removes_what_a_worker_left(
    tmp_path: Path,
) -> None:
    files = {"src/a.py": b"a", "src/b.py": b"b", "src/c.py": b"c", "d/e/f.py": b"f", "top.py": b"t"}
    world = await World.make(tmp_path, files, size=1)
    ws = await world.pool.acquire(A, 1, fresh=False)
    write(ws.root, "src/a.py", b"z")
    (ws.root / "src/c.py").unlink()
    (ws.root / "src/c.py").mkdir()
    write(ws.root, "src/c.py/junk", b"j")
    write(ws.root, "build/deep/er/junk.o", b"j")
    write(ws.root, ".git/config", b"[core]")
    shutil.rmtree(ws.root / "d")
    (ws.root / "d").symlink_to(world.root / "src")
    (ws.root / "build/deep").chmod(0)
    os.mkfifo(ws.root / "fifo")
    await world.pool.release(ws, keep=False)
    save(world.root, "top.py", b"T")
    write(world.root, "src/new.py", b"n")
    again = await world.pool.acquire(B, 1, fresh=False)
    assert again.root == ws.root
    assert not again.resumed
    assert snapshot(again.root) == snapshot(world.root)
    assert snapshot(world.root) == {**files, "top.py": b"T", "src/new.py": b"n"}
    assert not list((again.root / ".git").iterdir())
    assert (await again.changes()).paths == ()


async def test_what_an_attempt_left_counts_wherever_it_is_and_is_gone_in_the_next(tmp_path: Path) -> None:
    files = {"a.py": b"a", ".gitignore": b"build/\n.venv\n"}
    world = await World.make(tmp_path, files, size=1, share=(".venv",))
    (world.root / ".venv").mkdir()
    ws = await world.pool.acquire(A, 1, fresh=False)
    left = ["new/one", "build/two", ".venv/three", ".git/four", "build/.git/five"]
    for path in left:
        write(ws.root, path, b"x" * 1000)
    assert await ws.grown_bytes() == 1000 * len(left)
    await world.pool.release(ws, keep=True)
    ws = await world.pool.acquire(A, 1, fresh=False)
    assert ws.resumed
    assert await ws.grown_bytes() == 1000 * len(left)
    await world.pool.release(ws, keep=False)
    ws = await world.pool.acquire(A, 2, fresh=False)
    assert await ws.grown_bytes() == 0
    assert not [path for path in left if (ws.root / path).exists()]


async def test_what_neither_side_changed_is_not_copied_again(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    inodes: list[int] = []
    # A file that was written just now is copied again until its times prove something.
    while len(inodes) < 2 or inodes[-1] != inodes[-2]:
        ws = await world.pool.acquire(A, 1, fresh=True)
        inodes.append((ws.root / "a.py").stat().st_ino)
        await world.pool.release(ws, keep=False)
        assert len(inodes) < 100


async def test_a_change_of_equal_size_and_forged_times_is_seen_by_resync_and_by_the_change_set(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"one"}, size=1)
    ws = await world.pool.acquire(A, 1, fresh=False)
    times = (ws.root / "a.py").stat()
    (ws.root / "a.py").write_bytes(b"two")
    os.utime(ws.root / "a.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await ws.changes()).paths == ("a.py",)
    await world.pool.release(ws, keep=False)
    ws = await world.pool.acquire(B, 1, fresh=False)
    assert (ws.root / "a.py").read_bytes() == b"one"


async def test_shared_folders_are_mount_targets_and_map_to_where_they_really_are(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"a", ".gitignore": b".venv\nnode_modules/\n"})
    (tmp_path / "elsewhere").mkdir()
    (root / ".venv").symlink_to(tmp_path / "elsewhere")
    write(root, "web/node_modules/x/index.js", b"x")
    repo = await Repository.open(root)
    share = [".venv", "web/node_modules/", "missing"]
    pool = WorkspacePool(repo, tmp_path / "state", ScopeRules(["**"]), share=share, size=1)
    ws = await pool.acquire(A, 1, fresh=False)
    assert dict(ws.read_only) == {
        tmp_path / "elsewhere": root / ".venv",
        root / "web/node_modules": root / "web/node_modules",
    }
    assert (ws.root / ".venv").is_dir()
    assert not (ws.root / ".venv").is_symlink()
    write(ws.root, "web/node_modules/planted.js", b"x")
    assert not (await ws.changes()).out_of_scope
    await pool.release(ws, keep=False)
    ws = await pool.acquire(B, 1, fresh=False)
    assert not list((ws.root / "web/node_modules").iterdir())


async def test_a_shared_folder_that_git_does_not_ignore_has_not_moved(tmp_path: Path) -> None:
    world = await World.make(
        tmp_path, {"a.py": b"a", "vendor/lib.py": b"", ".gitignore": b".venv/\n"}, share=(".venv", "vendor")
    )
    (tmp_path / "elsewhere").mkdir()
    (world.root / ".venv").symlink_to(tmp_path / "elsewhere")  # The pattern ignores folders alone.
    ws = await world.work("a", {"b.py": b"b"})
    staged = await world.stage(ws)
    assert isinstance(staged, Staged)
    assert await world.pool.moved(staged.stamp) == ()
    async with world.pool.proof() as proof:
        assert await world.pool.moved(await proof.sync()) == ()
    write(world.root, "c.py", b"c")
    assert await world.pool.moved(staged.stamp) == ("c.py",)


@pytest.mark.parametrize("share", ["../x", "/etc", ".git", ""])
async def test_a_share_that_leads_out_is_refused(tmp_path: Path, share: str) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, share=(share,))
    with pytest.raises(WorkspaceError):
        await world.pool.acquire(A, 1, fresh=False)


async def test_worktreeinclude_shows_ignored_files_that_never_land(tmp_path: Path) -> None:
    files = {".gitignore": b"*.cfg\n*.key\n", ".worktreeinclude": b"local.cfg\n*.key\n", "a.py": b"a"}
    world = await World.make(tmp_path, files)
    write(world.root, "local.cfg", b"1")
    write(world.root, "other.cfg", b"2")
    write(world.root, "deploy.key", b"SECRET")
    ws = await world.work("a", {"local.cfg": b"changed"})
    assert sorted(snapshot(ws.root)) == [".gitignore", ".worktreeinclude", "a.py", "local.cfg"]
    changes = await ws.changes()
    assert (changes.paths, changes.out_of_scope, changes.refused) == ((), (), ())


async def test_git_reads_the_shadow_and_sees_the_workers_changes_but_no_remote(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    git(world.root, "remote", "add", "origin", "https://token@example.org/x.git")
    git(world.root, "tag", "-a", "v1", "-m", "v1")
    ws = await world.work("a", {"a.py": b"changed"})
    env = {"PATH": os.environ["PATH"], "GIT_DIR": str(ws.shadow_git), "GIT_WORK_TREE": str(ws.root)}
    # The sandbox mounts the real objects where the alternates point to.
    env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(world.repo.objects_dir)

    def ask(*args: str) -> str:
        return subprocess.run(["git", *args], env=env, capture_output=True, check=True, text=True).stdout

    assert ask("status", "--short", "--", "a.py", "b.py") == " M a.py\n"
    assert ask("log", "--format=%s") == "start\n"
    assert ask("describe") == "v1\n"
    assert ask("remote") == ""
    assert (ws.shadow_git / "objects/info/alternates").read_text() == "/run/objects\n"
    assert b"token" not in b"".join(p.read_bytes() for p in ws.shadow_git.rglob("*") if p.is_file())


async def test_an_attempt_finds_its_work_again_after_a_restart_and_only_that_attempt(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {"a.py": b"half done"})
    other = await world.work("b", {})
    save(world.root, "a.py", b"the user saved")
    restarted = WorkspacePool(world.repo, world.state / "copies", world.rules, size=2)
    again = await restarted.acquire(A, 1, fresh=False)
    assert again.resumed
    assert again.root == ws.root
    assert (again.root / "a.py").read_bytes() == b"half done"
    assert await again.base_text("a.py") == "a"
    assert (await again.changes()).paths == ("a.py",)
    await restarted.release(again, keep=True)
    second = await restarted.acquire(A, 2, fresh=False)
    assert not second.resumed
    assert second.root == ws.root != other.root
    assert (second.root / "a.py").read_bytes() == b"the user saved"


@pytest.mark.parametrize("given_back", [True, False])
async def test_a_copy_that_was_in_use_when_the_machine_went_down_is_made_anew(
    tmp_path: Path, given_back: bool
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"}, size=1)
    ws = await world.work("a", {"a.py": b"half done"})
    if given_back:
        await world.pool.release(ws, keep=True)
        ws = await world.pool.acquire(A, 1, fresh=False)
        assert ws.resumed
        await world.pool.release(ws, keep=True)
    else:
        (ws.root / "b.py").write_bytes(b"")  # As the disk may have it after the power failed.
    (bound,) = world.state.glob("copies/*/*/binding*")
    facts = json.loads(bound.read_text())
    bound.write_text(json.dumps({**facts, "boot": "another"}))
    restarted = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1)
    again = await restarted.acquire(A, 1, fresh=False)
    assert again.resumed == given_back
    assert (again.root / "a.py").read_bytes() == (b"half done" if given_back else b"a")
    assert (again.root / "b.py").read_bytes() == b"b"


async def test_a_copy_that_is_in_use_again_is_not_taken_for_one_that_was_given_back(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    await world.pool.release(await world.work("a", {"a.py": b"half done"}), keep=True)
    assert (await world.pool.acquire(A, 1, fresh=False)).resumed
    (bound,) = world.state.glob("copies/*/*/binding*")
    bound.write_text(bound.read_text().replace('"boot": "', '"boot": "another '))
    restarted = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1)
    assert not (await restarted.acquire(A, 1, fresh=False)).resumed


async def test_fresh_gives_the_same_attempt_an_untouched_copy(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {"a.py": b"x"})
    await world.pool.release(ws, keep=True)
    ws = await world.pool.acquire(A, 1, fresh=True)
    assert not ws.resumed
    assert (ws.root / "a.py").read_bytes() == b"a"


async def test_a_crash_in_the_middle_of_a_resync_never_resumes(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    ws = await world.work("a", {"a.py": b"x"})
    (ws.root.parent / "manifest.json").write_text('{"schema": 1, "entr')
    restarted = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1)
    ws = await restarted.acquire(A, 1, fresh=False)
    assert not ws.resumed
    assert (ws.root / "a.py").read_bytes() == b"a"


async def test_the_binding_unused_longest_is_dropped_when_all_slots_are_bound(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    first = await world.work("a", {"a.py": b"1"})
    second = await world.work("b", {"a.py": b"2"})
    await world.pool.release(second, keep=True)
    await world.pool.release(first, keep=True)
    third = await world.pool.acquire(C, 1, fresh=False)
    assert third.root == second.root
    assert (await world.pool.acquire(A, 1, fresh=False)).resumed


async def test_who_comes_when_all_are_in_use_waits_until_one_is_released(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    ws = await world.pool.acquire(A, 1, fresh=False)
    async with asyncio.TaskGroup() as group:
        cancelled = group.create_task(world.pool.acquire(C, 1, fresh=False))
        waiting = group.create_task(world.pool.acquire(B, 1, fresh=False))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        await world.pool.release(ws, keep=True)
        await world.pool.release(ws, keep=True)
    assert waiting.result().task == B


async def test_a_grown_pool_lets_in_who_waits_and_a_smaller_one_later_keeps_what_is_bound(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    first = await world.work("a", {"a.py": b"1"})
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.pool.acquire(B, 1, fresh=False))
        await asyncio.sleep(0)
        world.pool.grow(2)
    second = waiting.result()
    save(second.root, "a.py", b"2")
    await world.pool.release(first, keep=False)
    await world.pool.release(second, keep=True)
    write(world.state, "copies/slots/5/tree/old.py", b"of no attempt")
    write(world.state, "copies/slots/no-number/tree/old.py", b"x")
    restarted = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1)
    again = await restarted.acquire(B, 1, fresh=False)
    assert again.resumed
    assert (again.root / "a.py").read_bytes() == b"2"
    assert restarted.size == 2
    restarted.grow(3)
    others = [await restarted.acquire(task, 1, fresh=False) for task in (A, C)]
    assert [each.root.parent.name for each in others] == ["0", "5"], "in folders that nobody else has"
    assert not (others[1].root / "old.py").exists()
    assert await restarted.cleanup([B]) == 1
    assert (again.root / "a.py").read_bytes() == b"2"


async def test_copies_of_an_earlier_larger_fleet_are_used_again_and_not_piled_up(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=2)
    for _ in range(3):
        pool = WorkspacePool(world.repo, world.state / "copies", world.rules, size=2)
        await pool.warm()
        pool.grow(4)
        lent = [await pool.acquire(TaskId(f"t{n}"), 1, fresh=False) for n in range(4)]
        for ws in lent:
            await pool.release(ws, keep=False)
        assert sorted(each.name for each in (world.state / "copies/slots").iterdir()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_pool_that_grows_while_its_bindings_are_read_loses_none(tmp_path: Path, turns: int) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=6)
    tasks = [TaskId(f"t{n}") for n in range(6)]
    lent = [await world.pool.acquire(task, 1, fresh=False) for task in tasks]
    for ws in lent:
        await world.pool.release(ws, keep=True)
    pool = WorkspacePool(world.repo, world.state / "copies", world.rules, size=1)
    async with asyncio.TaskGroup() as group:
        warming = group.create_task(pool.warm())
        for _ in range(turns):
            await asyncio.to_thread(int)
        pool.grow(4)
        if turns % 2:
            warming.cancel()
    again = [await pool.acquire(task, 1, fresh=False) for task in tasks]
    assert all(ws.resumed for ws in again)
    assert len({ws.root for ws in again}) == 6


async def test_a_cleanup_takes_no_folder_from_a_slot_that_is_added_meanwhile(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    write(world.state, "copies/slots/3/tree/old.py", b"of no attempt")
    await world.pool.warm()
    async with asyncio.TaskGroup() as group:
        removed = group.create_task(world.pool.cleanup([]))
        await asyncio.sleep(0)
        world.pool.grow(2)
        lent = [await world.pool.acquire(task, 1, fresh=False) for task in (A, B)]
    assert removed.result() == 1
    assert sorted(ws.root.parent.name for ws in lent) == ["0", "4"]


async def test_a_slot_that_was_left_behind_is_nobody_elses_when_the_pool_grows(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    stuck = await world.work("a", {"a.py": b"still written to"})
    world.pool.abandon(A)
    world.pool.grow(3)
    roots = {(await world.pool.acquire(task, 1, fresh=False)).root for task in (A, B, C)}
    assert len(roots) == 3
    assert stuck.root not in roots


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_acquiring_cancelled_midway_leaves_the_slot_free(tmp_path: Path, turns: int) -> None:
    world = await World.make(tmp_path, {f"f{n}.py": b"x" for n in range(50)}, size=1)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.pool.acquire(A, 1, fresh=False))
        for _ in range(turns):
            await asyncio.to_thread(int)
        task.cancel()
    ws = await world.pool.acquire(B, 1, fresh=False)
    assert len(snapshot(ws.root)) == 50
    assert not ws.resumed


async def test_warming_builds_every_copy_once_and_touches_no_bound_one(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {"a.py": b"x"})
    await world.pool.release(ws, keep=True)
    await world.pool.warm()
    await world.pool.warm()
    built = sorted(str(p.relative_to(world.state)) for p in world.state.glob("copies/*/*/manifest.json"))
    assert built == [f"copies/{slot}/manifest.json" for slot in ("proofs/0", "slots/0", "slots/1")]
    assert (await world.pool.acquire(A, 1, fresh=False)).resumed


async def test_cleanup_drops_dead_bindings_and_strays_and_keeps_live_and_used_ones(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=3)
    for name in ("a", "b"):
        await world.pool.release(await world.work(name, {"a.py": b"x"}), keep=True)
    used = await world.work("c", {"a.py": b"x"})
    write(world.state, "copies/slots/9/tree/old.py", b"x")
    old = world.state / "copies/blobs" / ("aa" + "0" * 62)
    write(old.parent, old.name, b"")
    os.utime(old, (0, 0))
    write(world.state, f"copies/blobs/bb/{'bb' * 32}", b"of another layout")
    assert await world.pool.cleanup([A]) == 2
    assert not (world.state / "copies/slots/9").exists()
    assert not old.exists()
    assert not (world.state / "copies/blobs/bb").exists()
    assert (used.root / "a.py").read_bytes() == b"x"
    assert await used.base_text("a.py") == "a"
    assert (await world.pool.acquire(A, 1, fresh=False)).resumed
    assert not (await world.pool.acquire(B, 1, fresh=False)).resumed


async def test_proof_slots_are_lent_one_at_a_time(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    order = []

    async def prove(name: str) -> None:
        async with world.pool.proof() as proof:
            order.append(f"{name} in")
            await proof.sync()
            order.append(f"{name} out")

    async with asyncio.TaskGroup() as group:
        for name in ("one", "two", "three"):
            group.create_task(prove(name))
    assert [o.split()[1] for o in order] == ["in", "out"] * 3


async def test_state_inside_the_repository_is_refused_in_words(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    with pytest.raises(WorkspaceError, match="inside the repository"):
        WorkspacePool(world.repo, world.root / ".agentcoord", world.rules)


async def test_base_contents_are_there_as_they_were_given(tmp_path: Path) -> None:
    big = bytes(range(256)) * 8192
    world = await World.make(tmp_path, {"big.bin": big, "a.py": b"a"})
    ws = await world.work("a", {"a.py": b"x", "big.bin": b"small"})
    assert await ws.base_bytes("big.bin") == big
    with pytest.raises(FileNotFoundError):
        await ws.base_bytes("none.py")
    with pytest.raises(WorkspaceError, match="UTF-8"):
        await ws.base_text("big.bin")


async def test_two_tasks_that_come_first_of_all_at_once_have_a_copy_each(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(world.pool.acquire(task, 1, fresh=False)) for task in (A, B)]
    first, second = (each.result() for each in both)
    assert first.root != second.root
    assert snapshot(first.root) == snapshot(second.root) == {"a.py": b"a"}
