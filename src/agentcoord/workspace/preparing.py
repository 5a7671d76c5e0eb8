"""What a landing or an undo needs, put on the disk before anything of the user's is touched.

Looks at the user's files, stores every content, writes the record and the siblings; or says why not.
Separate from `landing`, which carries out what was prepared. Blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from agentcoord.clock import Clock
from agentcoord.domain.files import FileVersion
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import in_words
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.history import Record, standing_landings
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.patches import reverse_patch, with_contents
from agentcoord.workspace.records import landing_record, undo_record
from agentcoord.workspace.recovery import forget
from agentcoord.workspace.staged import Staged, TreeMoved, UndoOutcome
from agentcoord.workspace.subsets import plan_without
from agentcoord.workspace.swaps import Swapper
from agentcoord.workspace.undo import UndoPlan, plan_undo
from agentcoord.workspace.versions import version_of


class Preparer:
    """Prepares records of one journal; one at a time."""

    def __init__(
        self, journal: Journal, swapper: Swapper, clock: Clock, fault: Callable[[str], None]
    ) -> None:
        self._journal = journal
        self._swapper = swapper
        self._clock = clock
        self._fault = fault

    def landing(self, task: TaskId, token: FencingToken, title: str, staged: Staged) -> Record | TreeMoved:
        """Prepare a landing; TreeMoved when a target is not its base. Raises WorkspaceError."""
        current = {f.path: self._read_current(f.path) for f in staged.files}
        moved = tuple(f.path for f in staged.files if not _is_base(current[f.path], f.base))
        if moved:
            return TreeMoved(moved)
        contents = [c for c in current.values() if c is not None] + [f.content for f in staged.files]
        self._store(contents)
        lines = count_lines([Pair(f.path, current[f.path], f.content) for f in staged.files])
        record = landing_record(
            self._next_number(),
            self._clock.now_ms(),
            task,
            token,
            title,
            staged,
            lines,
            self._swapper.missing_folders(current),
        )
        return self._prepare(record, record.made_folders)

    def undo(self, task: TaskId, since_ms: int, rejected: str) -> Record | TreeMoved | UndoOutcome:
        """Prepare the undo of a task; an outcome when nothing is to be done, or something is in the way."""
        records = self._journal.load()
        landings = with_contents(standing_landings(records, task, since_ms))
        if not landings:
            undo = _earlier_undo([r for r in records if r.at_ms >= since_ms], task)
            if rejected:
                self._journal.write(replace(undo, rejected=rejected))
            return UndoOutcome(undo.restored, undo.merged)
        plan = plan_undo(landings, self._read_current, self._journal.blobs.read)
        if plan.conflicts:
            return UndoOutcome(conflicts=plan.conflicts, patch=reverse_patch(self._journal, landings))
        record = undo_record(self._next_number(), self._clock.now_ms(), landings, plan, rejected=rejected)
        self._store([c for s in plan.steps for c in (s.current, s.wanted) if c is not None])
        return self._prepare(record, ())

    def plan_without(
        self, task: TaskId, hunks: Collection[str], read: Callable[[str], bytes | None], since_ms: int
    ) -> UndoPlan:
        """Plan what files would be without these hunks of a task. Raises WorkspaceError."""
        records = self._journal.load()
        landings = with_contents(standing_landings(records, task, since_ms))
        if not landings:
            raise WorkspaceError(f"{task} has landed nothing that stands")
        return plan_without(records, landings, hunks, read, self._journal.blobs.read)

    def part(
        self, task: TaskId, hunks: Collection[str], since_ms: int, proven: Mapping[str, str | None]
    ) -> Record | TreeMoved | UndoOutcome:
        """Prepare to take hunks out; TreeMoved when that would not come to what was `proven`."""
        plan = self.plan_without(task, hunks, self._read_current, since_ms)
        if plan.conflicts:
            return UndoOutcome(conflicts=plan.conflicts)
        wanted = plan.wanted_sha256
        if wanted != proven:
            paths = wanted.keys() | proven.keys()
            return TreeMoved(tuple(sorted(p for p in paths if wanted.get(p, "") != proven.get(p, ""))))
        landings = standing_landings(self._journal.load(), task, since_ms)
        record = undo_record(self._next_number(), self._clock.now_ms(), landings, plan, in_part=True)
        self._store([c for s in plan.steps for c in (s.current, s.wanted) if c is not None])
        return self._prepare(record, ())

    def _store(self, contents: Sequence[bytes]) -> None:
        self._fault("blobs")
        try:
            self._journal.blobs.put_all(contents)
        except OSError as error:
            raise in_words(error, "the journal") from error

    def _prepare(self, record: Record, new_folders: Sequence[str]) -> Record | TreeMoved:
        """Put everything that the swaps need on the disk."""
        try:
            self._fault("record prepared")
            self._journal.write(record)
            self._swapper.put_siblings(record.swaps, new_folders)
        except (FileNotFoundError, NotADirectoryError):
            # The user removed a folder between our look and our writing.
            forget(self._journal, self._swapper, record)
            return TreeMoved(tuple(s.path for s in record.swaps))
        except OSError as error:
            raise in_words(error, "the user's tree or the journal") from error
        return record

    def landed_with(self, task: TaskId, token: FencingToken) -> Record | None:
        """Return the landing of a task with this token, if it stands."""
        standing = standing_landings(self._journal.load(), task)
        return next((r for r in standing if r.token == token), None)

    def _read_current(self, path: str) -> bytes | None:
        return self._swapper.read_target(path, limit=MAX_LANDED_FILE_BYTES)

    def _next_number(self) -> int:
        return max((r.number for r in self._journal.load()), default=0) + 1


def _is_base(content: bytes | None, base: FileVersion | None) -> bool:
    if content is None or base is None:
        return content is None and base is None
    return version_of(content, 0).sha256 == base.sha256


def _earlier_undo(records: Sequence[Record], task: TaskId) -> Record:
    undos = [r for r in records if r.task == task and r.happened and r.undoes]
    if not undos:
        raise WorkspaceError(f"{task} has landed nothing, so there is nothing to undo")
    return undos[-1]
