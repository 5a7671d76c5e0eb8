"""What a command is called with: the environment, the folder, the terminal.

The entry point makes one from the process; tests make their own. Cheap to import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.terminal import Terminal
from agentcoord.config.root_rule import ALLOW_ROOT_VARIABLE, root_allowed
from agentcoord.config.whereabouts import root_above, socket_of
from agentcoord.errors import DaemonNotRunningError, NoAnswerError, RpcError
from agentcoord.wire.call import call_once
from agentcoord.wire.protocol import ExitCode, Method

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from agentcoord.config.paths import ProjectPaths

CALL_TIMEOUT_S = 60.0
LAST_WORD_CHARS = 2_000


class Invocation:
    """The surroundings of one command.

    `where` is in which folder to look for the repository: `-C`, or else the working directory.
    """

    __slots__ = ("call_timeout_s", "env", "terminal", "uid", "where")

    def __init__(
        self,
        env: Mapping[str, str],
        terminal: Terminal,
        where: str,
        uid: int,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self.env = env
        self.terminal = terminal
        self.where = where
        self.uid = uid
        self.call_timeout_s = call_timeout_s

    @classmethod
    def of_process(cls, env: Mapping[str, str] | None = None) -> Invocation:
        """The surroundings of this process."""
        env = os.environ if env is None else env
        return cls(env, Terminal.of_process(env), ".", os.geteuid())

    def at(self, folder: str | Path) -> Invocation:
        """The same in another folder."""
        return Invocation(self.env, self.terminal, os.fspath(folder), self.uid, self.call_timeout_s)

    @property
    def folder(self) -> Path:
        """Where to look for the repository, as a path."""
        from pathlib import Path

        return Path(self.where)

    def root(self) -> Path:
        """The repository. Raises ConfigError when there is none."""
        from agentcoord.config.paths import find_root

        return find_root(self.folder)

    def paths(self) -> ProjectPaths:
        """The project's places. Raises ConfigError when there is no repository."""
        from agentcoord.config.paths import ProjectPaths

        return ProjectPaths.of(self.root(), self.env)

    def ask(self, method: Method, **params: Any) -> dict[str, Any]:
        """Ask the project's daemon one thing, on the plain socket.

        Raises what `call_once` raises; of a daemon that was given up, or will soon be started again, it says
        that too, of one that does not answer the pid, and where work is missing that the repository moved.
        """
        try:
            return call_once(socket_of(root_above(self.where), self.env), method, params, self.call_timeout_s)
        except NoAnswerError as error:
            from agentcoord.cli.forced_stop import pid_in_words

            raise error.named(pid_in_words(self.paths())) from None
        except DaemonNotRunningError as error:
            more, mend = self._given_up(), error.mend
            if not more and (pid := self._supervisor()):
                more = f"its supervisor (pid {pid}) is about to start one"
                mend = "wait for a few seconds, or keep it from starting one: agentcoordd stop"
            more = more or self.moved_words()
            if not more:
                raise
            raise DaemonNotRunningError(f"{error.message}\n{more}", mend=mend) from error
        except RpcError as error:
            if error.exit_code == ExitCode.NOT_FOUND and (moved := self.moved_words()):
                error.problems = (*error.problems, moved)
            raise

    def moved_words(self) -> str:
        """What to say where there is no work, if the state is at a former place; else nothing."""
        from agentcoord.cli.former_place import moved_words

        return moved_words(self.paths())

    def _given_up(self) -> str:
        """The supervisor's last word, if the newest daemon had one and it gave up."""
        try:
            with self.paths().given_up_file.open(encoding="utf-8", errors="replace") as file:
                return file.readline(LAST_WORD_CHARS).strip()
        except OSError:
            return ""

    def _supervisor(self) -> int | None:
        """The pid of who starts the daemon again, if there is such."""
        from agentcoord.daemon.supervisor_note import supervisor_of

        supervisor = supervisor_of(self.paths())
        return supervisor.pid if supervisor else None

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
