"""Files that are unlike others: LFS pointers, large ones, names that differ by little, a full disk."""

from __future__ import annotations

import asyncio
import resource
import shutil
import unicodedata
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import DiskShortError
from agentcoord.workspace.mirror import free_floor_problem
from workspace_kit import World, git, make_repo, save, snapshot, write

A, B = TaskId("a"), TaskId("b")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 12345\n"
LARGE_BYTES = 100 * 1024 * 1024


async def test_an_lfs_pointer_is_copied_as_it_is_and_no_filter_is_run(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "model.bin": POINTER})
    write(world.root, ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    ran = tmp_path / "ran"
    for what in ("clean", "smudge", "process"):
        git(world.root, "config", f"filter.lfs.{what}", f"touch {ran}")
    git(world.root, "config", "filter.lfs.required", "true")
    ws = await world.work("a", {"a.py": b"A", "model.bin": POINTER.replace(b"12345", b"54321")})
    assert (await ws.changes()).paths == ("a.py", "model.bin")
    await world.land(ws)
    assert world.read("model.bin") == POINTER.replace(b"12345", b"54321")
    await world.pool.release(ws, keep=False)
    await world.pool.acquire(B, 1, fresh=False)
    await world.lander.undo(A)
    assert world.read("model.bin") == POINTER
    assert not ran.exists()


async def test_a_file_of_100_mb_is_copied_and_resynced_without_being_held_in_memory(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    with (world.root / "large.bin").open("wb") as out:
        out.write(b"start")
        out.truncate(LARGE_BYTES)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ws = await world.pool.acquire(A, 1, fresh=False)
    assert (ws.root / "large.bin").stat().st_size == LARGE_BYTES
    assert (await ws.changes()).landable == ()
    with (ws.root / "large.bin").open("r+b") as out:
        out.write(b"START")
    changes = await ws.changes()
    assert changes.refused == ("large.bin: it is larger than 32 MB",)
    await world.pool.release(ws, keep=False)
    ws = await world.pool.acquire(B, 1, fresh=False)
    with (ws.root / "large.bin").open("rb") as copied:
        assert copied.read(5) == b"start"
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb * 1024 < LARGE_BYTES // 2


NAMES = [
    "Read.md",
    "read.md",
    "caf\u00e9.txt",
    unicodedata.normalize("NFD", "caf\u00e9.txt"),
    "stra\u00dfe",
    "STRASSE",
]


async def test_names_that_differ_only_in_case_or_composition_stay_apart_all_the_way(tmp_path: Path) -> None:
    files = {name: b"%d\n" % number for number, name in enumerate(NAMES)}
    world = await World.make(tmp_path, files)
    ws = await world.work("a", {name: b"new " + content for name, content in files.items()})
    assert snapshot(ws.root) == {name: b"new " + content for name, content in files.items()}
    await world.land(ws)
    assert snapshot(world.root) == {name: b"new " + content for name, content in files.items()}
    await world.lander.undo(A)
    assert snapshot(world.root) == files


async def test_line_ends_of_either_kind_survive_copy_merge_landing_and_undo(tmp_path: Path) -> None:
    lines = [b"line %d\r\n" % n if n % 3 else b"line %d\n" % n for n in range(20)]
    world = await World.make(tmp_path, {"mixed.txt": b"".join(lines)})
    git(world.root, "config", "core.autocrlf", "true")
    ours, users, both = list(lines), list(lines), list(lines)
    ours[2] = both[2] = b"ours\r\n"
    users[17] = both[17] = b"the user's\n"
    ws = await world.work("a", {"mixed.txt": b"".join(ours)})
    save(world.root, "mixed.txt", b"".join(users))
    await world.land(ws)
    assert world.read("mixed.txt") == b"".join(both)
    await world.lander.undo(A)
    assert world.read("mixed.txt") == b"".join(users)


async def test_a_submodule_is_left_out_and_nothing_lands_in_it(tmp_path: Path) -> None:
    inner = make_repo(tmp_path / "inner", {"lib.c": b"l"})
    world = await World.make(tmp_path, {"a.py": b"a"})
    git(world.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "vendor/inner")
    ws = await world.work("a", {"a.py": b"A", "vendor/inner/planted.c": b"p"})
    assert "vendor/inner/lib.c" not in snapshot(ws.root)
    changes = await ws.changes()
    assert changes.paths == ("a.py",)
    assert changes.refused == ("vendor/inner/planted.c: it is inside a repository of its own",)


def test_a_disk_without_room_for_a_copy_and_the_floor_is_named_with_what_is_missing(tmp_path: Path) -> None:
    free = 1 << 30
    assert free_floor_problem(tmp_path, needed_bytes=100 << 20, free_bytes=free) is None
    problem = free_floor_problem(tmp_path, needed_bytes=600 << 20, free_bytes=free)
    assert problem is not None
    assert "1024 MB free" in problem
    assert "1400 MB" in problem


async def test_where_the_disk_has_no_room_for_one_more_copy_a_task_waits_for_one_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=2)
    first = await world.pool.acquire(A, 1, fresh=False)
    asked: list[Path] = []
    real = shutil.disk_usage

    def short_once(path: Path) -> object:
        asked.append(path)
        found = real(path)
        return found._replace(free=0) if len(asked) == 1 else found

    monkeypatch.setattr(shutil, "disk_usage", short_once)
    told: list[str] = []
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.pool.acquire(B, 1, fresh=False, on_wait=told.append))
        while not told:
            await asyncio.to_thread(int)
        await world.pool.release(first, keep=False)
    assert waiting.result().root == first.root
    (words,) = told
    assert words.startswith("for room: the disk of ")
    assert " has 0 MB free" in words
    await world.pool.acquire(A, 1, fresh=False)


@pytest.mark.parametrize("size", [1, 3])
async def test_on_a_full_disk_no_copy_in_which_work_waits_is_given_to_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Nor is one waited for: nobody has any in use."""
    world = await World.make(tmp_path, {"a.py": b"a"}, size=size)
    ws = await world.work("a", {"a.py": b"half done"})
    await world.pool.release(ws, keep=True)
    with monkeypatch.context() as full:
        real = shutil.disk_usage
        full.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=0))
        for _ in range(2):
            with pytest.raises(DiskShortError):
                await world.pool.acquire(B, 1, fresh=False)
    again = await world.pool.acquire(A, 1, fresh=False)
    assert (again.resumed, (again.root / "a.py").read_bytes()) == (True, b"half done")


async def test_a_task_that_waits_for_room_is_told_when_the_copy_in_use_stays_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"}, size=2)
    ws = await world.work("a", {"a.py": b"half done"})
    asked: list[Path] = []
    real = shutil.disk_usage

    def short(path: Path) -> object:
        asked.append(path)
        return real(path)._replace(free=0)

    async def release_once_it_waits() -> None:
        while not asked:
            await asyncio.to_thread(int)
        await world.pool.release(ws, keep=True)

    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", short)
        async with asyncio.TaskGroup() as group:
            group.create_task(release_once_it_waits())
            with pytest.raises(DiskShortError):
                await world.pool.acquire(B, 1, fresh=False)
    assert (await world.pool.acquire(A, 1, fresh=False)).resumed


async def test_a_copy_that_would_not_leave_the_floor_free_is_refused_before_a_byte_is_copied(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    with (world.root / "huge.bin").open("wb") as out:
        out.truncate(4 << 40)  # A hole: it takes no space here, and would in a copy.
    with pytest.raises(DiskShortError, match="free") as refused:
        await world.pool.acquire(A, 1, fresh=False)
    assert "XDG_STATE_HOME" in refused.value.mend
    assert not list((world.state / "copies").glob("slots/*/tree/*"))
    await asyncio.to_thread((world.root / "huge.bin").unlink)
    assert not (await world.pool.acquire(A, 1, fresh=False)).resumed
