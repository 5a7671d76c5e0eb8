"""Landings and undos that are cut short, and what the user did to the tree before the next start.

A death is a hook that lets nothing more happen, in this process: `kill -9` itself is in
`test_workspace_crashes`. Here a test also says what lies on the disk when recovery begins.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.renames import PlainRenames, Renames
from agentcoord.workspace.staged import UndoOutcome
from workspace_kit import LINES, TOKEN, HandClock, World, nothing_to_verify, save, snapshot, staged, write

TASK = TaskId("cut")
BEFORE = {"a.py": LINES, "d/b.py": b"b\n"}
NEW = {"a.py": LINES + b"task\n", "d/b.py": b"B\n", "n.py": b"new\n"}
AFTER = {**BEFORE, **NEW}
USERS = b"the user's own\n"
NOBODY = 0xFFFFFFFF
"""Of an entry in an access list that names no user: the owner, the group, the mask, others."""


class Dead(BaseException):
    """The process is gone."""


class Dies:
    """A fault hook: at the step `at` comes `act`, then the process dies and takes no further step."""

    def __init__(self, at: str, act: Callable[[], None] | None = None) -> None:
        self._at = at
        self._act = act
        self._is_dead = False

    def __call__(self, step: str) -> None:
        if step == self._at and not self._is_dead:
            self._is_dead = True
            if self._act is not None:
                self._act()
        if self._is_dead:
            raise Dead(step)


class Acts:
    """A fault hook: does what is asked for at a step, once for each time that it is named."""

    def __init__(self, *acts: tuple[str, Callable[[], None]]) -> None:
        self._left = list(acts)

    def __call__(self, step: str) -> None:
        if self._left and self._left[0][0] == step:
            self._left.pop(0)[1]()

    @property
    def is_over(self) -> bool:
        return not self._left


class Stage:
    """A repository, its journal, and landers of one process after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.root = world.root

    def lander(
        self, hear: Callable[[str], None] = lambda step: None, renames: Renames | None = None
    ) -> Lander:
        journal = self.world.state / "journal"
        return Lander(self.world.repo, journal, clock=HandClock(), renames=renames, fault=hear)

    async def land(self, lander: Lander) -> object:
        ready = staged(self.world.repo, {path: (BEFORE.get(path), new) for path, new in NEW.items()})
        return await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)

    async def dies_landing(self, hear: Dies, renames: Renames | None = None) -> None:
        with pytest.raises(Dead):
            await self.land(self.lander(hear, renames))

    async def dies_undoing(self, hear: Dies) -> None:
        await self.land(self.lander())
        with pytest.raises(Dead):
            await self.lander(hear).undo(TASK)

    def save(self, path: str, content: bytes = USERS) -> Callable[[], None]:
        return lambda: save(self.root, path, content)

    def remove_siblings(self) -> None:
        """As `git clean -fdx` does."""
        for sibling in self.root.rglob(".agentcoord-*"):
            sibling.unlink()

    def stored(self) -> set[bytes]:
        """Every content that the journal keeps."""
        blobs = Journal(self.world.state / "journal").blobs
        return {blobs.read(sha256) for sha256 in blobs.names()}


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(await World.make(tmp_path, BEFORE))


async def test_what_was_only_prepared_is_forgotten_with_all_that_it_laid_out(stage: Stage) -> None:
    await stage.dies_landing(Dies("verify"))
    assert [path for path in snapshot(stage.root) if ".agentcoord" in path]
    assert await stage.lander().recover() == ()
    assert snapshot(stage.root) == BEFORE
    assert await stage.land(stage.lander()) != ()


@pytest.mark.parametrize("at", ["swap 1", "swap 2", "sync folders", "clear 0"])
async def test_a_landing_is_finished_although_somebody_removed_what_it_laid_out(
    stage: Stage, at: str
) -> None:
    await stage.dies_landing(Dies(at))
    stage.remove_siblings()
    assert await stage.lander().recover() == (TASK,)
    assert snapshot(stage.root) == AFTER
    assert await stage.lander().recover() == ()


async def test_a_landing_whose_folder_the_user_removed_is_taken_back_whole(stage: Stage) -> None:
    await stage.dies_landing(Dies("swap 1"))
    assert stage.world.read("a.py") == NEW["a.py"]
    shutil.rmtree(stage.root / "d")
    assert await stage.lander().recover() == ()
    assert snapshot(stage.root) == {"a.py": LINES}
    assert await stage.lander().landed(TASK) is None


async def test_a_save_that_had_come_out_goes_back_at_the_next_start_and_so_does_the_rest(
    stage: Stage,
) -> None:
    def saves(step: str) -> None:
        if step == "swap 1":
            save(stage.root, "d/b.py", USERS)
        dies(step)

    dies = Dies("giving back")
    with pytest.raises(Dead):
        await stage.land(stage.lander(saves))
    assert stage.world.read("d/b.py") == NEW["d/b.py"], "the save has come out, and lies beside it"
    assert await stage.lander().recover() == ()
    assert snapshot(stage.root) == {**BEFORE, "d/b.py": USERS}


async def test_a_save_that_had_come_out_of_a_removal_goes_back_at_the_next_start(stage: Stage) -> None:
    await stage.land(stage.lander())

    def saves(step: str) -> None:
        if step == "swap 2":  # The next is the removal of what the landing had created.
            save(stage.root, "n.py", USERS)
        dies(step)

    dies = Dies("removed")
    with pytest.raises(Dead):
        await stage.lander(saves).undo(TASK)
    assert not (stage.root / "n.py").exists()
    assert await stage.lander().recover() == ()
    assert snapshot(stage.root) == {**AFTER, "n.py": USERS}
    assert await stage.lander().landed(TASK) is not None, "it stands: nothing of it was taken back"


async def test_a_save_that_a_death_in_an_exchange_by_steps_met_is_kept_in_the_file_and_in_the_journal(
    stage: Stage,
) -> None:
    class DiesBetween(PlainRenames):
        """Dies when the old file is out of the way and the new one is not in its place."""

        def move(self, folder: int, source: str, target: str) -> None:
            dies("move")
            super().move(folder, source, target)

    dies = Dies("move")

    def saves(step: str) -> None:
        if step == "swap 0":
            save(stage.root, "a.py", USERS)
        if dies._is_dead:
            raise Dead

    renames = DiesBetween(links=False)
    with pytest.raises(Dead):
        await stage.land(stage.lander(saves, renames))
    assert not (stage.root / "a.py").exists()
    assert await stage.lander(renames=PlainRenames(links=False)).recover() == ()
    assert snapshot(stage.root) == {**BEFORE, "a.py": USERS}
    assert USERS in stage.stored()


async def test_a_recovery_that_the_disk_refuses_says_so_and_the_next_one_finishes(stage: Stage) -> None:
    await stage.dies_landing(Dies("swap 1"))

    def full(step: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WorkspaceError, match="cut short and cannot be finished now") as refused:
        await stage.lander(full).recover()
    assert "make the disk writable" in refused.value.mend
    assert await stage.lander().recover() == (TASK,)
    assert snapshot(stage.root) == AFTER


async def test_where_not_even_putting_back_is_possible_the_next_landing_begins_with_it(stage: Stage) -> None:
    refused: list[str] = []

    def full_for_a_while(step: str) -> None:
        if step in ("swap 1", "back 0") and len(refused) < 2:
            refused.append(step)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lander = stage.lander(full_for_a_while)
    with pytest.raises(WorkspaceError, match="disk is full"):
        await stage.land(lander)
    assert refused == ["swap 1", "back 0"]
    assert stage.world.read("a.py") == NEW["a.py"], "half of it is in"
    for expected in (TreeMoved, tuple):  # The first time the tree is no longer what it was staged on.
        ready = staged(stage.world.repo, {"other.py": (None, b"o\n")})
        landed = await lander.land(TaskId("next"), FencingToken(8), "t", ready, verify=nothing_to_verify)
        assert isinstance(landed, expected)
    assert await lander.landed(TASK) is not None, "once its swaps had begun it went forward"
    assert snapshot(stage.root) == {**AFTER, "other.py": b"o\n"}


async def test_what_landed_has_landed_although_clearing_away_failed(stage: Stage) -> None:
    def closed(step: str) -> None:
        if step == "clear 0":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert isinstance(await stage.land(stage.lander(closed)), tuple)
    assert await stage.lander().landed(TASK) is not None
    assert await stage.lander().recover() == (TASK,), "the next start clears away"
    assert snapshot(stage.root) == AFTER


@pytest.mark.parametrize("step", ["sibling 0", "record prepared"])
async def test_a_disk_that_is_full_while_a_landing_is_prepared_is_told_in_words(
    stage: Stage, step: str
) -> None:
    def full(heard: str) -> None:
        if heard == step:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with pytest.raises(WorkspaceError, match="disk is full"):
        await stage.land(stage.lander(full))
    assert snapshot(stage.root) == BEFORE
    assert await stage.land(stage.lander()) != ()


async def test_a_file_that_the_user_creates_over_a_new_one_stays_when_the_rest_goes_back(
    stage: Stage,
) -> None:
    files = {"first.py": (None, b"new\n"), "a.py": (LINES, NEW["a.py"])}
    acts = Acts(("swap 1", stage.save("first.py")), ("swap 1", lambda: None))

    def hear(step: str) -> None:
        if step == "swap 1":
            save(stage.root, "a.py", USERS)
        acts(step)

    ready = staged(stage.world.repo, files)
    moved = await stage.lander(hear).land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
    assert moved == TreeMoved(("a.py", "first.py"))
    assert snapshot(stage.root) == {**BEFORE, "a.py": USERS, "first.py": USERS}


async def test_a_save_on_top_that_cannot_be_merged_stays_and_is_named(stage: Stage) -> None:
    def hear(step: str) -> None:
        if step == "swap 1":
            save(stage.root, "a.py", USERS)
            save(stage.root, "d/b.py", USERS)

    assert await stage.land(stage.lander(hear)) == TreeMoved(("d/b.py", "a.py"))
    assert snapshot(stage.root) == {"a.py": USERS, "d/b.py": USERS}


async def test_a_file_that_had_gone_in_and_was_removed_with_its_folder_stays_removed(stage: Stage) -> None:
    files = {"d/b.py": (b"b\n", b"B\n"), "a.py": (LINES, NEW["a.py"])}

    def hear(step: str) -> None:
        if step == "swap 1":
            shutil.rmtree(stage.root / "d")
            save(stage.root, "a.py", USERS)

    ready = staged(stage.world.repo, files)
    moved = await stage.lander(hear).land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
    assert moved == TreeMoved(("a.py",))
    assert snapshot(stage.root) == {"a.py": USERS}


async def test_what_an_undo_had_removed_comes_back_when_another_file_stops_it(stage: Stage) -> None:
    """Even where somebody removed the file's sibling, from which it would come back."""
    new, wanted = {"a_new.py": b"new\n", "d/b.py": b"B\n"}, {**BEFORE, "a_new.py": b"new\n", "d/b.py": USERS}
    ready = staged(stage.world.repo, {path: (BEFORE.get(path), content) for path, content in new.items()})
    await stage.lander().land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)

    def hear(step: str) -> None:
        if step == "swap 1":
            assert not (stage.root / "a_new.py").exists()
            for sibling in stage.root.glob(".agentcoord-*"):
                sibling.unlink()
            save(stage.root, "d/b.py", USERS)

    outcome = await stage.lander(hear).undo(TASK)
    assert outcome.conflicts == ("d/b.py",)
    assert outcome.patch
    assert snapshot(stage.root) == wanted


async def test_an_undo_that_died_before_its_removal_goes_on_with_it(stage: Stage) -> None:
    await stage.dies_undoing(Dies("swap 2"))
    assert (stage.root / "n.py").exists()
    assert await stage.lander().recover() == ()
    assert snapshot(stage.root) == BEFORE


async def test_a_save_in_the_moment_of_an_undos_removal_stays_and_stops_it(stage: Stage) -> None:
    await stage.land(stage.lander())
    acts = Acts(("swap 2", stage.save("n.py")))
    outcome = await stage.lander(acts).undo(TASK)
    assert (acts.is_over, outcome.conflicts) == (True, ("n.py",))
    assert snapshot(stage.root) == {**AFTER, "n.py": USERS}


async def test_an_undo_gives_way_to_a_person_who_saves_again_and_again(stage: Stage) -> None:
    await stage.land(stage.lander())
    saves: list[bytes] = []

    def hear(step: str) -> None:
        if step == "swap 0":
            saves.append(NEW["a.py"].replace(b"line 3\n", b"mine %d\n" % len(saves)))
            save(stage.root, "a.py", saves[-1])

    outcome = await stage.lander(hear).undo(TASK)
    assert len(saves) == 4
    assert outcome.conflicts == ("a.py",)
    assert "-task" in outcome.patch
    assert snapshot(stage.root) == {**AFTER, "a.py": saves[-1]}


async def test_an_undo_is_planned_anew_when_a_folder_goes_while_it_is_prepared(stage: Stage) -> None:
    await stage.land(stage.lander())
    acts = Acts(("sibling 1", lambda: shutil.rmtree(stage.root / "d")))
    undone = await stage.lander(acts).undo(TASK)
    assert undone == UndoOutcome(restored=("a.py", "n.py"), gone=("d/b.py",))
    assert acts.is_over
    assert snapshot(stage.root) == {"a.py": LINES}


async def test_a_landing_begins_anew_when_a_folder_goes_while_it_is_prepared(stage: Stage) -> None:
    acts = Acts(("sibling 1", lambda: shutil.rmtree(stage.root / "d")))
    assert await stage.land(stage.lander(acts)) == TreeMoved(tuple(NEW))
    assert snapshot(stage.root) == {"a.py": LINES}


async def test_a_symlink_that_took_the_place_of_a_file_while_it_was_prepared_stays(stage: Stage) -> None:
    def put_link() -> None:
        (stage.root / "a.py").unlink()
        (stage.root / "a.py").symlink_to("d/b.py")

    acts = Acts(("sibling 0", put_link))
    assert await stage.land(stage.lander(acts)) == TreeMoved(("a.py",))
    assert (stage.root / "a.py").readlink() == Path("d/b.py")
    assert stage.world.read("d/b.py") == b"b\n"


async def test_two_new_files_of_which_the_disk_finds_one_at_both_names_are_named(stage: Stage) -> None:
    """A second name for the first file, as a disk that folds case has one."""
    acts = Acts(("swap 1", lambda: os.link(stage.root / "one.py", stage.root / "One.py")))
    ready = staged(stage.world.repo, {"one.py": (None, b"1\n"), "One.py": (None, b"2\n")})
    with pytest.raises(WorkspaceError, match=r"'One\.py' and 'one\.py' are one name on your disk") as refused:
        await stage.lander(acts).land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
    assert refused.value.paths == ("One.py", "one.py")  # type: ignore[attr-defined]  # LandingRefusedError has them
    assert await stage.lander().landed(TASK) is None


async def test_an_editor_that_saves_at_every_step_of_giving_back_loses_no_save(stage: Stage) -> None:
    saves = [b"save %d\n" % n for n in range(40)]
    left = list(saves)

    def hear(step: str) -> None:
        if step in ("swap 0", "giving back") and left:
            save(stage.root, "a.py", left.pop(0))

    assert await stage.land(stage.lander(hear)) == TreeMoved(("a.py",))
    done = saves[: len(saves) - len(left)]
    assert len(done) > 10
    assert stage.world.read("a.py") in done
    assert done[-1] in {stage.world.read("a.py"), *stage.stored()}
    assert stage.world.read("d/b.py") == b"b\n"


async def test_owner_and_attributes_of_the_users_file_are_kept(stage: Stage) -> None:
    path = stage.root / "a.py"
    if os.geteuid() == 0:  # Nobody else may give a file away.
        os.chown(path, 12345, 12346)
    os.setxattr(path, "user.note", b"mine")
    await stage.land(stage.lander())
    found = path.stat()
    if os.geteuid() == 0:
        assert (found.st_uid, found.st_gid) == (12345, 12346)
    assert os.getxattr(path, "user.note") == b"mine"
    assert path.read_bytes() == NEW["a.py"]


async def test_a_file_that_only_its_owner_may_read_is_not_opened_to_whom_its_folder_names(
    stage: Stage,
) -> None:
    path = stage.root / "a.py"
    path.chmod(0o640)
    entries = [(0x01, 7, NOBODY), (0x02, 6, 12345), (0x04, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 5, NOBODY)]
    listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    os.setxattr(stage.root, "system.posix_acl_default", listed)
    await stage.land(stage.lander())
    assert path.read_bytes() == NEW["a.py"]
    assert (path.stat().st_mode & 0o777, os.listxattr(path)) == (0o640, [])


async def test_a_task_lands_on_a_tree_that_is_again_as_it_was_proven(tmp_path: Path) -> None:
    world = await World.make(tmp_path, BEFORE)
    ws = await world.work("a", {"a.py": NEW["a.py"]})
    ready = await world.stage(ws)
    await world.land_task("b", {"d/b.py": b"B\n"})
    await world.lander.undo(TaskId("b"))
    landed = await world.lander.land(TaskId("a"), TOKEN, "t", ready, verify=nothing_to_verify)  # type: ignore[arg-type]  # it merges
    assert isinstance(landed, tuple)
    assert snapshot(world.root) == {**BEFORE, "a.py": NEW["a.py"]}


async def test_a_leftover_in_the_place_of_a_sibling_is_replaced(stage: Stage) -> None:
    """The name is known beforehand: the clock of the tests says it."""
    await stage.dies_landing(Dies("verify"))
    names = [path.relative_to(stage.root) for path in stage.root.rglob(".agentcoord-*")]
    await stage.lander().recover()
    for name in names:
        write(stage.root, str(name), b"left over")
    assert await stage.land(stage.lander()) != ()
    assert snapshot(stage.root) == AFTER
