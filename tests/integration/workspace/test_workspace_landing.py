"""Landing into a real tree: all or none, verified by what came out, told by the journal."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import LandingRefusedError, LeaseLostError, WorkspaceError
from agentcoord.workspace import patches
from agentcoord.workspace.landing import Lander, TreeMoved
from agentcoord.workspace.renames import KernelRenames, PlainRenames, Renames
from agentcoord.workspace.staged import MergeConflict, Staged
from agentcoord.workspace.versions import version_of
from workspace_kit import (
    LINES,
    TOKEN,
    HandClock,
    World,
    git,
    git_state,
    nothing_to_verify,
    plain,
    save,
    snapshot,
    staged,
    write,
)

A, B = TaskId("a"), TaskId("b")


async def land(world: World, task: TaskId, files: dict[str, tuple[bytes | None, bytes]]) -> object:
    ready = staged(world.repo, files)
    return await world.lander.land(task, TOKEN, "title", ready, verify=nothing_to_verify)


async def test_a_landing_writes_the_files_unstaged_and_uncommitted_and_nothing_else(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES, "b.py": b"b", "keep.py": b"k"})
    before = git_state(world.root)
    landed = await world.land_task("a", {"a.py": LINES + b"more\n", "d/e/new.py": b"1\n2\n"})
    assert landed == (
        LandedFile("a.py", plain(LINES), plain(LINES + b"more\n"), 1, 0),
        LandedFile("d/e/new.py", None, plain(b"1\n2\n"), 2, 0),
    )
    assert snapshot(world.root) == {
        "a.py": LINES + b"more\n",
        "b.py": b"b",
        "keep.py": b"k",
        "d/e/new.py": b"1\n2\n",
    }
    assert git_state(world.root) == before
    assert git(world.root, "status", "--short") == " M a.py\n?? d/\n"


async def test_permissions_of_the_users_file_are_kept(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"private.py": b"p", "run.sh": b"r"})
    (world.root / "private.py").chmod(0o600)
    (world.root / "run.sh").chmod(0o775)
    await world.land_task("a", {"private.py": b"P", "run.sh": b"R", "new.py": b"n"})
    modes = {n: stat.S_IMODE((world.root / n).stat().st_mode) for n in ("private.py", "run.sh", "new.py")}
    assert modes == {"private.py": 0o600, "run.sh": 0o775, "new.py": 0o644}


async def test_a_new_script_lands_executable_comes_again_so_and_goes_with_its_undo(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ws = await world.work("a", {"bin/tool": b"#!/bin/sh\n", "bin/plain": b"p"})
    (ws.root / "bin/tool").chmod(0o744)
    landed = await world.land(ws)
    assert isinstance(landed, tuple)
    assert {f.path: f.after.mode for f in landed} == {"bin/plain": 0o644, "bin/tool": 0o755}
    modes = {n: stat.S_IMODE((world.root / "bin" / n).stat().st_mode) for n in ("tool", "plain")}
    assert modes == {"tool": 0o755, "plain": 0o644}
    await world.land_task("b", {"bin/tool": b"#!/bin/sh\nexit 0\n"})
    assert stat.S_IMODE((world.root / "bin/tool").stat().st_mode) == 0o755
    await world.lander.undo(B)
    assert stat.S_IMODE((world.root / "bin/tool").stat().st_mode) == 0o755
    await world.lander.undo(A)
    assert snapshot(world.root) == {"a.py": b"a"}


async def test_odd_names_and_odd_contents_land_byte_for_byte(tmp_path: Path) -> None:
    names = ["a\nb.py", "x\udcff.py", "-rf", "ü" * 127 + "x", ":(glob)*.py"]
    world = await World.make(tmp_path, dict.fromkeys(names, b"\xef\xbb\xbfold\r\n"))
    new = b"\xef\xbb\xbfnew\r\n\xe9"
    await world.land_task("a", {**dict.fromkeys(names, new), "ö" * 127 + "y": b"\0"})
    assert snapshot(world.root) == {**dict.fromkeys(names, new), "ö" * 127 + "y": b"\0"}


@pytest.mark.parametrize("base", [b"another base", None])
async def test_a_target_that_is_not_its_base_moves_nothing(tmp_path: Path, base: bytes | None) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    before = snapshot(world.root)
    assert await land(world, A, {"a.py": (b"a", b"A"), "b.py": (base, b"B")}) == TreeMoved(("b.py",))
    assert await land(world, A, {"a.py": (b"a", b"A"), "gone.py": (b"x", b"B")}) == TreeMoved(("gone.py",))
    assert snapshot(world.root) == before
    assert await world.lander.landed(A) is None


async def test_a_save_between_the_look_and_the_swap_wins_and_all_else_goes_back(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b", "c.py": b"c"})
    files = {"a.py": (b"a", b"A"), "b.py": (b"b", b"B"), "n/new.py": (None, b"N"), "c.py": (b"c", b"C")}

    async def user_saves_now() -> None:
        save(world.root, "c.py", b"the user's")

    ready = staged(world.repo, files)
    moved = await world.lander.land(A, TOKEN, "t", ready, verify=user_saves_now)
    assert moved == TreeMoved(("c.py",))
    assert snapshot(world.root) == {"a.py": b"a", "b.py": b"b", "c.py": b"the user's"}
    assert await world.lander.landed(A) is None
    assert await world.lander.recover() == ()


@pytest.mark.parametrize("what", ["removed", "folder", "link", "appeared", "parent"])
async def test_whatever_else_stands_there_at_the_swap_stays(tmp_path: Path, what: str) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "d/b.py": b"b"})
    files: dict[str, tuple[bytes | None, bytes]] = {"a.py": (b"a", b"A"), "d/b.py": (b"b", b"B")}
    if what == "appeared":
        files["d/new.py"] = (None, b"N")

    async def user_acts() -> None:
        target = world.root / "d/b.py"
        match what:
            case "removed":
                target.unlink()
            case "folder":
                target.unlink()
                write(world.root, "d/b.py/inner.py", b"i")
            case "link":
                target.unlink()
                target.symlink_to("/etc/hostname")
            case "appeared":
                write(world.root, "d/new.py", b"user")
            case "parent":
                (world.root / "d").rename(world.root / "moved")

    moved = await world.lander.land(A, TOKEN, "t", staged(world.repo, files), verify=user_acts)
    assert isinstance(moved, TreeMoved)
    after = snapshot(world.root)
    assert after.pop("a.py") == b"a"
    expected = {
        "removed": {"d/": b""},
        "folder": {"d/b.py/inner.py": b"i"},
        "link": {"d/b.py": b"-> /etc/hostname"},
        "appeared": {"d/b.py": b"b", "d/new.py": b"user"},
        "parent": {"moved/b.py": b"b"},
    }[what]
    assert {p: c for p, c in after.items() if ".agentcoord-" not in p} == expected


async def test_a_lost_lease_changes_nothing_and_passes_through(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    before = snapshot(world.root)

    async def lost() -> None:
        raise LeaseLostError("stale")

    ready = staged(world.repo, {"a.py": (b"a", b"A"), "n/new.py": (None, b"n")})
    with pytest.raises(LeaseLostError):
        await world.lander.land(A, TOKEN, "t", ready, verify=lost)
    assert snapshot(world.root) == before
    assert await world.lander.history() == []


async def test_cancelled_while_verifying_changes_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    before = snapshot(world.root)
    reached = asyncio.Event()

    async def forever() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        ready = staged(world.repo, {"a.py": (b"a", b"A"), "n/new.py": (None, b"n")})
        task = group.create_task(world.lander.land(A, TOKEN, "t", ready, verify=forever))
        await reached.wait()
        task.cancel()
    assert snapshot(world.root) == before
    assert await land(world, B, {"a.py": (b"a", b"B")}) != ()


@pytest.mark.parametrize("turns", range(0, 16, 3))
async def test_cancelled_anywhere_it_lands_wholly_or_not_at_all(tmp_path: Path, turns: int) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(land(world, A, {"a.py": (b"a", b"A"), "b.py": (b"b", b"B")}))
        for _ in range(turns):
            await asyncio.to_thread(int)
        task.cancel()
    landed = await world.lander.landed(A) is not None
    assert snapshot(world.root) == ({"a.py": b"A", "b.py": b"B"} if landed else {"a.py": b"a", "b.py": b"b"})


async def test_landing_the_same_claim_again_returns_what_landed_and_writes_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    first = await land(world, A, {"a.py": (b"a", b"A")})
    save(world.root, "a.py", b"edited since")
    assert await land(world, A, {"a.py": (b"a", b"A")}) == first
    assert world.read("a.py") == b"edited since"
    assert len(await world.lander.history()) == 1


async def test_two_tasks_proven_on_the_same_tree_do_not_both_land(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    first, second = await world.work("a", {"a.py": b"A"}), await world.work("b", {"b.py": b"B"})
    ready = [await world.stage(first), await world.stage(second)]
    assert isinstance(ready[0], Staged)
    assert isinstance(ready[1], Staged)
    assert await world.lander.land(A, TOKEN, "t", ready[0], verify=nothing_to_verify) != ()
    moved = await world.lander.land(B, TOKEN, "t", ready[1], verify=nothing_to_verify)
    assert moved == TreeMoved(("a.py",))
    assert not isinstance(await world.land(second), TreeMoved)
    assert snapshot(world.root) == {"a.py": b"A", "b.py": b"B"}


async def test_two_tasks_in_one_file_land_one_after_the_other_by_a_merge(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    first = await world.work("a", {"a.py": LINES.replace(b"line 2\n", b"first\n")})
    second = await world.work("b", {"a.py": LINES.replace(b"line 17\n", b"second\n")})
    await world.land(first)
    landed = await world.land(second)
    assert not isinstance(landed, TreeMoved)
    assert world.read("a.py") == LINES.replace(b"line 2\n", b"first\n").replace(b"line 17\n", b"second\n")


async def test_history_and_landed_answer_from_the_journal_also_after_a_restart(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    await land(world, A, {"a.py": (b"a", b"A")})
    await land(world, B, {"a.py": (b"A", b"B"), "b.py": (None, b"b")})
    again = Lander(world.repo, world.state / "journal", clock=HandClock())
    assert await again.recover() == ()
    history = await again.history()
    assert [(r.task, r.token, r.title) for r in history] == [(A, TOKEN, "title"), (B, TOKEN, "title")]
    assert history[0].at_ms < history[1].at_ms
    record = await again.landed(B)
    assert record is not None
    assert [f.path for f in record.files] == ["a.py", "b.py"]
    assert await again.landed(TaskId("c")) is None
    assert await again.history_of(A) == history[:1]
    await again.undo(B)
    (undone,) = await again.history_of(B)
    assert undone == (await again.history())[1]
    assert undone.undone_at_ms is not None
    assert await again.landed(B) is None


async def test_the_diff_of_a_task_is_what_it_landed_whatever_came_after(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": LINES})
    await land(world, A, {"a.py": (LINES, LINES + b"more\n"), "new.py": (None, b"n\n")})
    save(world.root, "a.py", b"all else")
    patch = await world.lander.diff(A)
    write(tmp_path / "elsewhere", "a.py", LINES)
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=tmp_path / "elsewhere", check=True)
    assert snapshot(tmp_path / "elsewhere") == {"a.py": LINES + b"more\n", "new.py": b"n\n"}
    with pytest.raises(WorkspaceError, match="landed nothing"):
        await world.lander.diff(B)


async def test_a_whole_diff_makes_the_same_bytes_both_ways_whatever_they_are(tmp_path: Path) -> None:
    before = {"a.bin": b"\0\1", "l.txt": b"caf\xe9\n", "crlf.txt": b"a\r\nb", "w\u00fc.txt": b"x\n"}
    after = {
        "a.bin": b"\0\2" * 999,
        "l.txt": b"caf\xe9s\n",
        "crlf.txt": b"a\r\nB",
        "w\u00fc.txt": "\u00fc\n".encode(),
        "new.bin": bytes(range(256)),
        "long.txt": b"".join(b"%099d\n" % number for number in range(21_000)),
    }
    world = await World.make(tmp_path, before)
    await land(world, A, {path: (before.get(path), content) for path, content in after.items()})
    assert "Binary files" in await world.lander.diff(A)
    patch = (await world.lander.whole_diff(A)).text.encode("utf-8", "surrogateescape")
    for options in (["-R"], []):
        subprocess.run(["git", "apply", *options, "-"], input=patch, cwd=world.root, check=True)
        assert snapshot(world.root) == (before if options else after)


async def test_the_whole_diff_of_a_new_program_lets_it_run(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ready = staged(world.repo, {"run.sh": (None, b"#!/bin/sh\n")}, executable=True)
    await world.lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    patch = (await world.lander.whole_diff(A)).text
    (world.root / "run.sh").unlink()
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=world.root, check=True)
    assert (world.root / "run.sh").stat().st_mode & 0o100


async def test_what_is_too_large_to_be_held_as_a_whole_patch_is_shown_as_to_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "MOST_WHOLE_BYTES", 10)
    world = await World.make(tmp_path, {"a.bin": b"\0" * 5})
    await land(world, A, {"a.bin": (b"\0" * 5, b"\0" * 6)})
    assert await world.lander.whole_diff(A) == (await world.lander.diff(A), False)


async def test_a_full_disk_in_mid_landing_is_told_in_words_and_changes_nothing(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    before = snapshot(world.root)

    class FullDisk(PlainRenames):
        """A disk that refuses the second exchange."""

        count = 0

        def exchange(self, folder: int, one: str, other: str) -> None:
            self.count += 1
            if self.count == 2:
                raise OSError(28, os.strerror(28))
            super().exchange(folder, one, other)

    lander = Lander(world.repo, world.state / "journal", clock=HandClock(), renames=FullDisk())
    ready = staged(world.repo, {"a.py": (b"a", b"A"), "b.py": (b"b", b"B")})
    with pytest.raises(WorkspaceError, match="disk is full"):
        await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert snapshot(world.root) == before
    assert await lander.landed(A) is None
    assert await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify) != ()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY, errno.EROFS])
async def test_a_file_that_the_system_lets_nobody_change_is_named_and_nothing_lands(
    tmp_path: Path, code: int
) -> None:
    """As an immutable file does, or one on which something is mounted."""
    world = await World.make(tmp_path, {"a.py": b"a", "b.py": b"b"})
    before = snapshot(world.root)

    class Immutable(KernelRenames):
        """A disk on which b.py cannot be exchanged."""

        def exchange(self, folder: int, one: str, other: str) -> None:
            if other == "b.py":
                raise OSError(code, os.strerror(code))
            super().exchange(folder, one, other)

    lander = Lander(world.repo, world.state / "journal", clock=HandClock(), renames=Immutable())
    ready = staged(world.repo, {"a.py": (b"a", b"A"), "b.py": (b"b", b"B")})
    with pytest.raises(LandingRefusedError, match=r"'b\.py' cannot be changed") as refused:
        await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert refused.value.paths == ("b.py",)
    assert snapshot(world.root) == before
    assert await lander.recover() == ()
    ready = staged(world.repo, {"a.py": (b"a", b"A")})
    assert await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify) != ()


@pytest.mark.parametrize(("path", "named"), [("b.py", "b.py"), ("n/b.py", "n")])
async def test_a_landing_on_a_read_only_disk_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, named: str
) -> None:
    """Such a disk refuses also to remove what is not there."""
    world = await World.make(tmp_path, {"a.py": b"a"})
    lander = Lander(world.repo, world.state / "journal", clock=HandClock())

    def refusing(call: Callable[..., Any], *, creating: int = 0) -> Callable[..., Any]:
        def act(*args: Any, **more: Any) -> Any:
            if "dir_fd" in more and (not creating or args[1] & creating):  # In the tree, not in the journal.
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return call(*args, **more)

        return act

    with monkeypatch.context() as read_only:
        read_only.setattr(os, "mkdir", refusing(os.mkdir))
        read_only.setattr(os, "unlink", refusing(os.unlink))
        read_only.setattr(os, "open", refusing(os.open, creating=os.O_CREAT))
        ready = staged(world.repo, {path: (None, b"B")})
        with pytest.raises(LandingRefusedError, match=f"{named!r} cannot be changed: Read-only") as refused:
            await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert refused.value.paths == (named,)
    assert await lander.recover() == ()
    ready = staged(world.repo, {path: (None, b"B")})
    await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert snapshot(world.root) == {"a.py": b"a", path: b"B"}


async def test_a_file_system_without_the_kernels_renames_lands_and_undoes_too(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    plain_renames: Renames = PlainRenames()
    lander = Lander(world.repo, world.state / "journal", clock=HandClock(), renames=plain_renames)
    ready = staged(world.repo, {"a.py": (b"a", b"A"), "n/b.py": (None, b"B")})
    await lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert snapshot(world.root) == {"a.py": b"A", "n/b.py": b"B"}
    await lander.undo(A)
    assert snapshot(world.root) == {"a.py": b"a"}


async def test_a_damaged_journal_is_named_and_never_guessed_at(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    await land(world, A, {"a.py": (b"a", b"A")})
    (record,) = (world.state / "journal/records").glob("*.json")
    record.write_text("{")
    with pytest.raises(WorkspaceError, match="cannot be read") as caught:
        await world.lander.recover()
    assert "move it elsewhere" in caught.value.mend
    record.rename(tmp_path / "elsewhere")
    again = Lander(world.repo, world.state / "journal", clock=HandClock())
    await again.recover()
    await world.land_task("b", {"b.py": b"b"})
    assert snapshot(world.root) == {"a.py": b"A", "b.py": b"b"}


async def test_nothing_staged_that_is_not_what_it_says_lands(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ready = staged(world.repo, {"a.py": (b"a", b"A")})
    lying = Staged(ready.stamp, (type(ready.files[0])("a.py", plain(b"a"), plain(b"A"), b"Z"),), "tree")
    with pytest.raises(LandingRefusedError, match="not what was staged"):
        await world.lander.land(A, FencingToken(1), "t", lying, verify=nothing_to_verify)
    assert world.read("a.py") == b"a"


async def test_a_path_that_is_staged_twice_or_with_another_mode_never_lands(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ready = staged(world.repo, {"a.py": (b"a", b"A"), "b.py": (None, b"B")})
    twice = replace(ready, files=(*ready.files, ready.files[0]))
    odd = replace(ready, files=(replace(ready.files[1], new=version_of(b"B", 0o777)),))
    for wrong, words in ((twice, "staged twice"), (odd, "b.py: its mode is 777")):
        with pytest.raises(LandingRefusedError, match=words):
            await world.lander.land(A, TOKEN, "t", wrong, verify=nothing_to_verify)
    assert snapshot(world.root) == {"a.py": b"a"}


async def test_a_file_of_the_users_that_has_become_too_large_is_refused_by_name(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    ready = staged(world.repo, {"a.py": (b"a", b"A")})
    with (world.root / "a.py").open("r+b") as grown:
        grown.truncate(33 << 20)
    with pytest.raises(LandingRefusedError, match=r"'a\.py' has more than 32 MB") as refused:
        await world.lander.land(A, TOKEN, "t", ready, verify=nothing_to_verify)
    assert refused.value.paths == ("a.py",)


def test_a_conflict_over_names_alone_tells_of_no_lines() -> None:
    conflict = MergeConflict(("Readme.md",), "", {"Readme.md": "readme.md"})
    assert conflict.why == "Readme.md and your readme.md are one file on this disk"
