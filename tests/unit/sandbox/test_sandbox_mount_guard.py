"""Mount targets are plain folders of the workspace, or the run is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.errors import SandboxError
from agentcoord.sandbox.mount_guard import Mount, check_targets, read_only_mounts
from agentcoord.sandbox.policy import Policy


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    workspace = tmp_path / "workspace"
    modules = tmp_path / "shared" / "node_modules"
    git = tmp_path / "shadow"
    for folder in (workspace, modules, git):
        folder.mkdir(parents=True)
    return Policy(
        workspace=workspace,
        mount_at=Path("/home/user/project"),
        shadow_git=git,
        read_only={modules: Path("/home/user/project/packages/app/node_modules")},
    )


def check(policy: Policy) -> tuple[Mount, ...]:
    mounts = read_only_mounts(policy)
    check_targets(policy.workspace, policy.mount_at, mounts)
    return mounts


def test_missing_targets_are_made_beneath_the_workspace(policy: Policy) -> None:
    mounts = check(policy)
    assert [str(mount.target) for mount in mounts] == [
        "/home/user/project/.git",
        "/home/user/project/packages/app/node_modules",
    ]
    assert (policy.workspace / "packages/app/node_modules").is_dir()
    assert (policy.workspace / ".git").is_dir()
    assert check(policy) == mounts


@pytest.mark.parametrize("swapped", ["packages", "packages/app", "packages/app/node_modules", ".git"])
@pytest.mark.parametrize("kind", ["link", "file", "fifo"])
def test_a_target_or_parent_that_is_no_folder_refuses_and_touches_nothing(
    policy: Policy, tmp_path: Path, swapped: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = policy.workspace / swapped
    place.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link":
            place.symlink_to(outside)
        case "file":
            place.write_text("")
        case _:
            os.mkfifo(place)
    with pytest.raises(SandboxError, match="may have replaced it") as caught:
        check(policy)
    assert caught.value.mend
    assert list(outside.iterdir()) == []


def test_a_workspace_that_is_a_link_refuses(policy: Policy, tmp_path: Path) -> None:
    policy.workspace.rmdir()
    policy.workspace.symlink_to(tmp_path)
    with pytest.raises(SandboxError, match="cannot be opened"):
        check(policy)


def test_a_shared_folder_that_is_gone_is_named(policy: Policy) -> None:
    gone = next(iter(policy.read_only))
    gone.rmdir()
    with pytest.raises(SandboxError, match="node_modules is to be shown to commands, but it is not there"):
        read_only_mounts(policy)


@pytest.mark.parametrize("target", ["/home/user/project", "/etc", "/home/user/project/../x", "/home/user"])
def test_a_target_outside_the_repository_refuses(policy: Policy, tmp_path: Path, target: str) -> None:
    odd = Policy(workspace=policy.workspace, mount_at=policy.mount_at, read_only={tmp_path: Path(target)})
    with pytest.raises(SandboxError, match="not below"):
        read_only_mounts(odd)


def test_what_an_outer_mount_shows_already_is_not_mounted_again(tmp_path: Path) -> None:
    outer, inner = tmp_path / "modules", tmp_path / "modules" / ".cache"
    inner.mkdir(parents=True)
    repo = Path("/r")
    policy = Policy(tmp_path, repo, read_only={outer: repo / "m", inner: repo / "m" / ".cache"})
    assert [mount.target for mount in read_only_mounts(policy)] == [repo / "m"]


def test_one_shared_file_is_mounted_on_a_file(tmp_path: Path) -> None:
    workspace, shared = tmp_path / "w", tmp_path / "settings.json"
    workspace.mkdir()
    shared.write_text("{}")
    policy = Policy(workspace, Path("/r"), read_only={shared: Path("/r/local/settings.json")})
    check(policy)
    assert (workspace / "local/settings.json").is_file()
    (workspace / "local/settings.json").unlink()
    (workspace / "local/settings.json").symlink_to("/etc/passwd")
    with pytest.raises(SandboxError):
        check(policy)


def test_a_toolchain_inside_the_repository_is_guarded_too(tmp_path: Path) -> None:
    tool = tmp_path / "repo" / ".python"
    tool.mkdir(parents=True)
    workspace = tmp_path / "w"
    workspace.mkdir()
    policy = Policy(workspace, tmp_path / "repo", toolchains=(tool,))
    (workspace / ".python").symlink_to("/")
    with pytest.raises(SandboxError):
        check(policy)
