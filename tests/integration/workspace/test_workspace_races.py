"""An editor that saves while a task lands or is undone: no save is ever lost."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.repository import Repository
from workspace_kit import TOKEN, HandClock, World, make_repo, nothing_to_verify, save, snapshot, staged

ROUNDS = 40
BASE, OURS, USERS = b"base " * 100, b"ours " * 100, b"user " * 100
OTHER = b"other"
TASK = TaskId("a")
STEPS = ("verify", "swap 0", "swap 1", "exchanged", "exchanged", "sync folders", "record done", "clear 0")


def save_by_rename(path: Path) -> None:
    save(path.parent, path.name, USERS)


def save_in_place(path: Path) -> None:
    path.write_bytes(USERS)


def save_over_slowly(path: Path) -> None:
    """Open without truncating, and write in pieces through the same descriptor."""
    descriptor = os.open(path, os.O_WRONLY)
    for at in range(0, len(USERS), 100):
        os.pwrite(descriptor, USERS[at : at + 100], at)
    os.close(descriptor)


class Editor:
    """Saves once, from a thread, at a random moment at or after a random step of the landing."""

    def __init__(self, path: Path, way: Callable[[Path], None], chance: random.Random) -> None:
        self._step = chance.choice(STEPS)
        self._start = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(path, way, chance.randrange(60)))
        self._thread.start()

    def hear(self, step: str) -> None:
        if step == self._step:
            self._start.set()

    def join(self) -> None:
        self._start.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self, path: Path, way: Callable[[Path], None], delay_turns: int) -> None:
        self._start.wait(10)
        for _ in range(delay_turns):
            path.exists()
        way(path)


@pytest.mark.parametrize("way", [save_by_rename, save_in_place, save_over_slowly])
async def test_a_save_at_any_moment_of_a_landing_is_what_the_file_holds_in_the_end(
    tmp_path: Path, way: Callable[[Path], None]
) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": OTHER, "f.py": BASE})
    repo = await Repository.open(root)
    chance = random.Random(4)
    landed, moved = 0, 0
    for number in range(ROUNDS):
        (root / "a.py").write_bytes(OTHER)
        (root / "f.py").write_bytes(BASE)
        editor = Editor(root / "f.py", way, chance)
        lander = Lander(repo, tmp_path / "journal", clock=HandClock(), fault=editor.hear)
        ready = staged(repo, {"a.py": (OTHER, b"ours"), "f.py": (BASE, OURS)})
        outcome = await lander.land(TASK, FencingToken(number), "t", ready, verify=nothing_to_verify)
        await asyncio.to_thread(editor.join)
        assert (root / "f.py").read_bytes() == USERS
        if isinstance(outcome, TreeMoved):
            moved += 1
            assert (root / "a.py").read_bytes() == OTHER
        else:
            landed += 1
            assert (root / "a.py").read_bytes() == b"ours"
        assert sorted(snapshot(root)) == ["a.py", "f.py"]
    assert moved + landed == ROUNDS


@pytest.mark.parametrize("way", [save_by_rename, save_in_place])
async def test_a_save_at_any_moment_of_an_undo_is_what_the_file_holds_in_the_end(
    tmp_path: Path, way: Callable[[Path], None]
) -> None:
    root = make_repo(tmp_path / "repo", {"f.py": BASE})
    repo = await Repository.open(root)
    chance = random.Random(5)
    for number in range(ROUNDS):
        (root / "f.py").write_bytes(BASE)
        editor = Editor(root / "f.py", way, chance)
        home = tmp_path / f"journal{number}"
        ready = staged(repo, {"f.py": (BASE, OURS)})
        lander = Lander(repo, home, clock=HandClock())
        await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
        await Lander(repo, home, clock=HandClock(), fault=editor.hear).undo(TASK)
        await asyncio.to_thread(editor.join)
        assert (root / "f.py").read_bytes() == USERS
        assert sorted(snapshot(root)) == ["f.py"]


async def test_a_file_held_open_for_writing_does_not_land_and_the_late_write_is_kept(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"f.py": BASE})
    repo = await Repository.open(root)
    lander = Lander(repo, tmp_path / "journal", clock=HandClock())
    with (root / "f.py").open("r+b") as held:
        ready = staged(repo, {"f.py": (BASE, OURS)})
        outcome = await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
        assert outcome == TreeMoved(("f.py",))
        held.write(USERS)
    assert (root / "f.py").read_bytes() == USERS


async def test_saves_in_the_middle_of_giving_back_end_with_the_newest(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"f.py": BASE})
    repo = await Repository.open(root)
    saves = [b"first", b"second", b"third"]

    def save_again(step: str) -> None:
        if step in ("swap 0", "giving back") and saves:
            save(root, "f.py", saves.pop(0))

    lander = Lander(repo, tmp_path / "journal", clock=HandClock(), fault=save_again)
    ready = staged(repo, {"f.py": (BASE, OURS)})
    assert isinstance(await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify), TreeMoved)
    assert not saves
    assert snapshot(root) == {"f.py": b"third"}
    blobs = Journal(tmp_path / "journal").blobs
    stored = {blobs.read(sha256) for sha256 in blobs.names()}
    assert {b"first", b"second"} & stored  # What a newer save replaced is not lost either.


async def test_a_save_on_top_of_ours_while_the_rest_goes_back_keeps_the_users_part(
    tmp_path: Path,
) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(20))
    root = make_repo(tmp_path / "repo", {"a.py": lines, "b.py": b"b"})
    repo = await Repository.open(root)
    ours = lines.replace(b"line 2\n", b"ours\n")

    def act(step: str) -> None:
        if step == "swap 1":
            save(root, "b.py", b"user")
            save(root, "a.py", ours.replace(b"line 17\n", b"user\n"))

    lander = Lander(repo, tmp_path / "journal", clock=HandClock(), fault=act)
    ready = staged(repo, {"a.py": (lines, ours), "b.py": (b"b", b"B")})
    outcome = await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
    assert outcome == TreeMoved(("b.py",))
    assert snapshot(root) == {"a.py": lines.replace(b"line 17\n", b"user\n"), "b.py": b"user"}


async def test_copies_made_beside_a_landing_never_show_half_of_it(tmp_path: Path) -> None:
    files = {f"f{n}.py": b"0" for n in range(12)}
    world = await World.make(tmp_path, files, size=1)

    async def keep_landing() -> None:
        for number in range(12):
            old, new = b"%d" % number, b"%d" % (number + 1)
            ready = staged(world.repo, dict.fromkeys(files, (old, new)))
            await world.lander.land(TASK, FencingToken(number), "t", ready, verify=nothing_to_verify)

    async with asyncio.TaskGroup() as group:
        landing = group.create_task(keep_landing())
        while not landing.done():
            ws = await world.pool.acquire(TASK, 1, fresh=True)
            assert len(set(snapshot(ws.root).values())) == 1
            await world.pool.release(ws, keep=False)
    assert set(snapshot(world.root).values()) == {b"12"}
