"""Any set of tasks with any overlapping edits, landed in any order and undone in any order.

More examples than the default: AGENTCOORD_ORDER_EXAMPLES=500.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.pool import Workspace
from agentcoord.workspace.staged import MergeConflict, TreeMoved
from workspace_kit import TOKEN, World, nothing_to_verify, snapshot

EXAMPLES = int(os.environ.get("AGENTCOORD_ORDER_EXAMPLES", "8"))
pytestmark = pytest.mark.timeout(60 + EXAMPLES)
LINES_A_FILE = 12
ORIGINALS = {
    f"f{number}.py": b"".join(b"file %d line %d\n" % (number, line) for line in range(LINES_A_FILE))
    for number in range(3)
}
NEW = ("new/one.py", "two.py")


@dataclass(frozen=True)
class Job:
    """What one task does: lines of files replaced or dropped, and files made."""

    replaced: frozenset[tuple[str, int]]
    dropped: frozenset[tuple[str, int]]
    made: frozenset[str]
    starts_late: bool
    """Its copy is made when it is about to land, with all that landed before in it."""

    def apply(self, name: str, files: dict[str, bytes]) -> dict[str, bytes]:
        """Return the files that it writes, given those of its copy."""
        written = {path: b"made by %s\n" % name.encode() for path in self.made}
        for path in {path for path, _ in self.replaced | self.dropped} & files.keys():
            lines = files[path].splitlines(keepends=True)
            for number in range(len(lines)):
                if (path, number) in self.dropped:
                    lines[number] = b""
                elif (path, number) in self.replaced:
                    lines[number] = b"%s wrote line %d\n" % (name.encode(), number)
            written[path] = b"".join(lines)
        return {path: content for path, content in written.items() if files.get(path) != content}


places = st.frozensets(
    st.tuples(st.sampled_from(sorted(ORIGINALS)), st.integers(0, LINES_A_FILE - 1)), max_size=4
)
jobs = st.builds(
    Job,
    replaced=places,
    dropped=places,
    made=st.frozensets(st.sampled_from(NEW), max_size=1),
    starts_late=st.booleans(),
)


@dataclass
class Play:
    """The tree while tasks land and go, and what each side has written."""

    world: World
    wrote: dict[str, set[bytes]] = field(
        default_factory=lambda: {path: {content} for path, content in ORIGINALS.items()}
    )
    merged: set[str] = field(default_factory=set)
    """Paths that some merge has touched."""
    standing: dict[TaskId, tuple[str, ...]] = field(default_factory=dict)

    async def work(self, name: str, job: Job) -> Workspace | None:
        """Let a task work in its copy; None when it would change nothing."""
        workspace = await self.world.pool.acquire(TaskId(name), 1, fresh=True)
        written = job.apply(name, snapshot(workspace.root))
        for path, content in written.items():
            await asyncio.to_thread(workspace.files.write_bytes, path, content)
            self.wrote.setdefault(path, set()).add(content)
        return workspace if written else None

    async def land(self, workspace: Workspace) -> None:
        before = snapshot(self.world.root)
        ready = await self.world.stage(workspace)
        if isinstance(ready, MergeConflict):
            assert snapshot(self.world.root) == before
            return
        self.merged |= set(ready.merged)
        landed = await self.world.lander.land(
            workspace.task, TOKEN, workspace.task, ready, verify=nothing_to_verify
        )
        assert not isinstance(landed, TreeMoved)
        self.standing[workspace.task] = tuple(file.path for file in landed)

    async def undo(self, task: TaskId) -> None:
        before = snapshot(self.world.root)
        outcome = await self.world.lander.undo(task)
        if outcome.conflicts:
            assert snapshot(self.world.root) == before
            assert outcome.patch
            return
        self.merged |= set(outcome.merged)
        del self.standing[task]

    def judge(self) -> None:
        """No file that neither side wrote; of a merged one, no such line."""
        for path, content in snapshot(self.world.root).items():
            sides = self.wrote[path]
            if path in self.merged:
                known = {line for side in sides for line in side.splitlines(keepends=True)}
                assert set(content.splitlines(keepends=True)) <= known, path
            else:
                assert content in sides, path


async def play(home: Path, tasks: list[Job], landing: list[int], undoing: list[int]) -> None:
    world = await World.make(home, ORIGINALS, size=len(tasks))
    play = Play(world)
    copies = {n: await play.work(f"t{n}", job) for n, job in enumerate(tasks) if not job.starts_late}
    for n in landing:
        copy = copies[n] if n in copies else await play.work(f"t{n}", tasks[n])
        if copy is not None:
            await play.land(copy)
            play.judge()
    for n in undoing + undoing:  # Twice: what stood in the way may be gone by then.
        if TaskId(f"t{n}") in play.standing:
            await play.undo(TaskId(f"t{n}"))
            play.judge()
    left = {path for paths in play.standing.values() for path in paths}
    found = snapshot(world.root)
    for path in (ORIGINALS.keys() | found.keys()) - play.merged - left:
        assert found.get(path) == ORIGINALS.get(path), path
    if not play.merged and not left:
        assert found == ORIGINALS
    assert await world.lander.recover() == ()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), tasks=st.lists(jobs, min_size=2, max_size=4))
def test_tasks_landed_and_undone_in_any_order_leave_the_originals_and_no_file_that_nobody_wrote(
    data: st.DataObject, tasks: list[Job]
) -> None:
    numbers = list(range(len(tasks)))
    landing = data.draw(st.permutations(numbers), label="landing order")
    undoing = data.draw(st.permutations(numbers), label="undo order")
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(play(Path(home), tasks, landing, undoing))
