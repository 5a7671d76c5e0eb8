"""Making the commits: one a task, each whole or not there, and what is staged stays staged.

Theory of operation. Git's own lock on the index is held while a commit is made, so nobody stages or commits
beside it. The commit is made from an index of ours: the tree of HEAD with the task's files. Git then runs
the user's hooks and signs as it always does. When it refuses, HEAD and the index are as they were. When it
committed, the user's index, a copy of which was brought up to the new HEAD meanwhile, is exchanged in one
rename: what was staged there is as staged as before, relative to the new HEAD.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.committing.landed_changes import ClashError, Landed, LandedChanges, Tree
from agentcoord.cli.committing.user_git import Entry, UserGit
from agentcoord.values import dataclass
from agentcoord.wire.protocol import ExitCode

_LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Committed:
    """One commit that was made."""

    task: str
    commit: str
    files: tuple[str, ...]
    said: str
    """What git and the hooks printed."""
    hook_changed: tuple[str, ...]
    """Files of the commit that are not as the task landed them: a hook rewrote them."""


def commit_one(git: UserGit, changes: LandedChanges, landed: Landed) -> Committed | None:
    """Commit one task; None when HEAD has it already.

    Raises CommandError when it clashes, when git or a hook refuses, or another git is at work; then nothing
    changed.
    """
    with _index_held(git) as held, tempfile.TemporaryDirectory(prefix="agentcoord-commit-") as name:
        folder = Path(name)
        head = git.head()
        tree = git.entries(head, landed.paths)
        mine, theirs = folder / "index", folder / "kept-index"
        for copy in (mine, theirs):
            if held.index.exists():
                shutil.copyfile(held.index, copy)
        try:
            if changes.is_in(tree, landed):
                return None
            wanted = changes.on_top_of(tree, landed)
            staged = git.staged(theirs, sorted(wanted)) if theirs.exists() else {}
            for path, entry in wanted.items():
                changes.rebased(path, tree.get(path), staged.get(path), entry)
        except ClashError as clash:
            raise _clashed(landed.task, clash.path) from clash
        # Of a copy of the user's index, so that git need not look at every file of the tree again.
        git.ask("read-tree", *(["-i", "-m", head] if head else ["--empty"]), index=mine)
        _put(git, mine, wanted)
        message = folder / "message"
        message.write_text(landed.message, encoding="utf-8", errors="replace")
        code, said = git.commit(mine, message)
        made = git.head()
        if code != 0 or made == head:
            raise _refused_by_git(landed.task, said, code)
        touched = git.changed(head, made)
        found: dict[str, Entry | None] = dict.fromkeys(touched)
        found |= git.entries(made, touched)
        _put(git, theirs, _carried(git, changes, theirs, git.entries(head, touched), found))
        held.exchange(theirs.read_bytes())
    hook_changed = tuple(p for p in sorted(wanted | found) if found.get(p) != wanted.get(p))
    return Committed(landed.task, made, tuple(sorted(wanted)), said, hook_changed)


@dataclass(slots=True)
class _HeldIndex:
    """The user's index, locked as git locks it."""

    index: Path
    lock: Path
    descriptor: int

    def exchange(self, content: bytes) -> None:
        """Put `content` in the index's place, and so end the lock."""
        with os.fdopen(os.dup(self.descriptor), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        self.lock.replace(self.index)


@contextmanager
def _index_held(git: UserGit) -> Iterator[_HeldIndex]:
    index = git.place("index")
    lock = index.with_name(index.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError as error:
        raise CommandError(
            f"another git is at work in this repository: {lock} is there",
            exit_code=ExitCode.REFUSED,
            mend="let it end; remove that file only if no git runs",
        ) from error
    held = os.fstat(descriptor)
    try:
        yield _HeldIndex(index, lock, descriptor)
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            # After the exchange a lock of that name would be somebody else's.
            if os.path.samestat(held, lock.stat()):
                lock.unlink()


def _put(git: UserGit, index: Path, entries: Tree) -> None:
    """Make an index have these; a mode of 0 takes a path out of it."""
    gone = Entry("0", git.put_plain(b""))
    rows = b"".join(
        f"{(entry or gone).mode} {(entry or gone).oid}\t".encode() + os.fsencode(path) + b"\0"
        for path, entry in entries.items()
    )
    git.ask("update-index", "--add", "-z", "--index-info", stdin=rows, index=index)


def _carried(
    git: UserGit,
    changes: LandedChanges,
    index: Path,
    before: Tree,
    after: Tree,
) -> dict[str, Entry | None]:
    """What an index is to have for the new HEAD; what a hook left no room for stays as it is staged."""
    staged = git.staged(index, sorted(after)) if index.exists() else {}
    carried: dict[str, Entry | None] = {}
    for path, entry in after.items():
        with suppress(ClashError):
            carried[path] = changes.rebased(path, before.get(path), staged.get(path), entry)
    return carried


def _clashed(task: str, path: str) -> CommandError:
    return CommandError(
        f"{task} and you changed the same lines of {path}",
        exit_code=ExitCode.REFUSED,
        mend=f"commit or unstage your own lines of {path} first",
    )


def _refused_by_git(task: str, said: str, code: int) -> CommandError:
    lines: Sequence[str] = said.splitlines()[-_LINES_SHOWN:]
    return CommandError(
        f"git did not commit {task} (exit code {code}): a hook, the signature or git itself refused it; "
        "nothing changed",
        exit_code=ExitCode.REFUSED,
        problems=lines,
        mend=f"settle what it says, then agentcoord commit {task}",
    )
