"""What checks wrote over in a proof copy: told by content, once, and by nothing that is not of the tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.workspace.pool import Staged
from workspace_kit import LINES, World, write


async def test_what_was_written_over_is_told_once_and_what_was_only_touched_is_not(tmp_path: Path) -> None:
    files = {"a.py": b"a", "b.py": b"b", "c.py": b"c", "d/gone.py": b"d", "same.py": b"same"}
    world = await World.make(tmp_path, files)
    ws = await world.work("a", {"a.py": b"A", "new.py": b"n"})
    async with world.pool.proof() as proof:
        assert await proof.rewritten() == ()
        assert isinstance(await proof.stage(ws, await ws.changes()), Staged)
        assert await proof.rewritten() == ()
        os.utime(proof.root / "b.py")
        (proof.root / "same.py").unlink()
        write(proof.root, "same.py", b"same")
        (proof.root / "new.py").chmod(0o755)
        write(proof.root, "out/report.xml", b"made by a check")
        assert await proof.rewritten() == ()
        write(proof.root, "a.py", b"a")  # As the user has it, and not as it would land.
        write(proof.root, "c.py", b"C")
        (proof.root / "d/gone.py").unlink()
        (proof.root / "new.py").unlink()
        assert await proof.rewritten() == ("a.py", "c.py", "d/gone.py", "new.py")
        assert await proof.rewritten() == ()
        write(proof.root, "c.py", b"c")  # Put back: what a check saw in between is told already.
        write(proof.root, "b.py", b"B")
        assert await proof.rewritten() == ("b.py", "c.py")
        await proof.sync()
        assert await proof.rewritten() == ()


async def test_files_of_those_ahead_in_line_and_such_as_were_put_are_shown_as_they_are(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"a.py": LINES, "b.py": b"b"})
    first = await world.work("a", {"a.py": LINES.replace(b"line 2\n", b"first\n"), "x.py": b"x"})
    second = await world.work("b", {"a.py": LINES.replace(b"line 17\n", b"second\n")})
    before = await world.stage(first)
    assert isinstance(before, Staged)
    async with world.pool.proof() as proof:
        await proof.stage(second, await second.changes(), ahead=[before])
        assert await proof.rewritten() == ()
        write(proof.root, "x.py", b"X")
        assert await proof.rewritten() == ("x.py",)
        await proof.sync()
        proof.put([("a.py", b"put", 0o644), ("b.py", None, 0o644)])
        assert await proof.rewritten() == ()
        write(proof.root, "b.py", b"b")
        write(proof.root, "a.py", LINES)
        assert await proof.rewritten() == ("a.py", "b.py")


@pytest.mark.parametrize(
    "put", ["link", "folder", "pipe", "loop"], ids=["a link", "a folder", "a pipe", "a loop of links"]
)
async def test_something_else_in_the_place_of_a_file_is_told_and_not_followed(
    tmp_path: Path, put: str
) -> None:
    world = await World.make(tmp_path, {"d/a.py": b"a", "b.py": b"b"})
    (world.root / "to").symlink_to("b.py")
    async with world.pool.proof() as proof:
        await proof.sync()
        target = proof.root / "d/a.py"
        target.unlink()
        match put:
            case "link":
                target.symlink_to("../b.py")
            case "folder":
                write(proof.root, "d/a.py/in.py", b"a")
            case "pipe":
                os.mkfifo(target)
            case _:
                target.symlink_to("a.py")
        (proof.root / "to").unlink()
        (proof.root / "to").symlink_to("d")
        assert await proof.rewritten() == ("d/a.py", "to")
        assert await proof.rewritten() == ()


async def test_a_folder_that_became_a_link_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, "a.py", b"a")
    world = await World.make(tmp_path / "w", {"d/a.py": b"a"})
    async with world.pool.proof() as proof:
        await proof.sync()
        (proof.root / "d/a.py").unlink()
        (proof.root / "d").rmdir()
        (proof.root / "d").symlink_to(outside)
        assert await proof.rewritten() == ("d/a.py",)


async def test_what_git_ignores_and_a_large_file_that_was_only_touched_are_no_business(
    tmp_path: Path,
) -> None:
    large = b"\0" * (33 << 20)
    files = {".gitignore": b"local.py\n", ".worktreeinclude": b"local.py\n", "large.bin": large}
    world = await World.make(tmp_path, files)
    write(world.root, "local.py", b"mine")
    async with world.pool.proof() as proof:
        await proof.sync()
        assert (proof.root / "local.py").read_bytes() == b"mine"
        write(proof.root, "local.py", b"written by a check")
        os.utime(proof.root / "large.bin")
        assert await proof.rewritten() == ()
        with (proof.root / "large.bin").open("r+b") as file:
            file.write(b"x")
        assert await proof.rewritten() == ("large.bin",)
        (proof.root / "large.bin").write_bytes(large + b"x")
        assert await proof.rewritten() == ("large.bin",)


async def test_what_a_formatter_lays_out_anew_is_not_told_and_what_it_changes_besides_is(
    tmp_path: Path,
) -> None:
    world = await World.make(tmp_path, {"kept.py": b"a = {'x':1}\n", "lib.js": b"f('a')"})
    ws = await world.work("a", {"mine.py": b"b = {'x':1}\n"})
    async with world.pool.proof() as proof:
        await proof.stage(ws, await ws.changes())
        for path, text in (
            ("kept.py", b'a = {"x": 1}\n'),
            ("mine.py", b'b = {"x": 1}\n'),
            ("lib.js", b'f("a");\n'),
        ):
            write(proof.root, path, text)
        assert await proof.rewritten() == ()
        write(proof.root, "lib.js", b"f( 'a' );\n")  # Another formatter, after the first.
        assert await proof.rewritten() == ()
        write(proof.root, "mine.py", b'b = {"x": 2}\n')
        assert await proof.rewritten() == ("mine.py",)
