"""Attacks on landing itself: what is staged is hostile, and so is the moment.

Each attack ends with the same question: are the user's tree, its `.git`, and a canary
outside untouched?
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentcoord.domain.ids import TaskId
from agentcoord.errors import LandingRefusedError
from agentcoord.workspace.landing import TreeMoved
from workspace_kit import TOKEN, World, git_state, nothing_to_verify, snapshot, staged, write

pytestmark = pytest.mark.redteam

TASK = TaskId("attack")
FILES = {"src/a.py": b"a = 1\n", "src/pkg/b.py": b"b = 1\n", ".github/workflows/ci.yml": b"on: push\n"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await World.make(tmp_path, FILES)
    write(tmp_path, "outside/canary.txt", b"canary")
    write(tmp_path, "outside/pkg/b.py", FILES["src/pkg/b.py"])
    before, git_before = snapshot(made.root), git_state(made.root)
    yield made
    assert snapshot(made.root) == before
    assert git_state(made.root) == git_before
    assert snapshot(tmp_path / "outside") == {"canary.txt": b"canary", "pkg/b.py": FILES["src/pkg/b.py"]}


async def land(world: World, path: str, base: bytes | None = None) -> object:
    ready = staged(world.repo, {path: (base, b"owned")})
    return await world.lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)


@pytest.mark.parametrize(
    "path",
    [
        "../outside/canary.txt",
        "src/../../outside/canary.txt",
        "/etc/agentcoord-owned",
        "~/owned",
        "src//a.py",
        "./src/a.py",
        "src/",
        "a\0b",
        "",
    ],
)
async def test_a_staged_path_that_is_not_plain_is_refused(world: World, path: str) -> None:
    with pytest.raises(LandingRefusedError):
        await land(world, path)


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/post-checkout",
        ".Git/config",
        ".g\u200dit/config",
        "\u200e.git/config",
        "git~1/config",
        "src/.git",
        "vendor/x/.git/config",
        ".gitmodules",
        ".gitattributes",
        "src/.gitattributes",
        "sitecustomize.py",
        "src/usercustomize.py",
        "src/x.pth",
        ".envrc",
        ".vscode/tasks.json",
        ".VSCODE/Tasks.json",
        ".mcp.json",
        "AGENTS.md",
        "src/agents.MD",
        "CLAUDE.md",
        ".pre-commit-config.yaml",
        ".github/workflows/evil.yml",
        ".gitlab-ci.yml",
        ".circleci/config.yml",
        "agentcoord.toml",
        ".lfsconfig",
        "src/.LFSconfig",
        ".hg/hgrc",
        "src/.hg/hgrc",
        ".jj/repo/config.toml",
        "src/.agentcoord-1-1-1.tmp",
    ],
)
async def test_what_runs_or_rules_later_is_refused_at_landing(world: World, path: str) -> None:
    with pytest.raises(LandingRefusedError) as refused:
        await land(world, path)
    assert refused.value.paths == (path,)


async def test_a_ci_workflow_that_the_user_has_is_refused_too(world: World) -> None:
    with pytest.raises(LandingRefusedError):
        await land(world, ".github/workflows/ci.yml", FILES[".github/workflows/ci.yml"])


async def test_one_refused_file_keeps_the_whole_change_set_out(world: World) -> None:
    ready = staged(world.repo, {"src/a.py": (FILES["src/a.py"], b"owned"), ".envrc": (None, b"owned")})
    with pytest.raises(LandingRefusedError):
        await world.lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)


async def test_a_file_below_a_file_and_a_file_in_place_of_a_folder_are_refused(world: World) -> None:
    with pytest.raises(LandingRefusedError):
        await land(world, "src/a.py/evil.py")
    with pytest.raises(LandingRefusedError):
        await land(world, "src/pkg")
    ready = staged(world.repo, {"new": (None, b"1"), "new/x.py": (None, b"2")})
    with pytest.raises(LandingRefusedError, match="a file and a folder at once"):
        await world.lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)


async def test_a_set_id_file_of_the_users_is_not_replaced(world: World) -> None:
    (world.root / "src/a.py").chmod(0o4755)
    with pytest.raises(LandingRefusedError, match="set-id"):
        await land(world, "src/a.py", FILES["src/a.py"])


async def test_a_fifo_of_the_users_blocks_nobody(world: World, tmp_path: Path) -> None:
    os.mkfifo(world.root / "src/pipe")
    with pytest.raises(LandingRefusedError):
        await land(world, "src/pipe", b"base")
    (world.root / "src/pipe").unlink()


@pytest.mark.parametrize("folder", ["src", "src/pkg"])
@pytest.mark.parametrize("when", ["before", "while verifying"])
async def test_a_folder_that_became_a_link_leading_out_is_not_followed(
    world: World, tmp_path: Path, when: str, folder: str
) -> None:
    real, kept = world.root / folder, world.root / "kept"
    target = tmp_path / "outside" / ("pkg" if folder == "src/pkg" else "")

    async def link_out() -> None:
        real.rename(kept)
        real.symlink_to(target)

    files = {"src/pkg/b.py": (FILES["src/pkg/b.py"], b"owned"), "src/pkg/new.txt": (None, b"owned")}
    ready = staged(world.repo, files)
    if when == "before":
        await link_out()
        with pytest.raises(LandingRefusedError, match="symlink"):
            await world.lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)
    else:
        assert isinstance(await world.lander.land(TASK, TOKEN, "t", ready, verify=link_out), TreeMoved)
    real.unlink()
    kept.rename(real)
    for litter in (world.root / "src/pkg").glob(".agentcoord-*"):
        litter.unlink()


async def test_a_target_that_became_a_link_leading_out_is_refused(world: World, tmp_path: Path) -> None:
    (world.root / "src/a.py").unlink()
    (world.root / "src/a.py").symlink_to(tmp_path / "outside/canary.txt")
    with pytest.raises(LandingRefusedError, match="symlink"):
        await land(world, "src/a.py", b"canary")
    (world.root / "src/a.py").unlink()
    write(world.root, "src/a.py", FILES["src/a.py"])


async def test_a_hard_linked_file_of_the_users_is_replaced_and_its_double_is_not(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "double.py").hardlink_to(world.root / "src/a.py")
    assert isinstance(await land(world, "src/a.py", FILES["src/a.py"]), tuple)
    assert (tmp_path / "double.py").read_bytes() == FILES["src/a.py"]
    await world.lander.undo(TASK)


@pytest.mark.parametrize("when", ["before", "while verifying"])
async def test_what_the_user_deletes_in_mid_run_is_not_brought_back(world: World, when: str) -> None:
    async def delete() -> None:
        (world.root / "src/a.py").unlink()

    ready = staged(world.repo, {"src/a.py": (FILES["src/a.py"], b"owned")})
    if when == "before":
        await delete()
    verify = nothing_to_verify if when == "before" else delete
    assert isinstance(await world.lander.land(TASK, TOKEN, "t", ready, verify=verify), TreeMoved)
    assert not (world.root / "src/a.py").exists()
    write(world.root, "src/a.py", FILES["src/a.py"])


async def test_a_folder_that_the_user_deletes_in_mid_run_is_not_brought_back(world: World) -> None:
    async def delete() -> None:
        shutil.rmtree(world.root / "src/pkg")

    ready = staged(world.repo, {"src/pkg/b.py": (FILES["src/pkg/b.py"], b"owned")})
    assert isinstance(await world.lander.land(TASK, TOKEN, "t", ready, verify=delete), TreeMoved)
    assert not (world.root / "src/pkg").exists()
    write(world.root, "src/pkg/b.py", FILES["src/pkg/b.py"])


async def test_a_name_of_255_bytes_lands_and_is_undone_and_a_longer_one_is_refused(world: World) -> None:
    name = "src/" + "n" * 252 + ".py"
    assert isinstance(await land(world, name), tuple)
    assert (world.root / name).read_bytes() == b"owned"
    await world.lander.undo(TASK)
    assert not (world.root / name).exists()
    with pytest.raises(LandingRefusedError):
        await land(world, name + "y")


async def test_undo_never_removes_what_the_landing_did_not_create(world: World) -> None:
    await land(world, "src/new.py")
    (world.root / "src/new.py").write_bytes(b"the user's own by now")
    outcome = await world.lander.undo(TASK)
    assert outcome.conflicts == ("src/new.py",)
    assert (world.root / "src/new.py").read_bytes() == b"the user's own by now"
    (world.root / "src/new.py").unlink()
