"""Undoing a task again, for what was not in the tree before: whichever of its landings that is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.workspace.staged import UndoOutcome
from workspace_kit import LINES, World, git, nothing_to_verify, save, staged

A = TaskId("a")
ONE, TWO = LINES.replace(b"line 2\n", b"one\n"), LINES.replace(b"line 15\n", b"two\n")


async def rejected_in_a_stash(world: World) -> None:
    """Reject a landing that is in a stash; land again, and take that back for good."""
    await world.land_task("a", {"f.py": ONE})
    git(world.root, "stash", "-q")
    assert await world.lander.undo(A, rejected="no") == UndoOutcome(absent=("f.py",))
    ready = staged(world.repo, {"f.py": (LINES, TWO)})
    await world.lander.land(A, FencingToken(8), "a", ready, verify=nothing_to_verify)
    assert await world.lander.undo(A) == UndoOutcome(restored=("f.py",))


async def test_a_landing_that_was_rejected_in_a_stash_is_taken_out_when_it_is_back(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    await rejected_in_a_stash(world)
    assert not await world.lander.has_rest(A)
    git(world.root, "stash", "pop", "-q")
    assert await world.lander.has_rest(A)
    assert await world.lander.undo_rest(A) == UndoOutcome(restored=("f.py",))
    assert world.read("f.py") == LINES
    assert [each.rejected for each in await world.lander.history()] == ["no", ""]
    await world.lander.undo(A, rejected="after all")
    assert (await world.lander.history())[-1].rejected == "after all"


@pytest.mark.parametrize("content", [ONE, TWO])
async def test_what_was_taken_out_of_each_landing_is_the_users_when_they_write_it(
    tmp_path: Path, content: bytes
) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    await rejected_in_a_stash(world)
    git(world.root, "stash", "pop", "-q")
    await world.lander.undo_rest(A)
    save(world.root, "f.py", content)
    assert await world.lander.undo_rest(A) == UndoOutcome()
    assert world.read("f.py") == content
