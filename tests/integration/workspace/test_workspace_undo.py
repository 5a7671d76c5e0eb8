"""Undo: any task alone, on any day, in any order, all or nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.landing import UndoOutcome
from workspace_kit import (
    LINES,
    TOKEN,
    World,
    git,
    git_state,
    nothing_to_verify,
    save,
    snapshot,
    staged,
    write,
)

A, B, C = TaskId("a"), TaskId("b"), TaskId("c")


async def test_undo_restores_exactly_and_removes_only_what_the_landing_created(tmp_path: Path) -> None:
    files = {"a.py": b"old\r\n", "d/keep.py": b"k"}
    world = await World.make(tmp_path, files)
    (world.root / "a.py").chmod(0o640)
    git = git_state(world.root)
    await world.land_task("a", {"a.py": b"new", "n/e/w.py": b"n", "d/more.py": b"m"})
    write(world.root, "n/users.txt", b"u")
    outcome = await world.lander.undo(A)
    assert outcome == UndoOutcome(restored=("a.py", "d/more.py", "n/e/w.py"))
    assert snapshot(world.root) == {**files, "n/users.txt": b"u"}
    assert (world.root / "a.py").stat().st_mode & 0o777 == 0o640
    assert git_state(world.root) == git
    record = (await world.lander.history())[0]
    assert record.undone_at_ms is not None
    assert await world.lander.landed(A) is None


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_two_tasks_in_one_file_are_undone_in_any_order(tmp_path: Path, order: tuple[str, str]) -> None:
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": LINES})
    first = LINES.replace(b"line 2\n", b"first\n")
    both = first.replace(b"line 17\n", b"second\n")
    await world.land_task("a", {"f.py": first, "only-a.py": b"a"})
    await world.land_task("b", {"f.py": both, "g.py": b"b", "only-b.py": b"b"})
    outcome = await world.lander.undo(TaskId(order[0]))
    if order[0] == "a":
        assert outcome == UndoOutcome(restored=("only-a.py",), merged=("f.py",))
        assert snapshot(world.root) == {
            "f.py": LINES.replace(b"line 17\n", b"second\n"),
            "g.py": b"b",
            "only-b.py": b"b",
        }
    else:
        assert outcome.merged == ()
        assert snapshot(world.root) == {"f.py": first, "g.py": LINES, "only-a.py": b"a"}
    assert (await world.lander.undo(TaskId(order[1]))).conflicts == ()
    assert snapshot(world.root) == {"f.py": LINES, "g.py": LINES}


@pytest.mark.parametrize("order", ["abc", "acb", "bac", "bca", "cab", "cba"])
async def test_three_tasks_in_one_file_are_undone_in_any_order(tmp_path: Path, order: str) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    text, lines = LINES, {"a": b"line 2\n", "b": b"line 9\n", "c": b"line 16\n"}
    for task, line in lines.items():
        text = text.replace(line, task.encode() + b"\n")
        await world.land_task(task, {"f.py": text})
    for task in order:
        assert (await world.lander.undo(TaskId(task))).conflicts == ()
        text = text.replace(
            task.encode() + b"\n", {"a": b"line 2\n", "b": b"line 9\n", "c": b"line 16\n"}[task]
        )
        assert world.read("f.py") == text
    assert world.read("f.py") == LINES


async def test_the_users_own_edits_since_stay(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g"})
    await world.land_task("a", {"f.py": LINES.replace(b"line 2\n", b"task\n"), "g.py": b"G"})
    save(world.root, "f.py", LINES.replace(b"line 2\n", b"task\n").replace(b"line 17\n", b"user\n"))
    assert await world.lander.undo(A) == UndoOutcome(restored=("g.py",), merged=("f.py",))
    assert snapshot(world.root) == {"f.py": LINES.replace(b"line 17\n", b"user\n"), "g.py": b"g"}


async def test_one_conflict_and_nothing_at_all_is_undone_but_a_patch_says_how(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g\n"})
    mine = LINES.replace(b"line 2\n", b"task\n")
    await world.land_task("a", {"f.py": mine, "g.py": b"G\n", "n.py": b"n\n"})
    save(world.root, "f.py", LINES.replace(b"line 2\n", b"user\n"))
    before = snapshot(world.root)
    outcome = await world.lander.undo(A)
    assert (outcome.restored, outcome.merged, outcome.conflicts) == ((), (), ("f.py",))
    assert snapshot(world.root) == before
    assert await world.lander.landed(A) is not None
    elsewhere = tmp_path / "elsewhere"
    for path, content in {"f.py": mine, "g.py": b"G\n", "n.py": b"n\n"}.items():
        write(elsewhere, path, content)
    subprocess.run(["git", "apply", "-"], input=outcome.patch.encode(), cwd=elsewhere, check=True)
    assert snapshot(elsewhere) == {"f.py": LINES, "g.py": b"g\n"}


async def test_by_hand_what_fits_of_a_conflict_is_taken_out_of_an_uncommitted_tree(tmp_path: Path) -> None:
    """As the refusal of the undo says it."""
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g\n"})
    await world.land_task(
        "a", {"f.py": LINES.replace(b"line 2\n", b"task\n"), "g.py": b"G\n", "n.py": b"n\n"}
    )
    save(world.root, "f.py", LINES.replace(b"line 2\n", b"user\n"))
    assert (await world.lander.undo(A)).conflicts == ("f.py",)
    patch = (await world.lander.whole_diff(A)).text.encode()
    by_hand = ["git", "apply", "-R", "--reject"]
    subprocess.run(by_hand, input=patch, cwd=world.root, capture_output=True, check=False)
    assert (world.root / "f.py.rej").exists()
    (world.root / "f.py.rej").unlink()
    assert snapshot(world.root) == {"f.py": LINES.replace(b"line 2\n", b"user\n"), "g.py": b"g\n"}


@pytest.mark.parametrize("what", ["edited", "link", "folder"])
async def test_a_created_file_that_became_something_else_is_a_conflict(tmp_path: Path, what: str) -> None:
    world = await World.make(tmp_path, {"f.py": b"f"})
    await world.land_task("a", {"f.py": b"F", "new.py": b"n"})
    (world.root / "new.py").unlink()
    match what:
        case "edited":
            write(world.root, "new.py", b"the user's")
        case "link":
            (world.root / "new.py").symlink_to("f.py")
        case "folder":
            (world.root / "new.py").mkdir()
    before = snapshot(world.root)
    assert (await world.lander.undo(A)).conflicts == ("new.py",)
    assert snapshot(world.root) == before


async def test_what_the_user_removed_or_reverted_since_is_left_so(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b", "c.py": b"c"})
    await world.land_task("a", {"a.py": b"A", "b.py": b"B", "c.py": b"C", "n.py": b"n"})
    (world.root / "a.py").unlink()
    (world.root / "n.py").unlink()
    save(world.root, "b.py", b"b")
    undone = UndoOutcome(restored=("c.py",), gone=("a.py", "n.py"), absent=("b.py",))
    assert await world.lander.undo(A) == undone, "what was renamed may live on under its new name"
    assert await world.lander.undo(A) == undone
    assert snapshot(world.root) == {"b.py": b"b", "c.py": b"c"}


async def test_undoing_twice_answers_the_same_and_changes_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    await world.land_task("a", {"a.py": b"A"})
    first = await world.lander.undo(A)
    save(world.root, "a.py", b"A")
    assert await world.lander.undo(A) == first
    assert world.read("a.py") == b"A"


async def test_undoing_what_never_landed_is_an_error_in_words(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    with pytest.raises(WorkspaceError, match="nothing to undo"):
        await world.lander.undo(A)


async def test_a_task_that_landed_twice_is_taken_back_whole(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    once = LINES.replace(b"line 2\n", b"once\n")
    await world.land_task("a", {"f.py": once, "n.py": b"1"})
    ready = staged(world.repo, {"f.py": (once, once + b"twice\n"), "n.py": (b"1", b"2")})
    await world.lander.land(A, FencingToken(TOKEN + 1), "again", ready, verify=nothing_to_verify)
    assert (await world.lander.undo(A)).restored == ("f.py", "n.py")
    assert snapshot(world.root) == {"f.py": LINES}


async def test_an_undone_task_may_land_and_be_undone_again(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    for token in (1, 2):
        ready = staged(world.repo, {"a.py": (b"a", b"A")})
        landed = await world.lander.land(A, FencingToken(token), "t", ready, verify=nothing_to_verify)
        assert isinstance(landed, tuple)
        assert await world.lander.landed(A) is not None
        await world.lander.undo(A)
        assert world.read("a.py") == b"a"


@pytest.mark.parametrize("edited", [False, True])
async def test_what_the_user_committed_meanwhile_is_undone_in_the_tree_and_never_in_git(
    tmp_path: Path, *, edited: bool
) -> None:
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g"})
    mine = LINES.replace(b"line 2\n", b"task\n")
    await world.land_task("a", {"f.py": mine, "n.py": b"n"})
    kept = LINES
    if edited:
        save(world.root, "f.py", mine.replace(b"line 17\n", b"user\n"))
        kept = LINES.replace(b"line 17\n", b"user\n")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-q", "-m", "took it over")
    state = git_state(world.root)
    outcome = await world.lander.undo(A)
    assert outcome == UndoOutcome(
        restored=("n.py",) if edited else ("f.py", "n.py"), merged=("f.py",) if edited else ()
    )
    assert snapshot(world.root) == {"f.py": kept, "g.py": b"g"}
    assert git_state(world.root) == state
    assert git(world.root, "status", "--short") == " M f.py\n D n.py\n"


async def test_what_was_in_a_stash_when_its_task_was_undone_is_taken_out_when_it_is_back(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g"})
    landed = LINES.replace(b"line 2\n", b"landed\n")
    await world.land_task("a", {"f.py": landed, "new.py": b"n", "left.py": b"l"})
    git(world.root, "add", "f.py", "new.py")
    git(world.root, "stash", "-q")
    undone = UndoOutcome(restored=("left.py",), gone=("new.py",), absent=("f.py",))
    assert await world.lander.undo(A) == undone
    assert await world.lander.undo_rest(A) == UndoOutcome(gone=("new.py",), absent=("f.py",))
    git(world.root, "stash", "pop", "-q")
    save(world.root, "f.py", landed + b"mine\n")
    write(world.root, "left.py", b"l")
    assert await world.lander.undo_rest(A) == UndoOutcome(restored=("new.py",), merged=("f.py",))
    assert snapshot(world.root) == {"f.py": LINES + b"mine\n", "g.py": b"g", "left.py": b"l"}
    save(world.root, "f.py", landed)
    write(world.root, "new.py", b"n")
    assert await world.lander.undo_rest(A) == UndoOutcome(), "once taken out, it is the user's"
    assert (await world.lander.history())[0].undone_at_ms is not None


async def test_what_stands_in_the_way_of_the_rest_of_an_undo_is_named_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    landed = LINES.replace(b"line 2\n", b"landed\n")
    await world.land_task("a", {"f.py": landed, "new.py": b"n"})
    (world.root / "new.py").unlink()
    save(world.root, "f.py", LINES)
    await world.lander.undo(A)
    save(world.root, "f.py", landed)
    write(world.root, "new.py", b"the user's own")
    there = snapshot(world.root)
    outcome = await world.lander.undo_rest(A)
    assert outcome.conflicts == ("new.py",)
    assert outcome.patch
    assert snapshot(world.root) == there


async def test_nothing_is_left_of_a_task_that_was_never_undone(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": LINES})
    await world.land_task("a", {"f.py": b"F"})
    with pytest.raises(WorkspaceError, match="nothing to undo"):
        await world.lander.undo_rest(A)


@pytest.mark.parametrize("booked", [False, True])
@pytest.mark.parametrize("what", ["line", "file", "binary", "more lines", "more lines, edited"])
async def test_the_same_lines_of_a_task_that_landed_when_the_first_was_in_a_stash_stay(
    tmp_path: Path, what: str, *, booked: bool
) -> None:
    """Whether the first is undone only then, or was undone before."""
    world = await World.make(tmp_path, {"f.py": LINES, "b.bin": b"\0old"})
    first = LINES.replace(b"line 2\n", b"same\n")
    path, one, other = {
        "line": ("f.py", first, first),
        "file": ("n.py", b"n", b"n"),
        "binary": ("b.bin", b"\0new", b"\0new"),
        "more lines": ("f.py", first, first.replace(b"line 17\n", b"b's\n")),
        "more lines, edited": ("f.py", first, first.replace(b"line 2\n", b"line 2\nb's\n")),
    }[what]
    await world.land_task("a", {path: one})
    git(world.root, "stash", "-q", "-u")
    if booked:
        await world.lander.undo(A)
    await world.land_task("b", {path: other})
    if "edited" in what:
        save(world.root, path, other.replace(b"b's\n", b"user's\n"))
    there = snapshot(world.root)
    outcome = await (world.lander.undo_rest(A) if booked else world.lander.undo(A))
    assert outcome.conflicts == (path,)
    assert outcome.patch
    assert snapshot(world.root) == there
    if "edited" not in what:
        assert (await world.lander.undo(B)).conflicts == ()
        assert snapshot(world.root) == {"f.py": LINES, "b.bin": b"\0old"}
