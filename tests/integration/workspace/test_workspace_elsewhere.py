"""Undoing while work is in a stash or on another branch, in any order: no line of anybody else goes.

More examples than the default: AGENTCOORD_ELSEWHERE_EXAMPLES=300.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.staged import MergeConflict, TreeMoved, UndoOutcome
from workspace_kit import TOKEN, World, git, nothing_to_verify, save, snapshot

EXAMPLES = int(os.environ.get("AGENTCOORD_ELSEWHERE_EXAMPLES", "8"))
pytestmark = pytest.mark.timeout(60 + EXAMPLES)
TASKS = ("a", "b", "c")
SPACED = b"".join(b"line %d\n" % number for number in range(24))
ORIGINALS = {"f.py": SPACED, "g.py": SPACED}
PLACES = (2, 8, 14, 20)
"""Far enough from each other that git merges one without the next."""

lands = st.tuples(
    st.just("land"),
    st.sampled_from(TASKS),
    st.frozensets(
        st.tuples(st.sampled_from(sorted(ORIGINALS)), st.sampled_from(PLACES)), min_size=1, max_size=3
    ),
    st.booleans(),
)
undoes = st.tuples(st.just("undo"), st.sampled_from(TASKS))
by_git = st.tuples(st.sampled_from(["stash", "stash new", "pop", "commit", "branch", "main", "user"]))


@dataclass
class Play:
    """A tree, and the lines that tasks wrote into it."""

    world: World
    landed: dict[str, frozenset[bytes]] = field(default_factory=dict)
    """By task, all that it wrote."""
    owners: dict[bytes, set[str]] = field(default_factory=dict)
    """Of lines in the tree: who put them there; all who wrote such a line, where git brought it."""

    async def step(self, step: tuple[object, ...]) -> None:
        match step:
            case ("land", str(name), frozenset(places), bool(same)):
                if name not in self.landed:
                    await self.land(name, places, same=same)
            case ("undo", str(name)):
                if name in self.landed:
                    await self.undo(name)
            case (str(what),):
                before = self.lines()
                await asyncio.to_thread(self.by_hand, what)
                for line in self.lines() - before:
                    self.owners[line] = {name for name, wrote in self.landed.items() if line in wrote}
            case _:
                raise AssertionError(step)

    async def land(self, name: str, places: frozenset[tuple[str, int]], *, same: bool) -> None:
        """Write lines of its own, or the same as other tasks do, and a file."""
        who = b"anybody" if same else name.encode()
        workspace = await self.world.pool.acquire(TaskId(name), 1, fresh=True)
        wrote = set()
        for path in {path for path, _ in places}:
            try:
                content = await asyncio.to_thread(workspace.files.read_bytes, path, limit=1 << 20)
            except FileNotFoundError:
                continue
            for number in (each for other, each in places if other == path):
                line = b"%s wrote %s %d\n" % (who, path.encode(), number)
                if line not in content:
                    content = content.replace(b"line %d\n" % number, b"line %d\n" % number + line)
                    wrote.add(line)
            await asyncio.to_thread(workspace.files.write_bytes, path, content)
        ready = await self.world.stage(workspace)
        if not isinstance(ready, MergeConflict) and ready.files:
            landed = await self.world.lander.land(
                workspace.task, TOKEN, name, ready, verify=nothing_to_verify
            )
            assert not isinstance(landed, TreeMoved)
            self.landed[name] = frozenset(wrote)
            self.owners |= {line: {name} for line in wrote}
        await self.world.pool.release(workspace, keep=False)

    async def undo(self, name: str) -> None:
        before = snapshot(self.world.root)
        if await self.world.lander.landed(TaskId(name)) is not None:
            outcome = await self.world.lander.undo(TaskId(name))
        else:
            outcome = await self.world.lander.undo_rest(TaskId(name))
        after = snapshot(self.world.root)
        if outcome.conflicts or outcome == UndoOutcome(gone=outcome.gone, absent=outcome.absent):
            assert after == before
            return
        standing = {
            other for other in self.landed if await self.world.lander.landed(TaskId(other)) is not None
        }
        for path, content in before.items():
            left = set(after.get(path, b"").splitlines(keepends=True))
            lost = set(content.splitlines(keepends=True)) - left
            assert lost <= self.landed[name], (path, lost)
            for line in lost:
                assert not (self.owners[line] - {name}) & standing, (path, line, self.owners)

    def lines(self) -> set[bytes]:
        return {
            line for text in snapshot(self.world.root).values() for line in text.splitlines(keepends=True)
        }

    def by_hand(self, what: str) -> None:
        root = self.world.root
        match what:
            case "stash" | "stash new":
                git(root, "stash", "-q", *(["-u"] if what == "stash new" else []))
            case "pop":
                try:
                    git(root, "stash", "pop", "-q")
                except subprocess.CalledProcessError:  # There is none, or it does not fit.
                    git(root, "reset", "-q", "--hard")
            case "commit":
                git(root, "add", "-A")
                git(root, "commit", "-q", "--allow-empty", "-m", "c")
            case "branch" | "main":
                self.by_hand("commit")
                branch = "other" if what == "branch" else "main"
                git(root, "checkout", "-q", branch)
            case "user":
                content = (root / "f.py").read_bytes()
                save(root, "f.py", content.replace(b"line 11\n", b"line 11\nuser wrote\n"))


async def play(home: Path, steps: list[tuple[object, ...]]) -> None:
    world = await World.make(home, ORIGINALS, size=2)
    git(world.root, "branch", "other")
    play = Play(world)
    for step in steps:
        await play.step(step)
    for name in play.landed:
        await play.undo(name)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(lands, undoes, by_git), min_size=4, max_size=12))
def test_whatever_git_did_between_an_undo_takes_out_no_line_of_anybody_else(
    steps: list[tuple[object, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(play(Path(home), steps))
