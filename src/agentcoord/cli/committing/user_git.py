"""The user's git, run as the user would: their identity, their hooks, their signing key.

Here and nowhere else is git run so; it lies in the command line's own room so that the daemon, which never
writes to `.git`, cannot reach it. Every change goes through an index file of ours. Deliberately absent: what
goes into a commit (`landed_changes`), and pushing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from agentcoord.cli.boundary import CommandError
from agentcoord.values import dataclass
from agentcoord.wire.protocol import ExitCode

LOCATING: Final = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
"""Variables that would make git work on another repository than the one that is meant."""
REGULAR: Final = ("100644", "100755")
_PATHS_A_CALL: Final = 500
_UNDER_WAY: Final = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a tree or an index names it."""

    mode: str
    oid: str


class UserGit:
    """One working tree of the user's. Blocking."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self.root = root
        self._env = {name: value for name, value in env.items() if name not in LOCATING}

    def ask(
        self, *words: str, stdin: bytes = b"", index: Path | None = None, expected: Collection[int] = (0,)
    ) -> bytes:
        """Run git and return what it prints. Raises CommandError for another exit code than expected."""
        done = self._run(words, stdin, index)
        if done.returncode not in expected:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise CommandError(f"git {words[0]} failed: {said or f'exit code {done.returncode}'}")
        return done.stdout

    def commit(self, index: Path, message: Path) -> tuple[int, str]:
        """Commit what `index` holds, hooks and signature and all; return the exit code and what was said."""
        words = ("commit", "--quiet", "--cleanup=whitespace", "--file", str(message))
        done = self._run(words, b"", index)
        said = b"\n".join(part for part in (done.stdout.rstrip(), done.stderr.rstrip()) if part)
        return done.returncode, said.decode("utf-8", "replace")

    def head(self) -> str:
        """The commit that HEAD names; empty before the first."""
        return self.ask("rev-parse", "-q", "--verify", "HEAD^{commit}", expected=(0, 1)).decode().strip()

    def branch(self) -> str:
        """The branch's short name; empty when HEAD is detached."""
        return os.fsdecode(self.ask("symbolic-ref", "-q", "--short", "HEAD", expected=(0, 1)).strip())

    def entries(self, commit: str, paths: Sequence[str]) -> dict[str, Entry]:
        """What a commit has at these paths; nothing where there is no file."""
        if not commit:
            return {}
        found: dict[str, Entry] = {}
        for some in _pieces(paths):
            for row in _rows(
                self.ask("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", *some)
            ):
                facts, _, path = row.partition("\t")
                mode, _, oid = facts.split(" ")
                found[path] = Entry(mode, oid)
        return found

    def staged(self, index: Path, paths: Sequence[str]) -> dict[str, Entry]:
        """What an index has at these paths; what was only announced (`git add -N`) counts as nothing."""
        nothing = self.put_plain(b"")
        found: dict[str, Entry] = {}
        for some in _pieces(paths):
            words = ("diff-files", "--name-only", "--diff-filter=A", "-z", "--", *some)
            announced = set(_rows(self.ask("--literal-pathspecs", *words, index=index)))
            words = ("ls-files", "-s", "-z", "--", *some)
            for row in _rows(self.ask("--literal-pathspecs", *words, index=index)):
                facts, _, path = row.partition("\t")
                mode, oid, _ = facts.split(" ")
                if not (oid == nothing and path in announced):
                    found[path] = Entry(mode, oid)
        return found

    def changed(self, before: str, after: str) -> list[str]:
        """The paths in which two commits differ; `before` may be empty."""
        words = (
            ("diff-tree", "-r", "--name-only", before, after)
            if before
            else ("ls-tree", "-r", "--name-only", after)
        )
        return list(_rows(self.ask(words[0], "-z", *words[1:])))

    def put(self, path: str, content: bytes) -> str:
        """Store a file's content as adding it would: line ends and filters of its path applied."""
        return self.ask("hash-object", "-w", "--stdin", "--path", path, stdin=content).decode().strip()

    def put_plain(self, content: bytes) -> str:
        """Store a content as it is."""
        return self.ask("hash-object", "-w", "--stdin", "--no-filters", stdin=content).decode().strip()

    def read(self, oid: str) -> bytes:
        return self.ask("cat-file", "blob", oid)

    def place(self, name: str) -> Path:
        """Where a file of the git folder is, such as `index`."""
        return self.root / os.fsdecode(self.ask("rev-parse", "--git-path", name).removesuffix(b"\n"))

    def refuse_unready(self) -> None:
        """Raise CommandError while something is under way that a commit would end or spoil."""
        for name, what in _UNDER_WAY.items():
            if self.place(name).exists():
                raise CommandError(
                    f"{what} is under way in this repository",
                    exit_code=ExitCode.REFUSED,
                    mend="end it first: git status says how",
                )
        if self.ask("ls-files", "-u", "-z"):
            raise CommandError(
                "the index has conflicts that are not settled",
                exit_code=ExitCode.REFUSED,
                mend="settle them first: git status names the files",
            )

    def _run(
        self, words: Sequence[str], stdin: bytes, index: Path | None
    ) -> subprocess.CompletedProcess[bytes]:
        env = self._env if index is None else {**self._env, "GIT_INDEX_FILE": str(index)}
        try:
            return subprocess.run(
                ["git", *words], cwd=self.root, env=env, input=stdin, capture_output=True, check=False
            )
        except FileNotFoundError as error:
            raise CommandError("git is not installed", mend="install git 2.30 or newer") from error


def _rows(printed: bytes) -> Iterable[str]:
    return [os.fsdecode(row) for row in printed.split(b"\0") if row]


def _pieces(paths: Sequence[str]) -> Iterable[Sequence[str]]:
    return [paths[start : start + _PATHS_A_CALL] for start in range(0, len(paths), _PATHS_A_CALL)]
