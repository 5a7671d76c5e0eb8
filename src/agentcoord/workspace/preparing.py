"""What a landing or an undo needs, put on the disk before anything of the user's is touched.

Looks at the user's files, stores every content, writes the record and the siblings; or says why not.
Separate from `landing`, which carries out what was prepared. Blocking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from agentcoord.clock import Clock
from agentcoord.domain.files import FileVersion
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import in_words
from agentcoord.workspace.changes import MAX_LANDED_FILE_BYTES
from agentcoord.workspace.diffs import Pair, count_lines
from agentcoord.workspace.history import Record, left_of, newest_undo, standing_landings, undone_landings
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
        self._beside = ThreadPoolExecutor(1)
        """Its thread begins when first needed, and ends with it."""

    def landing(self, task: TaskId, token: FencingToken, title: str, staged: Staged) -> Record | TreeMoved:
        """Prepare a landing; TreeMoved when a target is not its base. Raises WorkspaceError."""
        current = self._read_targets([f.path for f in staged.files])
        moved = tuple(f.path for f in staged.files if not _is_base(current[f.path], f.base))
        if moved:
            return TreeMoved(moved)
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
        old = [content for content in current.values() if content is not None]
        return self._prepare(record, old, [f.content for f in staged.files], record.made_folders)

    def undo(self, task: TaskId, since_ms: int, rejected: str) -> Record | TreeMoved | UndoOutcome:
        """Prepare the undo of a task; an outcome when nothing is to be done, or something is in the way."""
        records = self._journal.load()
        landings = with_contents(standing_landings(records, task, since_ms))
        if not landings:
            undo = newest_undo(records, task, since_ms)
            if rejected:
                self._journal.write(replace(undo, rejected=rejected))
            return UndoOutcome(undo.restored, undo.merged, undo.gone, undo.absent)
        plan = plan_undo(landings, records, self._read_current, self._journal.blobs.read)
        if plan.conflicts:
            return UndoOutcome(conflicts=plan.conflicts, patch=reverse_patch(self._journal, landings))
        record = undo_record(self._next_number(), self._clock.now_ms(), landings, plan, rejected=rejected)
        return self._prepare_undo(record, plan)

    def undo_rest(self, task: TaskId, since_ms: int) -> Record | TreeMoved | UndoOutcome:
        """Prepare to take out what was not in the tree when a task was undone; an outcome as `undo`."""
        landings, plan = self._plan_rest(task, since_ms)
        if plan.conflicts:
            return UndoOutcome(conflicts=plan.conflicts, patch=reverse_patch(self._journal, landings))
        if not plan.steps:
            return UndoOutcome(gone=plan.gone, absent=plan.absent)
        record = undo_record(self._next_number(), self._clock.now_ms(), landings, plan)
        return self._prepare_undo(record, plan)

    def has_rest(self, task: TaskId, since_ms: int) -> bool:
        """Whether anything of an undone task is in the tree."""
        _, plan = self._plan_rest(task, since_ms)
        return bool(plan.steps or plan.conflicts)

    def _plan_rest(self, task: TaskId, since_ms: int) -> tuple[list[Record], UndoPlan]:
        records = self._journal.load()
        landings = left_of(records, undone_landings(records, task, since_ms))
        return landings, plan_undo(landings, records, self._read_current, self._journal.blobs.read)

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
        return self._prepare_undo(record, plan)

    def _prepare_undo(self, record: Record, plan: UndoPlan) -> Record | TreeMoved:
        wanted = [step.wanted for step in plan.steps if step.wanted is not None]
        return self._prepare(record, [step.current for step in plan.steps], wanted, ())

    def _prepare(
        self, record: Record, old: Sequence[bytes], new: Sequence[bytes], new_folders: Sequence[str]
    ) -> Record | TreeMoved:
        """Put everything that the swaps need on the disk."""
        self._write_down(record, [*old, *new])
        try:
            contents = {version_of(each, 0).sha256: each for each in new}
            self._swapper.put_siblings(record.swaps, new_folders, contents)
        except (FileNotFoundError, NotADirectoryError):
            # The user removed a folder between our look and our writing.
            forget(self._journal, self._swapper, record)
            return TreeMoved(tuple(s.path for s in record.swaps))
        except OSError as error:
            raise in_words(error, "the user's tree or the journal") from error
        return record

    def _write_down(self, record: Record, contents: Sequence[bytes]) -> None:
        """Put a record and its contents on the disk, which waits for both at once.

        A record alone is of no harm: as long as it is prepared nobody asks for its contents.
        """
        self._fault("blobs")
        storing = self._beside.submit(self._journal.blobs.put_all, contents)
        try:
            try:
                self._fault("record prepared")
                self._journal.write(record)
            finally:
                wait([storing])
            storing.result()
        except OSError as error:
            raise in_words(error, "the journal") from error

    def landed_with(self, task: TaskId, token: FencingToken) -> Record | None:
        """Return the landing of a task with this token, if it stands."""
        standing = standing_landings(self._journal.load(), task)
        return next((r for r in standing if r.token == token), None)

    def _read_current(self, path: str) -> bytes | None:
        return self._read_targets([path])[path]

    def _read_targets(self, paths: Sequence[str]) -> dict[str, bytes | None]:
        return self._swapper.read_targets(paths, limit=MAX_LANDED_FILE_BYTES)

    def _next_number(self) -> int:
        return max((r.number for r in self._journal.load()), default=0) + 1


def _is_base(content: bytes | None, base: FileVersion | None) -> bool:
    if content is None or base is None:
        return content is None and base is None
    return version_of(content, 0).sha256 == base.sha256
