"""The text of the macOS profile; no Mac has run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.sandbox.policy import Policy
from agentcoord.sandbox.seatbelt import Seatbelt, profile


@pytest.fixture
def text(tmp_path: Path) -> str:
    policy = Policy(
        workspace=tmp_path / 'odd "name"',
        mount_at=Path("/Users/me/project"),
        shadow_git=tmp_path / "shadow",
        git_objects=tmp_path / "objects",
        read_only={tmp_path / "venv": Path("/Users/me/project/.venv")},
        toolchains=(tmp_path / "python",),
    )
    return profile(policy, tmp_path / "scratch")


def test_everything_is_denied_first_and_the_network_again_last(text: str) -> None:
    assert text.startswith("(version 1)\n(deny default)\n")
    assert text.endswith("(deny network*)\n")
    assert "(allow network" not in text
    assert "(allow default)" not in text


def test_only_the_workspace_and_the_scratch_folder_are_written(text: str, tmp_path: Path) -> None:
    writable = [line for line in text.splitlines() if line.startswith("(allow") and "file-write*" in line]
    assert writable == [
        f'(allow file-read* file-write* (subpath "{tmp_path}/odd \\"name\\""))',
        f'(allow file-read* file-write* (subpath "{tmp_path}/scratch"))',
    ]


def test_git_and_shared_folders_are_read_but_not_written(text: str, tmp_path: Path) -> None:
    for shared in ("shadow", "objects", "venv"):
        assert f'(allow file-read* (subpath "{tmp_path}/{shared}"))' in text
        assert f'(deny file-write* (subpath "{tmp_path}/{shared}"))' in text
    assert f'(allow file-read* (subpath "{tmp_path}/python"))' in text


def test_no_home_is_readable(text: str) -> None:
    readable = [line for line in text.splitlines() if "file-read* (subpath" in line]
    assert not [line for line in readable if '"/Users' in line or '"/private/var"' in line or '"/"' in line]


def test_parentheses_and_quotes_are_balanced(text: str) -> None:
    plain = text.replace('\\"', "")
    assert plain.count("(") == plain.count(")")
    assert plain.count('"') % 2 == 0


async def test_without_the_program_the_probe_says_no() -> None:
    report = await Seatbelt(clock=SystemClock(), program=Path("/nonexistent")).probe()
    assert not report.ok
    assert report.backend == "seatbelt"
