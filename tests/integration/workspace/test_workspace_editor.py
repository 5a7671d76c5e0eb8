"""A real editor process that saves at random while tasks land and are undone: no save is ever lost.

More rounds than the default: AGENTCOORD_EDITOR_ROUNDS=5000.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from editor_driver import WAYS, text_of

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.history import Operation
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.repository import Repository
from workspace_kit import HandClock, make_repo, nothing_to_verify, snapshot, staged

ROUNDS = int(os.environ.get("AGENTCOORD_EDITOR_ROUNDS", "15"))
SAVES_A_ROUND = 4
LONGEST_PAUSE_US = 60_000
STARTED, OTHER = b"before any save\n", b"another file\n"

pytestmark = pytest.mark.timeout(60 + ROUNDS)


@asynccontextmanager
async def editor(path: Path, way: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The editor's process; it ends with its input."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("editor_driver.py")),
        str(path),
        way,
        stdin=pipe,
        stdout=pipe,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def last_save(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    return int(await process.stdout.readline())


def under_ours(home: Path) -> bytes:
    """What the newest landing found in the file; where that was a landing's too, what lies under that one."""
    blobs, records = Journal(home).blobs, [r for r in Journal(home).load() if r.happened]
    for record in reversed(records):
        (swap,) = (s for s in record.swaps if s.path == "f.py")
        assert swap.before is not None
        found = blobs.read(swap.before.sha256)
        if not found.startswith(b"ours "):
            return found
    raise AssertionError("no landing found anything but landings")


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_whatever_an_editor_saves_while_tasks_land_is_in_the_file_or_under_the_landing(
    tmp_path: Path, way: str
) -> None:
    root, home = make_repo(tmp_path / "repo", {"f.py": STARTED, "other.py": OTHER}), tmp_path / "journal"
    repo = await Repository.open(root)
    lander = Lander(repo, home, clock=HandClock())
    landings = moves = 0
    async with editor(root / "f.py", way) as process, asyncio.TaskGroup() as group:
        assert process.stdin is not None
        for number in range(ROUNDS):
            process.stdin.write(b"%d %d %d\n" % (number, SAVES_A_ROUND, LONGEST_PAUSE_US))
            saving = group.create_task(last_save(process))
            while not saving.done():
                base, other = (root / "f.py").read_bytes(), (root / "other.py").read_bytes()
                landings += 1
                ours = {
                    "f.py": (base, b"ours %d\n" % landings),
                    "other.py": (other, b"other %d\n" % landings),
                }
                token = FencingToken(landings)
                landed = await lander.land(
                    TaskId("t"), token, "t", staged(repo, ours), verify=nothing_to_verify
                )
                moves += isinstance(landed, TreeMoved)
                if isinstance(landed, TreeMoved):
                    assert (root / "other.py").read_bytes() == other
            saved, content = text_of(await saving), (root / "f.py").read_bytes()
            assert content == saved or (content.startswith(b"ours ") and under_ours(home) == saved)
    assert sorted(snapshot(root)) == ["f.py", "other.py"]
    assert 0 < moves < landings


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_whatever_an_editor_saves_while_a_task_is_undone_is_in_the_file(
    tmp_path: Path, way: str
) -> None:
    root, home = make_repo(tmp_path / "repo", {"f.py": STARTED}), tmp_path / "journal"
    repo = await Repository.open(root)
    lander = Lander(repo, home, clock=HandClock())
    async with editor(root / "f.py", way) as process, asyncio.TaskGroup() as group:
        assert process.stdin is not None
        for number in range(ROUNDS):
            task, base = TaskId(f"t{number}"), (root / "f.py").read_bytes()
            ready = staged(repo, {"f.py": (base, b"ours %d\n" % number)})
            landed = await lander.land(task, FencingToken(number), "t", ready, verify=nothing_to_verify)
            assert isinstance(landed, tuple)
            process.stdin.write(b"%d 1 %d\n" % (number, LONGEST_PAUSE_US))
            saving = group.create_task(last_save(process))
            await lander.undo(task)
            saved, content = text_of(await saving), (root / "f.py").read_bytes()
            assert content == saved
    assert sorted(snapshot(root)) == ["f.py"]
    assert [r for r in Journal(home).load() if r.operation is Operation.UNDO]
