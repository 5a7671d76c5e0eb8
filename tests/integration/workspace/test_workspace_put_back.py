"""A check that changes the tree which it runs on decides nothing of what the next check sees."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcoord.workspace.pool import ProofTree, Staged
from workspace_kit import World

Harm = Callable[[Path], object]
FILES = {
    "src/m.py": b"m\n",
    "src/n.py": b"n\n",
    "src/deep/o.py": b"o\n",
    "run.sh": b"#!/bin/sh\n",
    "kept.txt": b"kept\n",
}


def shown(root: Path) -> dict[str, object]:
    """What is there: contents, where links lead, and what may be run."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


async def world(tmp_path: Path) -> World:
    made = await World.make(tmp_path, FILES)
    (made.root / "run.sh").chmod(0o755)
    (made.root / "link").symlink_to("kept.txt")
    return made


async def put_back_after(
    harm: Callable[[Path], object], proof: ProofTree
) -> tuple[dict[str, object], dict[str, object]]:
    before, seen = shown(proof.root), await proof.look()
    harm(proof.root)
    await proof.put_back(seen)
    return before, shown(proof.root)


def change_files(root: Path) -> None:
    (root / "src/m.py").write_bytes(b"other\n")
    (root / "src/new.py").write_bytes(b"")
    (root / "run.sh").chmod(0o644)
    (root / "kept.txt").unlink()
    (root / "link").unlink()
    (root / "link").symlink_to("/etc/passwd")


def put_other_kinds_there(root: Path) -> None:
    (root / "src/m.py").unlink()
    (root / "src/m.py").mkdir()
    (root / "src/m.py/x").write_bytes(b"x")
    (root / "src/n.py").unlink()
    (root / "src/n.py").symlink_to("../kept.txt")
    (root / "link").unlink()
    (root / "link").mkdir()
    shutil.rmtree(root / "src/deep")
    (root / "src/deep").symlink_to("..")


def close_a_folder(root: Path) -> None:
    (root / "src/deep/o.py").write_bytes(b"other\n")
    (root / "src/deep").chmod(0o555)


def blow_up(root: Path) -> None:
    os.truncate(root / "run.sh", 1 << 40)


def remove_all(root: Path) -> None:
    shutil.rmtree(root / "src")
    (root / "src").write_bytes(b"a file\n")


@pytest.mark.parametrize("harm", [change_files, put_other_kinds_there, close_a_folder, blow_up, remove_all])
async def test_what_a_command_did_to_the_tree_is_put_back(
    harm: Callable[[Path], object], tmp_path: Path
) -> None:
    made = await world(tmp_path)
    ws = await made.work("t", {"src/m.py": b"mine\n", "src/new.py": b"new\n"})
    async with made.pool.proof() as proof:
        staged = await proof.stage(ws, await ws.changes())
        assert isinstance(staged, Staged)
        before, after = await put_back_after(harm, proof)
        assert before["src/m.py"] == (b"mine\n", 0o644)
        assert after == before


async def test_what_a_command_added_stays_and_what_it_left_alone_is_not_written(tmp_path: Path) -> None:
    made = await world(tmp_path)
    async with made.pool.proof() as proof:
        await proof.sync()
        seen = await proof.look()
        (proof.root / "build").mkdir()
        (proof.root / "build/product").write_bytes(b"p")
        (proof.root / "src/n.py").write_bytes(b"n\n")
        written = (proof.root / "src/n.py").stat()
        await proof.put_back(seen)
        assert (proof.root / "build/product").read_bytes() == b"p"
        assert (proof.root / "src/n.py").stat().st_ino == written.st_ino
        assert (proof.root / "src/n.py").stat().st_mtime_ns == written.st_mtime_ns


async def test_what_a_subset_takes_out_is_not_put_back(tmp_path: Path) -> None:
    made = await world(tmp_path)
    async with made.pool.proof() as proof:
        await proof.sync()
        proof.put([("src/n.py", None, 0o644), ("src/m.py", b"less\n", 0o644)])
        before, after = await put_back_after(lambda root: (root / "src/m.py").write_bytes(b"x"), proof)
        assert after == before
        assert "src/n.py" not in after
