"""Looking with the system's `find`: it says what our own looking says, and no change escapes it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace import system_find
from agentcoord.workspace.pool import Workspace
from agentcoord.workspace.signatures import changed_ns_of, is_racy, signature_of, size_of
from agentcoord.workspace.system_find import FindFailedError, everything_beneath, within_folders
from agentcoord.workspace.user_tree import list_tree
from agentcoord.workspace.walk import remove_beneath, walk, walk_by_steps
from workspace_kit import World, git, snapshot, write

ORDINARY = 65_534
"""An id that is not root's."""
NAMES = ("a\nb", "x\udcff", "-rf", "q*[?]\\", " lead", "\x01", "ü" * 127, "(", "!", "deep/er/still", "d")


@pytest.fixture(params=["find", "no find", "another find", "one that misses something"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Machines with and without a `find` such as we need."""
    if request.param != "find":
        programs = tmp_path / "programs"
        programs.mkdir()
        for folder in os.environ["PATH"].split(":"):
            for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
                if program.name != "find" and not os.path.lexists(programs / program.name):
                    (programs / program.name).symlink_to(program)
        if request.param == "another find":
            write(programs, "find", b"#!/bin/sh\necho 'find: unknown predicate -printf' >&2; exit 1\n")
        elif request.param == "one that misses something":
            write(programs, "find", b'#!/bin/sh\n/usr/bin/find "$@"; test -f signatures.py\n')
        if (programs / "find").exists():
            (programs / "find").chmod(0o755)
        monkeypatch.setenv("PATH", str(programs))
    system_find._prints_as_we_do.cache_clear()
    yield str(request.param)
    system_find._prints_as_we_do.cache_clear()


def odd_tree(root: Path) -> Path:
    for name in NAMES:
        write(root, f"in/{name}" if name != "d" else "in/dd/d", b"x" * len(name))
    os.mkfifo(root / "in/fifo")
    (root / "in/link").symlink_to("nowhere\n")
    (root / "in/to-folder").symlink_to("/etc")
    (root / "in/run").write_bytes(b"")
    (root / "in/run").chmod(0o4751)
    os.utime(root / "in/-rf", ns=(0, 1_234_567_890))
    os.utime(root / "in/(", ns=(0, 0))
    return root


def test_find_says_what_our_own_looking_says(tmp_path: Path) -> None:
    root = odd_tree(tmp_path)
    skip = ("in/q*[?]\\", "in/deep/er", "none")
    assert walk(root, skip) == walk_by_steps(root, skip)
    printed = {path: s for some in everything_beneath(root, skip) for path, s in some.items()}
    steps = walk_by_steps(root, skip)
    assert printed == steps.files | dict.fromkeys(steps.folders, "d")
    inside = {path: s for some in within_folders(root, ["", "in", "in/deep"]) for path, s in some.items()}
    wanted = {str(path.relative_to(root)) for path in [*root.iterdir(), *(root / "in").iterdir()]}
    assert inside.keys() == wanted | {"in/deep/er"}


def test_what_find_could_not_see_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FindFailedError):
        list(within_folders(tmp_path, ["gone"]))
    with pytest.raises(FindFailedError):
        list(everything_beneath(tmp_path / "gone"))


def test_many_folders_are_asked_for_in_several_turns(tmp_path: Path) -> None:
    folders = [f"{'long' * 50}/{n}" for n in range(1000)]
    for folder in folders:
        write(tmp_path, f"{folder}/file", b"")
    found = {path for some in within_folders(tmp_path, folders) for path in some}
    assert found == {f"{folder}/file" for folder in folders}


def test_output_may_come_in_any_pieces() -> None:
    whole = b"./a\0f644 1 2.0 3.0 4\0./b\0d\0./b/./x\n\0l777 9 1.0 1.0 7\0"
    expected = ["a", "f644 1 2.0 3.0 4", "b", "d", "b/./x\n", "l777 9 1.0 1.0 7"]
    for cut in range(len(whole) + 1):
        first, rest = system_find._whole_records(whole[:cut])
        then, rest = system_find._whole_records(rest + whole[cut:])
        assert (first + then, rest) == (expected, b"")


def test_a_signature_tells_size_and_change_time_and_whether_a_change_could_hide(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    found = (tmp_path / "a").stat()
    signature = signature_of(found)
    assert (size_of(signature), changed_ns_of(signature)) == (3, found.st_ctime_ns)
    fine, whole = "f644 1 5.0 5.1000000000 1", "f644 1 5.0 5.0000000000 1"
    assert [is_racy(fine, 5_150_000_000), is_racy(fine, 5_300_000_000)] == [True, False]
    assert [is_racy(whole, 7_000_000_000), is_racy(whole, 7_600_000_000)] == [True, False]


async def synced(world: World, held: Workspace | None = None) -> Workspace:
    if held is not None:
        await world.pool.release(held, keep=False)
    return await world.pool.acquire(TaskId("t"), 1, fresh=True)


@pytest.mark.usefixtures("way")
async def test_every_change_of_the_user_is_in_the_next_copy(tmp_path: Path) -> None:
    files = {"src/a.py": b"old", "src/b.py": b"b", "x/y/z.py": b"z", ".gitignore": b"*.log\n", "t.log": b"no"}
    world = await World.make(tmp_path, files, size=1)
    root = world.root
    ws = await synced(world)
    before = (root / "src/a.py").stat()
    (root / "src/a.py").write_bytes(b"new")  # As long as before, and soon with the times of before.
    os.utime(root / "src/a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    write(root, "new/folder/of/mine.py", b"mine")
    write(root, "u.log", b"ignored")
    ws = await synced(world, ws)
    assert snapshot(ws.root) == {
        "src/a.py": b"new",
        "src/b.py": b"b",
        "x/y/z.py": b"z",
        ".gitignore": b"*.log\n",
        "new/folder/of/mine.py": b"mine",
    }
    write(root, ".gitignore", b"*.txt\n")  # What was ignored is so no more.
    (root / "src").rename(root / "moved")
    ws = await synced(world, ws)
    assert snapshot(ws.root) == {
        "moved/a.py": b"new",
        "moved/b.py": b"b",
        "x/y/z.py": b"z",
        ".gitignore": b"*.txt\n",
        "new/folder/of/mine.py": b"mine",
        "t.log": b"no",
        "u.log": b"ignored",
    }
    (root / "moved").rename(root / "src")
    (root / "x").rename(tmp_path / "x")
    (root / "x").symlink_to(tmp_path / "x")  # What lies behind it is none of ours.
    ws = await synced(world, ws)
    assert (ws.root / "x").readlink() == tmp_path / "x"
    assert snapshot(ws.root).keys() == {"src/a.py", "src/b.py", "t.log", "u.log", "new/folder/of/mine.py"} | {
        ".gitignore"
    }


@pytest.mark.usefixtures("way")
async def test_a_save_within_the_same_tick_as_the_copy_is_in_the_next_one(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"0000"}, size=1)
    ws = None
    for number in range(1, 30):
        ws = await synced(world, ws)
        write(world.root, "a.py", b"%04d" % number)
        ws = await synced(world, ws)
        assert snapshot(ws.root) == {"a.py": b"%04d" % number}


async def test_who_is_named_to_be_included_is_copied_and_no_more_when_the_name_goes(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {".gitignore": b"*.local\n.worktreeinclude\n", "a.py": b"a"}, size=1)
    root = world.root
    write(root, "settings.local", b"s")
    ws = await synced(world)
    assert "settings.local" not in snapshot(ws.root)
    write(root, ".worktreeinclude", b"settings.local\n")
    ws = await synced(world, ws)
    assert snapshot(ws.root)["settings.local"] == b"s"
    git(root, "add", "-f", "settings.local")  # The file is as it was; what it is to git is not.
    ws = await synced(world, ws)
    write(ws.root, "settings.local", b"changed")
    assert (await ws.changes()).paths == ("settings.local",)
    git(root, "rm", "-q", "--cached", "settings.local")
    (root / ".worktreeinclude").unlink()
    ws = await synced(world, ws)
    assert "settings.local" not in snapshot(ws.root)


async def test_who_is_told_the_same_by_git_does_not_take_it_apart_again(tmp_path: Path) -> None:
    world = await World.make(tmp_path, {"a.py": b"a"})
    list_tree(world.repo)
    told = world.repo.git_names
    write(world.root, "a.py", b"b")
    list_tree(world.repo)
    assert world.repo.git_names is told
    write(world.root, "b.py", b"b")
    assert set(list_tree(world.repo).files) == {"a.py", "b.py"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may look into, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="ac-walk-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Have the kernel judge this thread's look at files as an ordinary user's, where root runs the tests."""
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0:
        libc.setfsuid(ORDINARY)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setfsuid(2)")
def test_a_folder_that_its_owner_closed_is_opened_and_one_of_others_is_named(open_folder: Path) -> None:
    write(open_folder, "closed/in/it.py", b"x")
    write(open_folder, "a.py", b"x")
    others: set[str] = set()
    if os.geteuid() == 0:
        others = {"others"}
        (open_folder / "others").mkdir(0o700)
        for path in ("closed/in", "closed"):
            os.chown(open_folder / path, ORDINARY, ORDINARY)
    (open_folder / "closed").chmod(0)
    with as_ordinary_user():
        found = walk_by_steps(open_folder)
    assert found.files.keys() == {"closed/in/it.py", "a.py"}
    assert found.unreadable == others
    assert (open_folder / "closed").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("helps", [True, False])
def test_what_cannot_be_removed_at_once_is_opened_up_first_and_else_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, helps: bool
) -> None:
    """Root's own `rm` is stopped by no mode: this one is, or never removes anything."""
    write(tmp_path / "copy", "left/closed/a.py", b"x")
    (tmp_path / "copy/left").chmod(0o000)
    condition = 'case $(stat -c %A "$3") in dr*)' if helps else "case no in yes)"
    script = f'#!/bin/sh\n{condition} exec /bin/rm "$@";; esac\necho "Permission denied" >&2; exit 1\n'
    write(tmp_path, "programs/rm", script.encode())
    (tmp_path / "programs/rm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:{os.environ['PATH']}")
    if helps:
        remove_beneath(tmp_path / "copy", ["left"])
        assert list((tmp_path / "copy").iterdir()) == []
    else:
        with pytest.raises(WorkspaceError, match="cannot be removed: Permission denied"):
            remove_beneath(tmp_path / "copy", ["left"])
