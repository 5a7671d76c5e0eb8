"""The demo's folder: the bundled project as a fresh git repository with one commit.

Separate from `demo` because it must work on any machine, whatever git's configuration there says:
no template, no hooks, no signing, an identity of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agentcoord.cli.boundary import CommandError
from agentcoord.wire.protocol import ExitCode

NAME: Final = "agentcoord-demo"
_TRIES: Final = 1000
_GIT_TIMEOUT_S: Final = 60.0


def make_project(source: Path, wanted: Path | None, near: Path, env: Mapping[str, str]) -> Path:
    """Copy the project into a new folder, make it a repository with one commit, and return its path.

    `wanted` must not exist or be empty; without it a free name in `near` is taken. Raises CommandError.
    """
    folder = _new_folder(wanted, near)
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    git(folder, env, "init", "--quiet", "--template=")
    git(folder, env, "symbolic-ref", "HEAD", "refs/heads/main")
    git(folder, env, "add", "--all")
    identity = ("-c", "user.name=AgentCoord demo", "-c", "user.email=demo@localhost")
    git(
        folder,
        env,
        *identity,
        "commit",
        "--quiet",
        "--no-verify",
        "-m",
        "The project as it was in the evening",
    )
    return folder


def git(folder: Path, env: Mapping[str, str], *words: str) -> str:
    """Run git in `folder` without anybody's configuration; return what it said. Raises CommandError."""
    neutral = {key: value for key, value in env.items() if not key.startswith("GIT_")}
    neutral |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    try:
        outcome = subprocess.run(
            ["git", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null", *words],
            cwd=folder,
            env=neutral,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(
            "git is not installed", mend="install git with your system's package manager"
        ) from error
    if outcome.returncode != 0:
        raise CommandError(f"git {words[0]} failed in {folder}: {outcome.stderr.strip()}")
    return outcome.stdout.strip()


def _new_folder(wanted: Path | None, near: Path) -> Path:
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise CommandError(
                f"{wanted} is there already and is not empty",
                exit_code=ExitCode.REFUSED,
                mend="give --dir a new folder",
            )
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted.resolve()
    for number in range(1, _TRIES):
        folder = near.resolve() / (NAME if number == 1 else f"{NAME}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise CommandError(f"there are {_TRIES} demo folders in {near} already", mend="give --dir a new folder")
