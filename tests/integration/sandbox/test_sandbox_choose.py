"""Which sandbox is taken, and what is said when none works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.errors import SandboxError
from agentcoord.sandbox import (
    Limits,
    Policy,
    RefusingSandbox,
    SystemPaths,
    choose_sandbox,
    toolchain_prefixes,
)

LIMITS = Limits(timeout_s=20.0)
CLOCK = SystemClock()


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return Policy(workspace=workspace, mount_at=Path("/home/somebody/project"))


def without_bubblewrap(tmp_path: Path) -> SystemPaths:
    release = tmp_path / "os-release"
    release.write_text("ID=fedora\n")
    return SystemPaths(bubblewrap=(tmp_path / "no-bwrap",), os_release=release)


def with_broken_bubblewrap(tmp_path: Path, message: str) -> SystemPaths:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    program.chmod(0o755)
    return SystemPaths(bubblewrap=(program,))


@pytest.mark.parametrize("unsafe", [False, True])
async def test_the_real_one_is_taken_where_it_works_whatever_was_allowed(
    policy: Policy, unsafe: bool
) -> None:
    sandbox = await choose_sandbox(unsafe=unsafe, clock=CLOCK)
    assert (sandbox.name, sandbox.confined) == ("bubblewrap", True)
    report = await sandbox.probe()
    assert report.ok
    assert report.version.startswith("bubblewrap")
    result = await sandbox.run("pwd; touch here", policy, LIMITS)
    assert result.output == "/home/somebody/project\n"
    assert (policy.workspace / "here").exists()


async def test_without_bubblewrap_commands_are_refused_with_this_distributions_mend(
    policy: Policy, tmp_path: Path
) -> None:
    sandbox = await choose_sandbox(unsafe=False, clock=CLOCK, system=without_bubblewrap(tmp_path))
    assert isinstance(sandbox, RefusingSandbox)
    assert not (await sandbox.probe()).ok
    with pytest.raises(SandboxError, match="bubblewrap is not installed") as caught:
        await sandbox.run("touch here", policy, LIMITS)
    assert caught.value.mend == "sudo dnf install -y bubblewrap"
    assert not (policy.workspace / "here").exists()


async def test_a_bubblewrap_that_may_not_make_namespaces_is_refused_with_its_own_words(
    policy: Policy, tmp_path: Path
) -> None:
    message = "bwrap: setting up uid map: Permission denied"
    sandbox = await choose_sandbox(
        unsafe=False, clock=CLOCK, system=with_broken_bubblewrap(tmp_path, message)
    )
    assert isinstance(sandbox, RefusingSandbox)
    with pytest.raises(SandboxError, match="setting up uid map: Permission denied") as caught:
        await sandbox.run("true", policy, LIMITS)
    assert caught.value.mend


async def test_a_bubblewrap_that_confines_nothing_is_seen_through(tmp_path: Path) -> None:
    """It runs the command as it is and reports as the real one does."""
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/bash\n"
        'if [ "$1" = --version ]; then echo bubblewrap 9; exit; fi\n'
        'mapfile -d "" args < /dev/fd/"$2"\n'
        'while [ "$1" != -- ]; do shift; done; shift\n'
        'for i in "${!args[@]}"; do [ "${args[i]}" = --json-status-fd ] && fd=${args[i+1]}; done\n'
        'for i in "${!args[@]}"; do [ "${args[i]}" = --bind ] && cd "${args[i+1]}"; done\n'
        'echo "{\\"child-pid\\": $$}" >&"$fd"; sleep 0.05\n'
        '"$@"; code=$?; echo "{\\"exit-code\\": $code}" >&"$fd"; exit $code\n'
    )
    program.chmod(0o755)
    sandbox = await choose_sandbox(unsafe=False, clock=CLOCK, system=SystemPaths(bubblewrap=(program,)))
    report = await sandbox.probe()
    assert not report.ok
    assert "it changed a file outside of the workspace" in report.reasons
    assert "it reads files outside of the workspace" in report.reasons


async def test_unsafe_runs_unconfined_only_where_nothing_works_and_says_so(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    sandbox = await choose_sandbox(unsafe=True, clock=CLOCK, system=without_bubblewrap(tmp_path))
    assert (sandbox.name, sandbox.confined) == ("none", False)
    report = await sandbox.probe()
    assert report.reasons[0] == "commands run unconfined, as --unsafe-no-sandbox asks"
    assert "dnf" in report.mend
    result = await sandbox.run("pwd; env; python --version; echo $HOME > where; exit 3", policy, LIMITS)
    assert result.exit_code == 3
    assert result.output.startswith(f"{policy.workspace}\n")
    assert "sk-secret" not in result.output
    assert "Python 3" in result.output
    assert not Path((policy.workspace / "where").read_text().strip()).exists()


async def test_a_declared_container_is_believed(policy: Policy) -> None:
    sandbox = await choose_sandbox(unsafe=False, clock=CLOCK, external=True)
    assert (sandbox.name, sandbox.confined) == ("external", True)
    assert (await sandbox.run("echo hello", policy, LIMITS)).output == "hello\n"


async def test_a_sandbox_that_breaks_later_raises_and_nothing_runs(policy: Policy, tmp_path: Path) -> None:
    sandbox = await choose_sandbox(unsafe=True, clock=CLOCK)
    gone = tmp_path / "toolchain"
    broken = Policy(policy.workspace, policy.mount_at, toolchains=(gone,))
    with pytest.raises(SandboxError, match="could not be set up: Can't find source path"):
        await sandbox.run("touch here", broken, LIMITS)
    assert not (policy.workspace / "here").exists()


async def test_python_of_a_shared_environment_and_of_the_path_work_inside(tmp_path: Path) -> None:
    """The interpreter of these tests may lie in a home that is closed to others, as pyenv's does."""
    repo = tmp_path / "repo"
    repo.mkdir()
    os.system(f"/usr/bin/env python3 -m venv --without-pip '{repo}/.venv'")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "test_it.py").write_text(
        "import sys, unittest\n"
        "class T(unittest.TestCase):\n"
        "    def test_prefix(self): self.assertTrue(sys.prefix.endswith('/repo/.venv'), sys.prefix)\n"
    )
    sandbox = await choose_sandbox(unsafe=False, clock=CLOCK)
    shared = Policy(
        workspace=workspace,
        mount_at=repo,
        read_only={repo / ".venv": repo / ".venv"},
        toolchains=toolchain_prefixes(repo, [".venv"]),
    )
    result = await sandbox.run("python -m unittest", shared, LIMITS)
    assert result.exit_code == 0, result.output
    bare = Policy(workspace=workspace, mount_at=repo, toolchains=toolchain_prefixes(repo, []))
    result = await sandbox.run("python -c 'print(6 * 7)' && python3 -m unittest -h", bare, LIMITS)
    assert result.output.startswith("42\nusage"), result.output


async def test_with_only_the_systems_python3_there_is_a_python_too(policy: Policy) -> None:
    sandbox = await choose_sandbox(unsafe=False, clock=CLOCK)
    result = await sandbox.run("python --version", policy, LIMITS)
    assert result.output.startswith("Python 3")
