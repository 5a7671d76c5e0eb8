"""Hunks of a landed task, taken out of the user's tree: exactly those, and the rest can still be undone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agentcoord.domain.hunks import Hunk, read_diff
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.review.blame import blame
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.staged import UndoOutcome
from workspace_kit import LINES, TOKEN, World, nothing_to_verify, staged, write

T = TaskId("t")
FILES = {"a.py": LINES, "b.py": LINES}


def edited(content: bytes, **lines: str) -> bytes:
    for number, words in lines.items():
        content = content.replace(b"line %d\n" % int(number[1:]), words.encode())
    return content


async def hunks_of(w: World, task: TaskId = T) -> list[Hunk]:
    return [hunk for file in read_diff(await w.lander.diff(task)) for hunk in file.hunks]


async def take_out(w: World, *hunks: Hunk, task: TaskId = T) -> UndoOutcome | TreeMoved:
    def read(path: str) -> bytes | None:
        file = w.root / path
        return file.read_bytes() if file.exists() else None

    keys = {hunk.key for hunk in hunks}
    plan = await w.lander.without(task, keys, read)
    return await w.lander.take_out(task, keys, since_ms=0, proven=plan.wanted_sha256)


async def test_exactly_one_hunk_goes_and_the_task_can_be_undone_later(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n", n15="fifteen\nand more\n"), "new/c.py": b"C\n"})
    one, two, created = await hunks_of(w)
    assert await take_out(w, two) == UndoOutcome(restored=("a.py",))
    assert w.read("a.py") == edited(LINES, n2="two\n")
    assert w.read("new/c.py") == b"C\n"
    assert [hunk.path for hunk in await hunks_of(w)] == ["a.py", "new/c.py"], "the diff shows what is left"
    with pytest.raises(WorkspaceError, match="not in what the task did"):
        await take_out(w, two)
    assert await take_out(w, created) == UndoOutcome(restored=("new/c.py",))
    assert not (w.root / "new").exists(), "with the folder that it had made"
    assert (await w.lander.landed(T)) is not None, "the task still stands"
    again = Lander(w.repo, w.state / "journal", clock=w.lander._clock)
    await again.recover()
    undone = await again.undo(T)
    assert undone.conflicts == ()
    assert {path: w.read(path) for path in FILES} == FILES
    assert one.path == "a.py"


async def test_every_hunk_of_a_file_is_the_file_as_it_was(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n", n15="fifteen\n"), "b.py": edited(LINES, n5="")})
    one, two, other = await hunks_of(w)
    await take_out(w, one, two)
    assert w.read("a.py") == LINES
    assert w.read("b.py") == edited(LINES, n5="")
    await take_out(w, other)
    assert await w.lander.diff(T) == ""
    assert (await w.lander.undo(T)).conflicts == ()
    assert {path: w.read(path) for path in FILES} == FILES


async def test_the_users_and_other_tasks_lines_stay(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n", n15="fifteen\n")})
    await w.land_task("u", {"a.py": edited(LINES, n2="two\n", n8="eight\n", n15="fifteen\n")})
    write(w.root, "a.py", edited(LINES, n2="two\n", n8="eight\n", n15="fifteen\n", n19="mine\n"))
    one, two = await hunks_of(w)
    assert await take_out(w, one) == UndoOutcome(merged=("a.py",))
    assert w.read("a.py") == edited(LINES, n8="eight\n", n15="fifteen\n", n19="mine\n")
    assert [hunk.lines for hunk in await hunks_of(w)] == [two.lines], "others' lines are no part of it"
    assert (await w.lander.undo(TaskId("u"))).conflicts == ()
    assert (await w.lander.undo(T)).conflicts == ()
    assert w.read("a.py") == edited(LINES, n19="mine\n")


async def test_lines_that_somebody_edited_stay_and_nothing_happens(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task(
        "t", {"a.py": edited(LINES, n2="two\n"), "b.py": edited(LINES, n5="five\n"), "c.py": b"C\n"}
    )
    write(w.root, "a.py", edited(LINES, n2="mine\n"))
    write(w.root, "c.py", b"C, mine\n")
    one, two, created = await hunks_of(w)
    assert await take_out(w, one, two) == UndoOutcome(conflicts=("a.py",))
    assert await take_out(w, created) == UndoOutcome(conflicts=("c.py",))
    assert w.read("b.py") == edited(LINES, n5="five\n")


async def test_what_is_not_as_it_was_proven_is_left_alone(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n")})
    (one,) = await hunks_of(w)
    moved = await w.lander.take_out(T, {one.key}, since_ms=0, proven={"a.py": "0" * 64})
    assert moved == TreeMoved(("a.py",))
    assert w.read("a.py") == edited(LINES, n2="two\n")


async def test_lines_that_came_back_have_their_old_author(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("first", {"a.py": edited(LINES, n2="two\n")})
    await w.land_task("t", {"a.py": edited(LINES, n2="second\n", n15="fifteen\n")})
    one, _ = await hunks_of(w)
    await take_out(w, one)
    journal = Journal(w.state / "journal")
    lines = blame("a.py", journal.load(), journal.blobs.read, w.read("a.py"))
    assert {line.text: line.task for line in lines if line.task} == {"two": "first", "fifteen": "t"}


async def test_any_subset_of_any_change_in_any_order(tmp_path: Path) -> None:
    """What is left is what the other hunks say, byte for byte; and the undo brings the rest back."""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    w = await World.make(tmp_path, FILES)
    for round_number in range(6):
        task = TaskId(f"t{round_number}")
        before = [b"%d\n" % dice.randrange(9) for _ in range(60)]
        write(w.root, "a.py", b"".join(before))
        after = before.copy()
        for at in sorted(dice.sample(range(60), 4), reverse=True):
            after[at : at + dice.randrange(3)] = [b"new %d\n" % at] * dice.randrange(3)
        if dice.random() < 0.5:
            after[-1] = after[-1].rstrip(b"\n") or b"x"
        if b"".join(after) == b"".join(before):
            after.append(b"end\n")
        await w.land_task(str(task), {"a.py": b"".join(after)})
        hunks = await hunks_of(w, task)
        gone = dice.sample(hunks, dice.randrange(1, len(hunks) + 1))
        expected = after.copy()
        for hunk in sorted(gone, key=lambda each: -each.new_start):
            there, back = hunk.new_start - (hunk.new_count > 0), hunk.old_start - (hunk.old_count > 0)
            expected[there : there + hunk.new_count] = before[back : back + hunk.old_count]
        for hunk in gone:
            # By where they were: of equal lines git may name another one as the one that went.
            left = [each for each in await hunks_of(w, task) if each.old_start == hunk.old_start]
            assert len(left) == 1, "taking one out leaves the others as they are"
            assert isinstance(await take_out(w, left[0], task=task), UndoOutcome)
        assert w.read("a.py") == b"".join(expected)
        assert (await w.lander.undo(task)).conflicts == ()
        assert w.read("a.py") == b"".join(before)


async def test_a_hunk_that_the_user_took_out_by_hand_needs_no_step(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n", n15="fifteen\n")})
    one, _ = await hunks_of(w)
    write(w.root, "a.py", edited(LINES, n15="fifteen\n", n19="mine\n"))
    plan = await w.lander.without(T, {one.key}, w.read)
    assert (plan.steps, plan.conflicts) == ((), ())


@pytest.mark.parametrize("instead", ["nothing", "a folder"])
async def test_a_file_that_is_no_file_any_more_stands_in_the_way(tmp_path: Path, instead: str) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n"), "b.py": edited(LINES, n2="two\n")})
    one, two = await hunks_of(w)
    proven = (await w.lander.without(T, {one.key, two.key}, w.read)).wanted_sha256
    (w.root / "a.py").unlink()
    if instead == "a folder":
        (w.root / "a.py").mkdir()
    outcome = await w.lander.take_out(T, {one.key, two.key}, since_ms=0, proven=proven)
    assert outcome == UndoOutcome(conflicts=("a.py",))
    assert w.read("b.py") == edited(LINES, n2="two\n")


async def test_each_landing_of_a_task_with_others_lines_between_keeps_its_own_hunks(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n")})
    between = edited(LINES, n2="two\n", n8="mine\n")
    write(w.root, "a.py", between)
    ready = staged(w.repo, {"a.py": (between, edited(between, n15="fifteen\n"))})
    again = FencingToken(TOKEN + 1)
    await w.lander.land(T, again, "t", ready, verify=nothing_to_verify)
    one, two = await hunks_of(w)
    assert await take_out(w, two) == UndoOutcome(restored=("a.py",))
    assert w.read("a.py") == edited(LINES, n2="two\n", n8="mine\n")
    assert [hunk.lines for hunk in await hunks_of(w)] == [one.lines]
    assert await take_out(w, one) == UndoOutcome(merged=("a.py",))
    assert w.read("a.py") == edited(LINES, n8="mine\n")


async def test_hunks_of_what_never_landed_or_was_undone_are_refused_in_words(tmp_path: Path) -> None:
    w = await World.make(tmp_path, FILES)
    await w.land_task("t", {"a.py": edited(LINES, n2="two\n")})
    await w.lander.undo(T)
    with pytest.raises(WorkspaceError, match="landed nothing that stands"):
        await w.lander.without(T, {"any"}, w.read)
    with pytest.raises(WorkspaceError, match="nothing of t stands"):
        await w.lander.lines(T)
