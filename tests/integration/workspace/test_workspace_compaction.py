"""The journal over the days: what outlives `git clean`, and what a cleanup may drop and may not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.compaction import Compaction
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.landing import Lander, UndoOutcome
from workspace_kit import LINES, HandClock, World, git, nothing_to_verify, save, snapshot, staged

A, B, C = TaskId("a"), TaskId("b"), TaskId("c")
DAY_MS = 24 * 3600 * 1000
KEEP_MS = 90 * DAY_MS


class Killed(BaseException):
    """What stands for the end of the process."""


@dataclass
class Days:
    """A world whose days pass when a test says so."""

    world: World

    def pass_days(self, days: int) -> Lander:
        clock = HandClock()
        clock.ms += days * DAY_MS
        self.world.lander = Lander(self.world.repo, self.world.state / "journal", clock=clock)
        return self.world.lander

    def contents(self) -> set[bytes]:
        blobs = Journal(self.world.state / "journal").blobs
        return {blobs.read(sha256) for sha256 in blobs.names()}


@pytest.fixture
async def days(tmp_path: Path) -> Days:
    """Three tasks landed: a and b in one file, c alone; a and c are accepted."""
    world = await World.make(tmp_path, {"f.py": LINES, "g.py": b"g"})
    await world.land_task("a", {"f.py": LINES + b"a\n", "a.py": b"only a"})
    await world.land_task("b", {"f.py": LINES + b"a\nb\n"})
    await world.land_task("c", {"g.py": b"G", "c.py": b"only c"})
    await world.lander.accept(A)
    await world.lander.accept(C)
    return Days(world)


async def test_the_journal_outlives_git_clean_and_undo_still_works(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", ".gitignore": b"build/\n"})
    await world.land_task("a", {"a.py": b"A", "new.py": b"n"})
    git(world.root, "clean", "-fdx")
    git(world.root, "gc", "-q", "--prune=now")
    outcome = await Lander(world.repo, world.state / "journal", clock=HandClock()).undo(A)
    assert outcome == UndoOutcome(restored=("a.py",), gone=("new.py",))
    assert snapshot(world.root) == {"a.py": b"a", ".gitignore": b"build/\n"}


async def test_only_what_was_accepted_long_enough_ago_is_compacted(days: Days) -> None:
    before = days.contents()
    assert await days.pass_days(89).compact(keep_ms=KEEP_MS) == Compaction()
    assert days.contents() == before
    compaction = await days.pass_days(91).compact(keep_ms=KEEP_MS)
    assert compaction.landings == 2
    # What b, which nobody accepted, started from and made stays: a's content is among it.
    assert days.contents() == {LINES + b"a\n", LINES + b"a\nb\n"}
    assert compaction.freed_bytes == sum(map(len, before - days.contents()))
    assert await days.world.lander.compact(keep_ms=KEEP_MS) == Compaction()


async def test_after_a_compaction_the_others_are_undone_and_the_compacted_refused_in_words(
    days: Days,
) -> None:
    lander = days.pass_days(91)
    await lander.compact(keep_ms=KEEP_MS)
    tree = snapshot(days.world.root)
    for task in (A, C):
        with pytest.raises(WorkspaceError, match="was accepted"):
            await lander.undo(task)
        with pytest.raises(WorkspaceError, match="was accepted"):
            await lander.diff(task)
    assert snapshot(days.world.root) == tree
    assert await lander.undo(B) == UndoOutcome(restored=("f.py",))
    assert snapshot(days.world.root) == {**tree, "f.py": LINES + b"a\n"}
    standing = [(r.task, r.undone_at_ms is None) for r in await lander.history()]
    assert standing == [(A, True), (B, False), (C, True)]


async def test_what_was_accepted_and_then_undone_is_kept(days: Days) -> None:
    await days.world.lander.undo(C)
    lander = days.pass_days(91)
    assert (await lander.compact(keep_ms=KEEP_MS)).landings == 1
    assert {b"g", b"G", b"only c"} <= days.contents()
    assert "+only c" in await lander.diff(C)


async def test_a_number_is_never_given_twice_so_no_undo_hits_a_later_landing(days: Days) -> None:
    await days.pass_days(91).compact(keep_ms=KEEP_MS)
    await days.world.land_task("d", {"g.py": b"d"})
    numbers = [r.number for r in Journal(days.world.state / "journal").load()]
    assert numbers == [1, 2, 3, 4]
    assert await days.world.lander.landed(TaskId("d")) is not None


async def test_a_save_of_the_users_that_a_landing_met_is_never_dropped(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"f.py": b"base"})
    days, saves = Days(world), [b"first", b"second", b"third"]

    def save_again(step: str) -> None:
        if step in ("swap 0", "giving back") and saves:
            save(world.root, "f.py", saves.pop(0))

    racing = Lander(world.repo, world.state / "journal", clock=HandClock(), fault=save_again)
    ready = staged(world.repo, {"f.py": (b"base", b"ours")})
    await racing.land(A, FencingToken(1), "t", ready, verify=nothing_to_verify)
    world.lander = Lander(world.repo, world.state / "journal", clock=HandClock())
    await world.land_task("a", {"f.py": b"mine"})
    await world.lander.accept(A)
    met = {b"first", b"second"} & days.contents()
    assert met
    assert (await days.pass_days(91).compact(keep_ms=KEEP_MS)).landings == 1
    assert b"mine" not in days.contents()
    assert met <= days.contents()


async def test_a_compaction_cut_short_anywhere_harms_nobody_and_is_finished_by_the_next(
    days: Days,
) -> None:
    clock = HandClock()
    clock.ms += 91 * DAY_MS
    home, cuts = days.world.state / "journal", 0
    while True:
        left = [cuts + 1]

        def die(step: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(step)

        dying = Lander(days.world.repo, home, clock=clock, fault=die)
        try:
            await dying.compact(keep_ms=KEEP_MS)
            break
        except Killed:
            cuts += 1
        journal = Journal(home)
        for record in journal.load():
            for swap in record.swaps if record.compacted_at_ms is None else ():
                for version in (swap.before, swap.after):
                    assert version is None or len(journal.blobs.read(version.sha256)) == version.size
    assert cuts >= 3
    assert days.contents() == {LINES + b"a\n", LINES + b"a\nb\n"}
    assert await days.pass_days(91).undo(B) == UndoOutcome(restored=("f.py",))
