"""The change set: what lands, what is only told, what stays behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from agentcoord.domain.files import Change, ChangeKind, FileVersion
from agentcoord.domain.ids import TaskId
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from workspace_kit import World, git, make_repo, plain, snapshot, write


async def test_added_and_modified_files_land_and_deletions_and_old_halves_of_renames_are_told(
    tmp_path: Path,
) -> None:
    files = {"src/a.py": b"a", "src/b.py": b"b", "src/c.py": b"c", "run.sh": b"1"}
    world = await World.make(tmp_path, files)
    (world.root / "run.sh").chmod(0o755)
    ws = await world.work("a", {"src/a.py": b"A", "src/new/n.py": b"n", "run.sh": b"2", "tool.sh": b"#!"})
    (ws.root / "src/b.py").unlink()
    (ws.root / "src/c.py").rename(ws.root / "src/renamed.py")
    (ws.root / "tool.sh").chmod(0o777)
    (ws.root / "empty").mkdir()
    changes = await ws.changes()
    shell = world_version(b"1", 0o755), world_version(b"2", 0o755)
    assert changes.landable == (
        Change("run.sh", ChangeKind.MODIFIED, *shell),
        Change("src/a.py", ChangeKind.MODIFIED, plain(b"a"), plain(b"A")),
        Change("src/new/n.py", ChangeKind.ADDED, None, plain(b"n")),
        Change("src/renamed.py", ChangeKind.ADDED, None, plain(b"c")),
        Change("tool.sh", ChangeKind.ADDED, None, world_version(b"#!", 0o755)),
    )
    assert [(c.path, c.kind) for c in changes.reported] == [
        ("src/b.py", ChangeKind.DELETED),
        ("src/c.py", ChangeKind.DELETED),
    ]
    assert (changes.out_of_scope, changes.refused) == ((), ())
    assert await ws.list_files() == ("run.sh", "src/a.py", "src/new/n.py", "src/renamed.py", "tool.sh")


def world_version(content: bytes, mode: int) -> FileVersion:
    return FileVersion(plain(content).sha256, len(content), mode)


async def test_touching_rewriting_the_same_and_changing_the_mode_are_no_changes(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b", "c.py": b"c"})
    ws = await world.work("a", {"a.py": b"a"})
    os.utime(ws.root / "b.py")
    (ws.root / "c.py").chmod(0o777)
    changes = await ws.changes()
    assert (changes.landable, changes.reported, changes.out_of_scope) == ((), (), ())


async def test_where_git_does_not_trust_the_executable_bit_no_new_file_gets_it(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    git(world.root, "config", "core.fileMode", "false")
    ws = await world.work("a", {"tool.sh": b"#!"})
    (ws.root / "tool.sh").chmod(0o755)
    assert (await ws.changes()).landable == (Change("tool.sh", ChangeKind.ADDED, None, plain(b"#!")),)


async def test_what_git_would_ignore_and_what_tools_leave_is_no_change(tmp_path: Path) -> None:
    files = {"a.py": b"a", ".gitignore": b"*.log\nbuild/\n", "sub/.gitignore": b"out.txt\n"}
    world = await World.make(tmp_path, files)
    write(world.root, ".git/info/exclude", b"private.txt\n")
    ws = await world.work("a", {"real.py": b"r"})
    junk = ["x.log", "build/deep/x.o", "sub/out.txt", "private.txt", "src/__pycache__/a.pyc", ".coverage"]
    junk += ["cache/.gitignore", "cache/v/data", ".pytest_cache/README.md", ".agentcoord-write.tmp"]
    for path in junk:
        write(ws.root, path, b"# made by a tool\n*\n")
    changes = await ws.changes()
    assert changes.paths == ("real.py",)
    assert (changes.out_of_scope, changes.refused) == ((), ())
    assert await ws.list_files() == (".gitignore", "a.py", "real.py", "sub/.gitignore")


async def test_writes_outside_the_scope_are_left_behind_and_named(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"src/a.py": b"a", "setup.py": b"s"}, scope=("src/**",))
    ws = await world.work("a", {"src/a.py": b"A", "setup.py": b"S", "notes.txt": b"n"})
    changes = await ws.changes()
    assert changes.paths == ("src/a.py",)
    assert changes.out_of_scope == ("notes.txt", "setup.py")


async def test_a_gitignore_that_a_worker_writes_hides_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"src/a.py": b"a"})
    ws = await world.work("a", {".gitignore": b"*\n", "src/.gitignore": b"*\n", "src/evil.py": b"e"})
    changes = await ws.changes()
    assert changes.paths == ("src/evil.py",)
    assert [r.partition(":")[0] for r in changes.refused] == [".gitignore", "src/.gitignore"]


async def test_odd_names_are_asked_about_without_being_taken_for_patterns(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", ".gitignore": b"secret*\n"})
    names = {":(glob)x.py": b"1", "*.py": b"2", "[a].py": b"3", "sp ace.py": b"4", 'q"uote.py': b"5"}
    ws = await world.work("a", {**names, "secret:x": b"6"})
    assert (await ws.changes()).paths == tuple(sorted(names))


async def test_a_new_file_inside_a_submodule_or_below_a_link_of_the_user_is_refused(tmp_path: Path) -> None:
    inner = make_repo(tmp_path / "inner", {"a.py": b"x"})
    world = await World.make(tmp_path, {"b.py": b"x", "other/x.py": b"x"})
    git(world.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    (world.root / "link").symlink_to("other")
    ws = await world.pool.acquire(TaskId("a"), 1, fresh=False)
    assert not (ws.root / "sub").exists()
    write(ws.root, "sub/new.py", b"n")
    (ws.root / "link").unlink()
    write(ws.root, "link/new.py", b"n")
    write(ws.root, "ok.py", b"n")
    changes = await ws.changes()
    assert changes.paths == ("ok.py",)
    assert [r.partition(":")[0] for r in changes.refused] == ["link/new.py", "sub/new.py"]


async def test_a_new_file_where_a_sparse_checkout_leaves_one_out_is_refused(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a/x.py": b"x", "b/y.py": b"y"})
    git(world.root, "sparse-checkout", "set", "a")
    ws = await world.work("t", {"b/y.py": b"mine", "b/z.py": b"mine"})
    changes = await ws.changes()
    assert changes.paths == ("b/z.py",)
    assert changes.refused == ("b/y.py: git has a file there that is not checked out",)


async def test_a_flood_of_changed_files_lands_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {})
    (ws.root / "many").mkdir()
    for n in range(2001):
        (ws.root / f"many/{n}").touch()
    changes = await ws.changes()
    assert changes.landable == ()
    assert "2001 files changed" in changes.refused[0]


async def test_a_bottomless_folder_is_refused_and_removed_by_the_next_resync(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=1)
    ws = await world.work("a", {})
    here = os.open(ws.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "nested too deeply" in (await ws.changes()).refused[0]
    await world.pool.release(ws, keep=False)
    ws = await world.pool.acquire(TaskId("b"), 1, fresh=False)
    assert sorted(p.name for p in ws.root.iterdir()) == [".git", "a.py"]


async def test_the_user_removing_files_meanwhile_does_not_break_the_walk(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"src/a.py": b"a", "b.py": b"b"})
    ws = await world.work("a", {"src/a.py": b"A", "src/new.py": b"n"})
    shutil.rmtree(world.root / "src")
    assert (await ws.changes()).paths == ("src/a.py", "src/new.py")


async def test_a_symlink_that_is_made_anew_as_it_was_is_no_change(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    (world.root / "link").symlink_to("a.py")
    ws = await world.work("a", {"a.py": b"A"})
    (ws.root / "link").unlink()
    (ws.root / "link").symlink_to("a.py")
    changes = await ws.changes()
    assert (changes.paths, changes.refused) == (("a.py",), ())
    (ws.root / "link").unlink()
    (ws.root / "link").symlink_to("b.py")
    assert (await ws.changes()).refused == ("link: it is a symlink in the user's tree",)


async def test_of_new_files_that_are_one_name_on_the_users_disk_none_lands_and_both_are_named(
    tmp_path: Path,
) -> None:
    """Here `.git` is `.GIT` too by a second name of the file, as it is anyway where case is folded."""
    world = await World.make(tmp_path, {"a.py": b"a"})
    git(world.root, "init", "-q", "--separate-git-dir", str(tmp_path / "git"))
    (world.root / ".GIT").hardlink_to(world.root / ".git")
    repo = await Repository.open(world.root)
    pool = WorkspacePool(repo, tmp_path / "copies", world.rules, size=1, proof_slots=1)
    ws = await pool.acquire(TaskId("a"), 1, fresh=False)
    for path, content in {"One.py": b"1\n", "one.py": b"2\n", "two.py": b"3\n"}.items():
        write(ws.root, path, content)
    changes = await ws.changes()
    assert changes.paths == ("two.py",)
    assert changes.refused == (
        "One.py: on your disk it is one name with one.py",
        "one.py: on your disk it is one name with One.py",
    )


async def test_what_a_worker_puts_in_the_place_of_a_mount_or_of_a_file_is_gone_from_the_next_copy(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "d/b.py": b"b"}, size=1)
    ws = await world.work("a", {})
    (ws.root / ".git").rmdir()
    (ws.root / ".git").write_bytes(b"gitdir: /elsewhere\n")
    (ws.root / "a.py").unlink()
    write(ws.root, "a.py/below/it.py", b"x")
    shutil.rmtree(ws.root / "d")
    (ws.root / "d").write_bytes(b"no folder")
    await world.pool.release(ws, keep=False)
    ws = await world.pool.acquire(TaskId("b"), 1, fresh=False)
    assert snapshot(ws.root) == {"a.py": b"a", "d/b.py": b"b"}
    assert list((ws.root / ".git").iterdir()) == []


async def test_a_pipe_where_git_has_a_file_is_in_no_copy(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    (world.root / "b.py").unlink()
    os.mkfifo(world.root / "b.py")
    ws = await world.work("a", {"a.py": b"A"})
    assert snapshot(ws.root) == {"a.py": b"A"}
    assert (await ws.changes()).paths == ("a.py",)
