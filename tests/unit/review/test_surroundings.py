"""What a stored verdict holds for beside the tree."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agentcoord.review.surroundings import surroundings_of
from agentcoord.sandbox.policy import Policy


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    packages, git, tool = tmp_path / "venv/lib/python3.11/site-packages", tmp_path / "git", tmp_path / "tool"
    for folder in (packages, git, tool / "bin"):
        folder.mkdir(parents=True)
    for name in ("HEAD", "packed-refs", "index"):
        (git / name).write_bytes(b"at first")
    return Policy(
        workspace=tmp_path,
        mount_at=Path("/repo"),
        shadow_git=git,
        read_only={tmp_path / "venv": Path("/repo/.venv")},
        toolchains=(tool,),
    )


def test_as_long_as_nothing_changes_they_are_the_same(policy: Policy) -> None:
    assert surroundings_of(policy, timeout_s=60) == surroundings_of(policy, timeout_s=60)


@pytest.mark.parametrize("name", ["HEAD", "packed-refs", "index"])
def test_a_commit_a_tag_and_what_is_added_make_them_others(policy: Policy, name: str) -> None:
    before = surroundings_of(policy, timeout_s=60)
    assert policy.shadow_git is not None
    (policy.shadow_git / name).write_bytes(b"now")
    changed = surroundings_of(policy, timeout_s=60)
    (policy.shadow_git / name).unlink()
    assert len({before, changed, surroundings_of(policy, timeout_s=60)}) == 3


def test_so_do_a_package_a_tool_and_another_time_limit(policy: Policy) -> None:
    seen = {surroundings_of(policy, timeout_s=limit_s) for limit_s in (60, 90)}
    (venv,) = policy.read_only
    (venv / "lib/python3.11/site-packages/shop-1.0.dist-info").mkdir()
    seen.add(surroundings_of(policy, timeout_s=60))
    (tool,) = policy.toolchains
    os.utime(tool / "bin", ns=(1, 1))
    seen.add(surroundings_of(policy, timeout_s=60))
    seen.add(surroundings_of(replace(policy, toolchains=()), timeout_s=60))
    seen.add(surroundings_of(replace(policy, shadow_git=None), timeout_s=60))
    assert len(seen) == 6
