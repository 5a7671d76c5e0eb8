"""A private copy that begins with what others are about to land."""

from __future__ import annotations

from pathlib import Path

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.staged import MergeConflict, Staged
from workspace_kit import LINES, World, save, snapshot

TASK = TaskId("b")
FIRST = LINES.replace(b"line 2\n", b"first\n")
BOTH = FIRST.replace(b"line 17\n", b"second\n")


async def offered(world: World, files: dict[str, bytes]) -> Staged:
    """What a task `a` would land."""
    ready = await world.stage(await world.work("a", files))
    assert isinstance(ready, Staged)
    return ready


async def test_the_copy_begins_with_it_and_it_is_no_change_of_the_workers(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES, "b.py": b"b"})
    ahead = [await offered(world, {"a.py": FIRST, "d/new.py": b"n"})]
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=ahead)
    assert snapshot(ws.root) == {"a.py": FIRST, "b.py": b"b", "d/new.py": b"n"}
    assert await ws.list_files() == ("a.py", "b.py", "d/new.py")
    assert (await ws.changes()).paths == ()
    ws.files.write_bytes("a.py", BOTH)
    assert (await ws.changes()).paths == ("a.py",)


async def test_it_lands_on_its_own_when_the_other_does_not(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=[await offered(world, {"a.py": FIRST})])
    ws.files.write_bytes("a.py", BOTH)
    await world.land(ws)
    assert world.read("a.py") == LINES.replace(b"line 17\n", b"second\n")


async def test_what_only_the_other_would_have_created_is_a_conflict_without_it(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=[await offered(world, {"new.py": b"n"})])
    ws.files.write_bytes("new.py", b"N")
    assert isinstance(await world.stage(ws), MergeConflict)


async def test_where_the_user_has_moved_on_the_copy_shows_the_users(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES, "b.py": b"b"})
    ahead = [await offered(world, {"a.py": FIRST, "b.py": b"B"})]
    save(world.root, "b.py", b"saved meanwhile")
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=ahead)
    assert snapshot(ws.root) == {"a.py": FIRST, "b.py": b"saved meanwhile"}


async def test_the_next_user_of_the_copy_gets_the_tree_and_nothing_of_it(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    first = await world.work("a", {"a.py": FIRST, "new.py": b"n"})
    ready = await world.stage(first)
    assert isinstance(ready, Staged)
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=[ready])
    await world.pool.release(ws, keep=False)
    again = await world.pool.acquire(TaskId("c"), 1, fresh=False)
    assert snapshot(again.root) == {"a.py": LINES}


async def test_an_interrupted_task_finds_its_copy_as_it_was_begun(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    ahead = [await offered(world, {"a.py": FIRST})]
    ws = await world.pool.acquire(TASK, 1, fresh=False, ahead=ahead)
    ws.files.write_bytes("a.py", BOTH)
    await world.pool.release(ws, keep=True)
    back = await world.pool.acquire(TASK, 1, fresh=False)
    assert back.resumed
    assert (await back.changes()).paths == ("a.py",)
    assert await back.base_bytes("a.py") == FIRST
