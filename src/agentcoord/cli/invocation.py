"""What a command is called with: the environment, the folder, the terminal.

The entry point makes one from the process; tests make their own. Cheap to import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.terminal import Terminal
from agentcoord.config.paths import ProjectPaths, find_root
from agentcoord.config.root_rule import ALLOW_ROOT_VARIABLE, root_allowed
from agentcoord.wire.call import call_once
from agentcoord.wire.messages import ExitCode, Method

CALL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Invocation:
    """The surroundings of one command."""

    env: Mapping[str, str]
    terminal: Terminal
    folder: Path
    """Where to look for the repository: `-C`, or else the working directory."""
    uid: int

    @classmethod
    def of_process(cls, env: Mapping[str, str] | None = None) -> Invocation:
        """The surroundings of this process."""
        env = os.environ if env is None else env
        return cls(env, Terminal.of_process(env), Path(), os.geteuid())

    def root(self) -> Path:
        """The repository. Raises ConfigError when there is none."""
        return find_root(self.folder)

    def paths(self) -> ProjectPaths:
        """The project's places. Raises ConfigError when there is no repository."""
        return ProjectPaths.of(self.root(), self.env)

    def ask(self, method: Method, **params: Any) -> dict[str, Any]:
        """Ask the project's daemon one thing, on the plain socket."""
        return call_once(self.paths().socket, method, params, CALL_TIMEOUT_S)

    def may_be_root(self, flag: bool) -> bool:
        """Whether working as root was allowed, by `--allow-root` or the variable."""
        return root_allowed(self.env, flag=flag)

    def refuse_root(self, flag: bool) -> None:
        """Raise CommandError when we are root and nobody allowed that."""
        if self.uid == 0 and not self.may_be_root(flag):
            raise CommandError(
                "running as root is refused: the workers' commands would be root's",
                exit_code=ExitCode.REFUSED,
                mend=f"run it as an ordinary user, or pass --allow-root (or set {ALLOW_ROOT_VARIABLE}=1)",
            )


def hoist_project(argv: Sequence[str]) -> list[str]:
    """Return `argv` with `-C DIR` / `--project DIR` at the front, wherever it stood before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*front, *rest, word, *words]
        if word in ("-C", "--project"):
            front += [word, *([folder] if (folder := next(words, None)) is not None else [])]
        elif word.startswith("--project=") or (word.startswith("-C") and len(word) > 2):
            front.append(word)
        else:
            rest.append(word)
    return front + rest
