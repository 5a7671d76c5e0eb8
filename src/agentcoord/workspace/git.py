"""Running git so that nothing but git runs: a neutral configuration and a scrubbed environment.

Git is run in two places only: in the user's own tree (`run_git`), which no worker can
write, and in a private temporary folder that is no repository (`run_isolated_git`).
It is never run inside a copy: a worker could leave a `.git/config` there whose
`core.fsmonitor` would be executed by us.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.spawned import run_program

GIT_TIMEOUT_S = 120.0
"""No single git command that we run takes minutes, even on half a million files."""

NEUTRAL = (
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.quotePath=false",
    "--no-pager",
)


class GitFailedError(WorkspaceError):
    """Git ended with an exit code that the caller did not expect. `stderr` is what it said."""

    def __init__(self, message: str, *, exit_code: int, stderr: str, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.exit_code = exit_code
        self.stderr = stderr


def run_git(args: Sequence[str], *, cwd: Path, stdin: bytes = b"", expected: Collection[int] = (0,)) -> bytes:
    """Run git in the user's tree and return its standard output.

    The user's own configuration is read (it holds `core.excludesFile` and `safe.directory`),
    but nothing of it can start a program, and no optional lock is taken. Raises
    GitFailedError for an exit code outside `expected`.
    """
    return _run(args, cwd=cwd, stdin=stdin, expected=expected, env=_neutral_environment())


def run_isolated_git(args: Sequence[str], *, cwd: Path, expected: Collection[int] = (0,)) -> bytes:
    """Run git in a private folder that is no repository, with no configuration at all."""
    env = _neutral_environment()
    env |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(cwd.parent),
    }
    return _run(args, cwd=cwd, stdin=b"", expected=expected, env=env)


def _run(
    args: Sequence[str], *, cwd: Path, stdin: bytes, expected: Collection[int], env: Mapping[str, str]
) -> bytes:
    try:
        done = run_program(["git", *NEUTRAL, *args], cwd=cwd, stdin=stdin, env=env, timeout_s=GIT_TIMEOUT_S)
    except FileNotFoundError as error:
        if not cwd.is_dir():
            raise WorkspaceError(f"{cwd} is no folder") from error
        raise WorkspaceError("git is not installed", mend="install git 2.30 or newer") from error
    except subprocess.TimeoutExpired as error:
        raise WorkspaceError(f"git {args[0]} did not end within {GIT_TIMEOUT_S:.0f} seconds") from error
    if done.returncode not in expected:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise GitFailedError(
            f"git {args[0]} failed: {said or f'exit code {done.returncode}'}",
            exit_code=done.returncode,
            stderr=said,
        )
    return done.stdout


def _neutral_environment() -> dict[str, str]:
    """The environment without anything that redirects git (GIT_DIR, GIT_INDEX_FILE, GIT_CONFIG_...)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return env | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
