"""What a task's commit changes: exactly the bytes that it landed, on top of what is committed already.

Theory of operation. The journal has each landing's contents before and after. Put on top of the commit that
HEAD names, in landing order: where that has the content from before, the one from after goes in; where it has
something else (your own uncommitted lines were in the file when the task landed), only the task's lines go
in, by a three-way merge. Contents are compared as git stores them, line ends and filters applied.
Deliberately absent: committing (`commits`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agentcoord.cli.committing.user_git import REGULAR, Entry, UserGit
from agentcoord.domain.files import FileVersion
from agentcoord.errors import ReviewError, WorkspaceError
from agentcoord.review.blame import blame
from agentcoord.values import dataclass
from agentcoord.workspace.diffs import merge
from agentcoord.workspace.history import Record, Swap
from agentcoord.workspace.packs import PackedContents

Tree = Mapping[str, Entry | None]
"""What is at some paths; None or nothing: no file."""
_MODES = {0o644: "100644", 0o755: "100755"}


class ClashError(Exception):
    """The same lines of `path` are changed by somebody else."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True)
class Landed:
    """One task to commit."""

    task: str
    records: tuple[Record, ...]
    """Its landings that stand, and what took hunks out of them, oldest first."""
    message: str

    @property
    def paths(self) -> list[str]:
        return sorted({swap.path for record in self.records for swap in record.swaps})


class LandedChanges:
    """Compares landings with commits, with the index and with the files. Blocking; writes only objects."""

    def __init__(self, git: UserGit, blobs: PackedContents, records: Sequence[Record]) -> None:
        self._git = git
        self._blobs = blobs
        self._happened = [record for record in records if record.happened]
        self._stored: dict[tuple[str, str], str] = {}

    def on_top_of(self, tree: Tree, landed: Landed) -> dict[str, Entry | None]:
        """What of `tree` the task changes (None: the file goes); nothing when it is all there.

        Raises ClashError.
        """
        now = dict(tree)
        for record in landed.records:
            for swap in record.swaps:
                now[swap.path] = self._with_swap(now.get(swap.path), swap)
        return {path: entry for path, entry in now.items() if tree.get(path) != entry}

    def is_in(self, tree: Tree, landed: Landed) -> bool:
        """Whether everything of the task is in `tree`, whatever was put on top of it there."""
        return all(self._path_is_in(tree.get(path), path, landed) for path in landed.paths)

    def rebased(
        self, path: str, before: Entry | None, staged: Entry | None, after: Entry | None
    ) -> Entry | None:
        """What is staged at a path, carried over from one commit to the next. Raises ClashError."""
        if staged in (before, after) or (staged is None and before is None):
            return after
        if before is None or staged is None or after is None or staged.mode not in REGULAR:
            raise ClashError(path)
        mode = after.mode if staged.mode == before.mode else staged.mode
        return Entry(mode, self._merged(path, before.oid, staged.oid, after.oid))

    def not_in_files(self, landed: Landed) -> list[str]:
        """The files that have not all of the task's lines any more: somebody edited, or removed them."""
        return [path for path in landed.paths if not self._is_in_file(path, landed)]

    def earlier(self, path: str, landed: Landed) -> Iterator[str]:
        """The tasks that wrote `path` before the task did, whether or not that stands."""
        first = next(r.number for r in landed.records if any(s.path == path for s in r.swaps))
        for record, _ in self._chain(path):
            if record.number < first and record.task != landed.task:
                yield record.task

    def begins_at(self, tree: Tree, path: str, landed: Landed) -> bool:
        """Whether `tree` has at `path` what was there before the task."""
        swap = next(s for r in landed.records for s in r.swaps if s.path == path)
        entry = tree.get(path)
        return (entry.oid if entry else None) == self._oid(path, swap.before)

    def _with_swap(self, ours: Entry | None, swap: Swap) -> Entry | None:
        if ours is not None and ours.mode not in REGULAR:
            raise ClashError(swap.path)
        before, after = self._oid(swap.path, swap.before), self._oid(swap.path, swap.after)
        if swap.after is None or after is None:
            if ours is not None and ours.oid != before:
                raise ClashError(swap.path)
            return None
        oid = self._merged(swap.path, before, ours.oid if ours else None, after)
        keeps_mode = swap.before is not None and swap.before.mode == swap.after.mode
        return Entry(ours.mode if ours is not None and keeps_mode else _MODES[swap.after.mode], oid)

    def _merged(self, path: str, base: str | None, ours: str | None, theirs: str) -> str:
        if ours == theirs or (ours is not None and base == theirs):
            return ours or theirs
        if ours == base:
            return theirs
        if base is None or ours is None:
            raise ClashError(path)
        read = self._git.read
        content = merge(base=read(base), ours=read(ours), theirs=read(theirs))
        if content is None:
            raise ClashError(path)
        return self._git.put_plain(content)

    def _path_is_in(self, entry: Entry | None, path: str, landed: Landed) -> bool:
        own = {record.number for record in landed.records}
        chain = self._chain(path)
        newest = max(at for at, (record, _) in enumerate(chain) if record.number in own)
        oid = entry.oid if entry is not None else None
        if any(self._oid(path, swap.after) == oid for _, swap in chain[newest:]):
            return True
        if entry is None:
            return False
        try:
            for record in landed.records:
                for swap in record.swaps:
                    if swap.path == path and self._with_swap(entry, swap) != entry:
                        return False
        except ClashError:
            return False
        return True

    def _is_in_file(self, path: str, landed: Landed) -> bool:
        last, swap = self._chain(path)[-1]
        if swap.after is None:
            return not (self._git.root / path).exists()
        try:
            current = self._read_file(self._git.root / path)
        except OSError:
            return False
        newest = self._blobs.read(swap.after.sha256)
        if current == newest:
            return True
        if any(record.number == last.number for record in landed.records):
            before = b"" if swap.before is None else self._blobs.read(swap.before.sha256)
            if merge(base=before, ours=current, theirs=newest) != current:
                return False
        try:
            return self._own_lines(path, current, landed) == self._own_lines(path, newest, landed)
        except (ReviewError, WorkspaceError):
            return False  # A binary file is as it landed, or it is another.

    def _own_lines(self, path: str, content: bytes, landed: Landed) -> list[str]:
        lines = blame(path, self._happened, self._blobs.read, content)
        return [line.text for line in lines if line.task == landed.task]

    def _chain(self, path: str) -> list[tuple[Record, Swap]]:
        """Every landing and undo of a path, oldest first."""
        return [(record, swap) for record in self._happened for swap in record.swaps if swap.path == path]

    def _oid(self, path: str, version: FileVersion | None) -> str | None:
        """The content as git stores it."""
        if version is None:
            return None
        key = path, version.sha256
        if key not in self._stored:
            self._stored[key] = self._git.put(path, self._blobs.read(version.sha256))
        return self._stored[key]

    @staticmethod
    def _read_file(path: Path) -> bytes:
        if path.is_symlink():
            raise OSError(f"{path} is a link now")
        return path.read_bytes()
