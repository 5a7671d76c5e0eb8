"""A hostile worker against the daemon's own file tools, the change set and the resync.

Each attack ends with the same question: are the user's tree, its `.git`, and a canary
outside untouched?
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.pool import Workspace
from agentcoord.workspace.renames import KernelRenames
from workspace_kit import World, git_state, snapshot, write

pytestmark = pytest.mark.redteam

SECRET = b"the canary outside"
BIG = b"0123456789" * 300
FILES = {"src/a.py": b"a = 1\n", "src/pkg/b.py": b"b = 1\n", "big.py": BIG, "README": b"r\n"}


@dataclass
class Attack:
    """A worker at work in its copy, and a canary beside it."""

    world: World
    ws: Workspace
    canary: Path

    async def refused(self) -> dict[str, str]:
        return dict(r.split(": ", 1) for r in (await self.ws.changes()).refused)

    async def next_task_starts_clean(self) -> None:
        await self.world.pool.release(self.ws, keep=False)
        ws = await self.world.pool.acquire(TaskId("next"), 1, fresh=False)
        assert snapshot(ws.root) == snapshot(self.world.root)
        assert not list((ws.root / ".git").iterdir())
        await self.world.pool.release(ws, keep=False)


@pytest.fixture
async def attack(tmp_path: Path) -> AsyncIterator[Attack]:
    world = await World.make(tmp_path, FILES, size=1)
    canary = tmp_path / "outside/canary.txt"
    write(tmp_path, "outside/canary.txt", SECRET)
    (world.root / "users-link").symlink_to(canary.parent)
    before, git_before = snapshot(world.root), git_state(world.root)
    # On Btrfs a copy that is made anew is a subvolume, into which nothing outside can be linked.
    write(world.state, "copies/slots/0/tree/left/behind", b"")
    ws = await world.pool.acquire(TaskId("attack"), 1, fresh=False)
    yield Attack(world, ws, canary)
    assert snapshot(world.root) == before
    assert git_state(world.root) == git_before
    assert snapshot(canary.parent) == {"canary.txt": SECRET}
    assert canary.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "path",
    [
        "../../../outside/canary.txt",
        "src/../../x",
        "..",
        "/etc/passwd",
        "~/x",
        "~root/x",
        "a\0b",
        "",
        ".",
        "src/",
    ],
)
async def test_a_path_that_leads_out_is_refused_in_words(attack: Attack, path: str) -> None:
    with pytest.raises(WorkspaceError):
        attack.ws.files.read_bytes(path, limit=1000)
    with pytest.raises(WorkspaceError):
        attack.ws.files.write_bytes(path, b"owned")


@pytest.mark.parametrize(
    "way",
    ["dots", "an absolute path", "a symlink", "a symlinked folder", "the user's own link", "a hard link"],
)
async def test_a_tool_that_simply_opened_its_path_would_have_written_outside(
    attack: Attack, way: str
) -> None:
    """The control: each of these ways leads out, and only the guarded opening keeps it from that."""
    root, canary = attack.ws.root, attack.canary
    (root / "src/link").symlink_to(canary)
    (root / "src/folder").symlink_to(canary.parent)
    (root / "src/hard").hardlink_to(canary)
    paths = {
        "dots": os.path.relpath(canary, root),
        "an absolute path": str(canary),
        "a symlink": "src/link",
        "a symlinked folder": "src/folder/canary.txt",
        "the user's own link": "users-link/canary.txt",
        "a hard link": "src/hard",
    }
    (root / paths[way]).write_bytes(b"owned")
    assert canary.read_bytes() == b"owned"
    canary.write_bytes(SECRET)


async def test_an_absolute_path_to_the_copy_itself_is_refused(attack: Attack) -> None:
    with pytest.raises(WorkspaceError, match="absolute"):
        attack.ws.files.read_bytes(str(attack.ws.root / "src/a.py"), limit=1000)


@pytest.mark.parametrize(
    "path", [".git/config", ".GIT/config", ".git\u200c/config", "git~1/config", "./.git/x"]
)
async def test_the_file_tools_never_write_into_git(attack: Attack, path: str) -> None:
    with pytest.raises(WorkspaceError, match=r"inside \.git"):
        attack.ws.files.write_bytes(path, b"[core]")


async def test_a_symlink_to_a_file_is_neither_read_nor_written_through(attack: Attack) -> None:
    (attack.ws.root / "src/link.py").symlink_to(attack.canary)
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.read_bytes("src/link.py", limit=1000)
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.write_bytes("src/link.py", b"owned")
    assert await attack.refused() == {"src/link.py": "it is a symlink"}
    await attack.next_task_starts_clean()


async def test_a_symlinked_folder_is_neither_read_written_nor_listed_through(attack: Attack) -> None:
    (attack.ws.root / "out").symlink_to(attack.canary.parent)
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.read_bytes("out/canary.txt", limit=1000)
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.write_bytes("out/canary.txt", b"owned")
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.write_bytes("out/new/deep.txt", b"owned")
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.list_dir("out")
    assert not attack.ws.files.exists("out/canary.txt")
    await attack.next_task_starts_clean()


async def test_a_symlink_of_the_users_own_that_leads_out_is_not_followed(attack: Attack) -> None:
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.read_bytes("users-link/canary.txt", limit=1000)
    with pytest.raises(WorkspaceError, match="symlink"):
        attack.ws.files.write_bytes("users-link/canary.txt", b"owned")
    (attack.ws.root / "users-link").unlink()
    write(attack.ws.root, "users-link/canary.txt", b"owned")
    refused = await attack.refused()
    assert refused == {"users-link/canary.txt": "the user has a file at users-link"}


async def test_a_link_that_is_retargeted_is_refused(attack: Attack) -> None:
    (attack.ws.root / "users-link").unlink()
    (attack.ws.root / "users-link").symlink_to("/etc")
    assert await attack.refused() == {"users-link": "it is a symlink in the user's tree"}


async def test_a_tracked_file_replaced_by_a_symlink_does_not_land(attack: Attack) -> None:
    (attack.ws.root / "src/a.py").unlink()
    (attack.ws.root / "src/a.py").symlink_to(attack.canary)
    changes = await attack.ws.changes()
    assert changes.paths == ()
    assert changes.refused == ("src/a.py: it is a symlink",)
    await attack.next_task_starts_clean()


async def test_a_tracked_folder_replaced_by_a_symlink_is_not_walked(attack: Attack) -> None:
    shutil.rmtree(attack.ws.root / "src/pkg")
    (attack.ws.root / "src/pkg").symlink_to(attack.canary.parent)
    changes = await attack.ws.changes()
    assert changes.paths == ()
    assert [c.path for c in changes.reported] == ["src/pkg/b.py"]
    assert changes.refused == ("src/pkg: it is a symlink",)
    await attack.next_task_starts_clean()


async def test_a_hard_link_to_something_outside_does_not_land(attack: Attack) -> None:
    (attack.ws.root / "src/stolen.txt").hardlink_to(attack.canary)
    (attack.ws.root / "src/a.py").unlink()
    (attack.ws.root / "src/a.py").hardlink_to(attack.canary)
    assert set(await attack.refused()) == {"src/a.py", "src/stolen.txt"}
    attack.ws.files.write_bytes("src/stolen.txt", b"replaced, not written through")
    await attack.next_task_starts_clean()


async def test_a_folder_swapped_for_a_symlink_in_a_loop_never_leads_a_write_out(attack: Attack) -> None:
    stop = threading.Event()
    root = attack.ws.root

    def swap() -> None:
        folder = os.open(root, os.O_RDONLY)
        while not stop.is_set():
            KernelRenames().exchange(folder, "race", "other")
        os.close(folder)

    (root / "other").symlink_to(attack.canary.parent)
    (root / "race").mkdir()
    (root / "race/canary.txt").write_bytes(b"inside")
    racer = threading.Thread(target=swap)
    racer.start()
    refused = 0
    try:
        for number in range(400):
            try:
                attack.ws.files.write_bytes("race/canary.txt", b"inside")
                assert attack.ws.files.read_bytes("race/canary.txt", limit=100) == b"inside"
            except (WorkspaceError, FileNotFoundError):
                refused += 1
            if number % 50 == 0:
                await attack.ws.changes()
    finally:
        stop.set()
        await asyncio.to_thread(racer.join, 10)
    assert 0 < refused < 400
    await attack.next_task_starts_clean()


async def test_a_fifo_blocks_nobody_and_does_not_land(attack: Attack) -> None:
    os.mkfifo(attack.ws.root / "src/pipe.py")
    (attack.ws.root / "README").unlink()
    os.mkfifo(attack.ws.root / "README")
    with pytest.raises(WorkspaceError, match="not a regular file"):
        attack.ws.files.read_bytes("src/pipe.py", limit=1000)
    with pytest.raises(WorkspaceError, match="not a regular file"):
        attack.ws.files.write_bytes("src/pipe.py", b"x")
    assert set(await attack.refused()) == {"README", "src/pipe.py"}
    await attack.next_task_starts_clean()


async def test_a_huge_sparse_file_is_neither_read_nor_hashed(attack: Attack) -> None:
    for path in ("src/huge.bin", "src/a.py"):
        with (attack.ws.root / path).open("wb") as huge:
            huge.truncate(1 << 42)
    with pytest.raises(WorkspaceError, match="at most"):
        attack.ws.files.read_bytes("src/huge.bin", limit=1000)
    async with asyncio.timeout(10):
        assert set(await attack.refused()) == {"src/a.py", "src/huge.bin"}
    await attack.next_task_starts_clean()


async def test_a_set_id_bit_does_not_land(attack: Attack) -> None:
    write(attack.ws.root, "src/a.py", b"changed")
    write(attack.ws.root, "src/new.py", b"new")
    (attack.ws.root / "src/a.py").chmod(0o4755)
    (attack.ws.root / "src/new.py").chmod(0o2755)
    assert set((await attack.refused()).values()) == {"it has a set-id bit"}


async def test_files_that_nobody_may_read_do_not_stop_the_change_set(attack: Attack) -> None:
    write(attack.ws.root, "src/pkg/new.py", b"n")
    (attack.ws.root / "src/pkg").chmod(0)
    changes = await attack.ws.changes()
    assert changes.paths == ("src/pkg/new.py",)
    (attack.ws.root / "src/pkg").chmod(0)
    await attack.next_task_starts_clean()


async def test_git_planted_in_the_copy_runs_nothing_in_the_daemon(attack: Attack) -> None:
    planted = f'[core]\n\tfsmonitor = "touch {attack.canary.parent}/owned"\n\thooksPath = .hooks\n'
    for git_dir in (".git", "nested/.git", "src/.git"):
        write(attack.ws.root, f"{git_dir}/config", planted.encode())
        write(attack.ws.root, f"{git_dir}/HEAD", b"ref: refs/heads/main\n")
    write(attack.ws.root, ".gitattributes", b"* filter=owned diff=owned merge=owned\n")
    write(attack.ws.root, "src/a.py", b"a = 2\n")
    changes = await attack.ws.changes()
    assert changes.paths == ("src/a.py",)
    assert [r.partition(":")[0] for r in changes.refused] == [".gitattributes", "nested/.git/", "src/.git/"]
    await attack.world.stage(attack.ws, changes)
    await attack.next_task_starts_clean()


@pytest.mark.parametrize("command", ["rm -rf -- * .[a-z]*", "mv src gone", "git clean -fdxq . ; rm -r src"])
async def test_deleting_in_the_copy_is_told_and_deletes_nothing(attack: Attack, command: str) -> None:
    subprocess.run(["bash", "-c", command], cwd=attack.ws.root, check=False, capture_output=True)
    changes = await attack.ws.changes()
    assert {"src/a.py", "src/pkg/b.py"} <= {c.path for c in changes.reported}
    assert not any(p.startswith("src/") for p in changes.paths)
    await attack.next_task_starts_clean()


async def test_truncation_is_held_for_a_person(attack: Attack) -> None:
    write(attack.ws.root, "big.py", BIG[:10])
    write(attack.ws.root, "src/a.py", b"")
    ready = await attack.world.stage(attack.ws)
    assert getattr(ready, "held", None) == ("big.py", "src/a.py")


async def test_a_file_turned_into_a_folder_and_the_other_way_round_do_not_land(attack: Attack) -> None:
    (attack.ws.root / "README").unlink()
    write(attack.ws.root, "README/evil.py", b"e")
    shutil.rmtree(attack.ws.root / "src/pkg")
    write(attack.ws.root, "src/pkg", b"a file")
    changes = await attack.ws.changes()
    assert changes.refused == ("README/evil.py: the user has a file at README",)
    assert [c.path for c in changes.reported] == ["README", "src/pkg/b.py"]
    ready = await attack.world.stage(attack.ws, changes)
    assert getattr(ready, "paths", None) == ("src/pkg",)


@pytest.mark.parametrize(
    "name",
    [
        "-rf",
        "--help/x.py",
        "a\nb.py",
        b"\xff.py",
        "\x1b[2Jx.py",
        ".env",
        "x.pem",
        "a\\.git\\config",
        "a\u202egnp.py",
        "\u2066x",
    ],
)
async def test_a_new_file_with_a_treacherous_name_does_not_land(attack: Attack, name: str | bytes) -> None:
    path = os.fsdecode(name)
    write(attack.ws.root, path, b"x")
    changes = await attack.ws.changes()
    assert changes.paths == ()
    assert len(changes.refused) == 1


async def test_a_planted_gitignore_does_not_hide_a_change_of_a_known_folder(attack: Attack) -> None:
    write(attack.ws.root, "src/.gitignore", b"*\n")
    write(attack.ws.root, "src/hidden.py", b"h")
    changes = await attack.ws.changes()
    assert changes.paths == ("src/hidden.py",)
