"""What a command finds in its environment, and under which names it finds Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.sandbox.direct import direct_environment
from agentcoord.sandbox.environment import (
    command_environment,
    host_of,
    python_to_alias,
    search_folders,
    unfit_command,
)
from agentcoord.sandbox.policy import Policy

REPO = Path("/home/user/project")


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return path


@pytest.fixture
def environment_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    program(folder / "bin" / "python")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    return folder


def test_a_shared_environment_comes_first_then_toolchains_then_the_system(
    tmp_path: Path, environment_folder: Path
) -> None:
    tool = tmp_path / "tool"
    program(tool / "bin" / "python3")
    modules = tmp_path / "node_modules"
    modules.mkdir()
    policy = Policy(
        workspace=tmp_path,
        mount_at=REPO,
        read_only={modules: REPO / "node_modules", environment_folder: REPO / ".venv"},
        toolchains=(tool, program(tmp_path / "single" / "uv")),
    )
    assert search_folders(policy) == (
        REPO / ".venv" / "bin",
        REPO / "node_modules" / ".bin",
        tool / "bin",
        tmp_path / "single",
        Path("/usr/local/bin"),
        Path("/usr/bin"),
        Path("/bin"),
    )
    variables = command_environment(policy, path="x", home=Path("/h"), temporary=Path("/t"))
    assert variables["VIRTUAL_ENV"] == str(REPO / ".venv")


def test_python_is_aliased_only_where_python3_stands_alone(tmp_path: Path, environment_folder: Path) -> None:
    lone = program(tmp_path / "lone" / "python3")
    policy = Policy(tmp_path, REPO, read_only={environment_folder: REPO / ".venv"})
    assert python_to_alias((REPO / ".venv/bin", lone.parent), host_of(policy)) is None
    assert python_to_alias((lone.parent,), host_of(policy)) == lone
    assert python_to_alias((tmp_path / "nothing",), host_of(policy)) is None


def test_nothing_of_our_own_environment_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    policy = Policy(tmp_path, REPO, env={"EXTRA": "1"})
    variables = command_environment(policy, path="/usr/bin", home=Path("/h"), temporary=Path("/t"))
    assert "sk-secret" not in str(variables)
    assert "sk-secret" not in str(direct_environment(policy, tmp_path))
    assert variables["EXTRA"] == "1"
    assert variables["HOME"] == "/h"


def test_without_mounts_the_copy_comes_before_an_editable_installation(
    tmp_path: Path, environment_folder: Path
) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    policy = Policy(workspace, REPO, read_only={environment_folder: REPO / ".venv"})
    variables = direct_environment(policy, scratch)
    assert variables["PYTHONPATH"].split(":") == [str(workspace / "src"), str(workspace)]
    assert variables["PATH"].split(":")[0] == str(environment_folder / "bin")
    assert variables["VIRTUAL_ENV"] == str(environment_folder)


@pytest.mark.parametrize(
    ("command", "reason"),
    [("a\0b", "NUL"), ("\ud800", "Unicode"), ("x" * 130_000, "130000 bytes")],
    ids=["nul", "surrogate", "long"],
)
def test_a_command_that_no_shell_can_be_given_is_refused_in_words(command: str, reason: str) -> None:
    assert reason in unfit_command(command)


def test_ordinary_commands_are_fit() -> None:
    assert unfit_command("echo 'grüße'\nls") == ""
