"""Undoing beside other tasks: what is theirs alone is in nobody's way, and a line of both stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.domain.hunks import read_diff
from agentcoord.domain.ids import TaskId
from agentcoord.workspace.staged import TreeMoved, UndoOutcome
from workspace_kit import World, git, save

A, B, C = TaskId("a"), TaskId("b"), TaskId("c")
BLANK = (7, 13, 23, 27, 33, 43, 53)
LINES = [b"" if number in BLANK else b"line %d" % number for number in range(60)]


def text(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def having(lines: list[bytes], **at: list[bytes]) -> list[bytes]:
    """With these in the place of `line NUMBER`, or of what is called so."""
    lines = list(lines)
    for name, new in at.items():
        place = lines.index(b"line %s" % name[1:].encode())
        lines[place : place + 1] = new
    return lines


ADDED = having(LINES, n10=[b"import os", b"line 10"])
WIDE = having(LINES, n10=[b"b1"], n12=[b"b new", b"", b"line 12"], n16=[b"b3"])
ORDINARY = {
    "it removed the other's line": (ADDED, ADDED, having(LINES, n30=[b"a's"])),
    "it set the other's line back": (having(LINES, n10=[b"x = 5"]), having(LINES, n10=[b"x = 5"]), LINES),
    "the other's was edited": (
        WIDE,
        (tweaked := [b"user's" if line == b"b new" else line for line in WIDE]),
        having(tweaked, n30=[b"a1", b"", b"a2"]),
    ),
    "both have lines that say nothing": (
        having(LINES, n10=[b"def b() {", b"", b"}", b"line 10"]),
        (braces := having(LINES, n10=[b"def b(b) {", b"", b"}", b"line 10"])),
        having(braces, n40=[b"def a() {", b"", b"}", b"line 40"]),
    ),
}


@pytest.mark.parametrize("case", ORDINARY)
async def test_what_landed_on_top_of_others_is_taken_back_whatever_the_user_edited_elsewhere(
    tmp_path: Path, case: str
) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    other, found, mine = ORDINARY[case]
    await world.land_task("b", {"f.py": text(other)})
    save(world.root, "f.py", text(found))
    await world.land_task("a", {"f.py": text(mine), "g.py": b"g"})
    save(world.root, "f.py", text(having(mine, n50=[b"user's own"])))
    assert (await world.lander.undo(A)).conflicts == ()
    assert world.read("f.py") == text(having(found, n50=[b"user's own"]))


async def test_a_line_of_a_landing_that_came_back_from_a_stash_stays(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    theirs = having(ADDED, n40=[b"b's"])
    await world.land_task("b", {"f.py": text(theirs)})
    git(world.root, "stash", "-q")
    await world.land_task("a", {"f.py": text(ADDED)})
    git(world.root, "commit", "-q", "-a", "-m", "a")
    git(world.root, "stash", "pop", "-q")
    assert world.read("f.py") == text(theirs)
    assert (await world.lander.undo(A)).conflicts == ("f.py",)
    assert world.read("f.py") == text(theirs)


async def test_what_the_user_reverted_of_another_task_is_in_nobodys_way(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("b", {"f.py": text(having(ADDED, n40=[b"b's"]))})
    git(world.root, "checkout", "-q", "--", "f.py")
    await world.land_task("a", {"f.py": text(ADDED)})
    save(world.root, "f.py", text(having(ADDED, n50=[b"user's own"])))
    assert await world.lander.undo(A) == UndoOutcome(merged=("f.py",))
    assert world.read("f.py") == text(having(LINES, n50=[b"user's own"]))


async def test_what_landed_beside_a_line_of_ours_and_was_edited_since_is_in_nobodys_way(
    tmp_path: Path,
) -> None:
    ours, theirs = [b"one:", b"return None"], [b"two:", b"b = 2", b"return None"]
    first = having(LINES, n2=[b"return None"])
    world = await World.make(tmp_path, {"f.py": text(first)})
    await world.land_task("a", {"f.py": text(having(first, n20=ours))})
    save(world.root, "f.py", text(having(LINES, n2=[], n20=ours)))
    await world.land_task("b", {"f.py": text(having(LINES, n2=[], n20=ours, n40=theirs))})
    edited = [b"two:", b"b = 3", b"return None"]
    save(world.root, "f.py", text(having(LINES, n2=[], n20=ours, n40=edited)))
    assert await world.lander.undo(A) == UndoOutcome(merged=("f.py",))
    assert world.read("f.py") == text(having(LINES, n2=[], n40=edited))


@pytest.mark.parametrize("edited", [False, True])
async def test_a_shared_line_stays_where_ours_was_taken_out_in_part_before_the_other_landed(
    tmp_path: Path, *, edited: bool
) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("a", {"f.py": text(having(LINES, n10=[b"shared"], n40=[b"a's"]))})
    left = having(LINES, n40=[b"a's"])
    save(world.root, "f.py", text(left))
    landed = having(left, n10=[b"shared"], n30=[b"b's"])
    await world.land_task("b", {"f.py": text(landed)})
    save(world.root, "f.py", text([b"user's" if edited and line == b"b's" else line for line in landed]))
    there = world.read("f.py")
    assert (await world.lander.undo(A)).conflicts == ("f.py",)
    assert world.read("f.py") == there


async def take_out(world: World, number: int) -> UndoOutcome | TreeMoved:
    hunks = [hunk for file in read_diff(await world.lander.diff(A)) for hunk in file.hunks]
    keys = [hunks[number].key]
    plan = await world.lander.without(A, keys, lambda path: (world.root / path).read_bytes())
    return await world.lander.take_out(A, keys, since_ms=0, proven=plan.wanted_sha256)


async def test_what_was_taken_out_of_a_task_and_landed_by_another_stays(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    mine = having(LINES, n10=[b"shared"], n40=[b"a's"])
    await world.land_task("a", {"f.py": text(mine)})
    assert await take_out(world, 0) == UndoOutcome(restored=("f.py",))
    await world.land_task("b", {"f.py": text(mine)})
    assert (await world.lander.undo(A)).conflicts == ("f.py",)
    assert world.read("f.py") == text(mine)
    assert await take_out(world, 0) == UndoOutcome(merged=("f.py",)), "its own can go"


async def test_what_a_task_removed_and_another_brought_back_stays(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("a", {"f.py": text(ADDED)})
    await world.land_task("c", {"f.py": text(LINES)})
    await world.land_task("b", {"f.py": text(having(ADDED, n40=[b"os.getcwd()"]))})
    there = world.read("f.py")
    assert (await world.lander.undo(A)).conflicts == ("f.py",)
    assert world.read("f.py") == there


async def test_a_hunk_that_another_task_landed_as_well_is_not_taken_out(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("a", {"f.py": text(having(LINES, n10=[b"shared"], n40=[b"a's"]))})
    git(world.root, "stash", "-q")
    await world.land_task("b", {"f.py": text(having(LINES, n10=[b"shared"]))})
    there = world.read("f.py")
    assert await take_out(world, 0) == UndoOutcome(conflicts=("f.py",))
    assert world.read("f.py") == there


@pytest.mark.parametrize("booked", [False, True])
@pytest.mark.parametrize("edited", [False, True])
async def test_the_lines_of_a_compacted_task_that_landed_when_the_first_was_away_stay(
    tmp_path: Path, *, booked: bool, edited: bool
) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("a", {"f.py": text(having(LINES, n10=[b"shared"]))})
    git(world.root, "checkout", "-q", "--", "f.py")
    if booked:
        await world.lander.undo(A)
    landed = having(LINES, n10=[b"shared"], n40=[b"c's"])
    await world.land_task("c", {"f.py": text(landed)})
    await world.lander.accept(C)
    assert (await world.lander.compact(keep_ms=-1_000_000)).landings == 1
    if edited:
        save(world.root, "f.py", text(having(landed, n50=[b"user's own"])))
    there = world.read("f.py")
    outcome = await (world.lander.undo_rest(A) if booked else world.lander.undo(A))
    assert outcome.conflicts == ("f.py",)
    assert world.read("f.py") == there


async def test_a_compacted_task_that_landed_on_top_is_in_nobodys_way(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": text(LINES)})
    await world.land_task("a", {"f.py": text(ADDED)})
    on_top = having(ADDED, n40=[b"c's"])
    await world.land_task("c", {"f.py": text(on_top)})
    await world.lander.accept(C)
    assert (await world.lander.compact(keep_ms=-1_000_000)).landings == 1
    save(world.root, "f.py", text(having(on_top, n50=[b"user's own"])))
    assert await world.lander.undo(A) == UndoOutcome(merged=("f.py",))
    assert world.read("f.py") == text(having(LINES, n40=[b"c's"], n50=[b"user's own"]))
