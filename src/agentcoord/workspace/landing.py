"""Landing: a task's files into the user's tree, all or none, also across `kill -9`; and back out.

The order is what makes it safe: contents to the journal, siblings beside the targets, the
right to land verified, the intention to the journal, then one atomic exchange a file, each
verified by what came out (see `swaps`), then the journal says that it happened. A crash
anywhere leaves a record from which `recovery` reaches one of the two ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.domain.files import FileLines, LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.errors import LandingRefusedError
from agentcoord.workspace.beneath import in_words
from agentcoord.workspace.compaction import Compaction, compact, mark_accepted
from agentcoord.workspace.history import (
    LandedRecord,
    Operation,
    Phase,
    Record,
    landed_records,
    left_of,
    standing_landings,
    undone_landings,
)
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.patches import Diff, diff_of, lines_of, reverse_patch, trimmed_tasks
from agentcoord.workspace.preparing import Preparer
from agentcoord.workspace.records import refuse_names
from agentcoord.workspace.recovery import abandon, forget_prepared, recover, settle, take_back
from agentcoord.workspace.renames import KernelRenames, Renames
from agentcoord.workspace.repository import Repository, refuse_inside
from agentcoord.workspace.staged import Staged, TreeMoved, UndoOutcome
from agentcoord.workspace.swaps import Swapper
from agentcoord.workspace.threads import run_to_end
from agentcoord.workspace.undo import UndoPlan
from agentcoord.workspace.user_tree import paths_moved

__all__ = ["LandedRecord", "Lander", "TreeMoved", "UndoOutcome"]

_UNDO_TRIES = 4
"""So often an undo is planned anew because the user saved in the middle of it."""


def _no_fault(step: str) -> None:
    """Tests pass a hook instead that ends the process at a chosen step."""


async def _nothing_to_verify() -> None:
    """An undo needs no lease: the person asked for it."""


class Lander:
    """The only writer of the user's tree. One a repository; one landing at a time."""

    def __init__(
        self,
        repo: Repository,
        journal_home: Path,
        *,
        clock: Clock,
        renames: Renames | None = None,
        fault: Callable[[str], None] = _no_fault,
    ) -> None:
        """`journal_home` is created when first needed; `fault` hears each step before it is taken.

        Raises WorkspaceError when `journal_home` lies inside the repository.
        """
        refuse_inside(repo, journal_home, "The landing journal")
        self._repo = repo
        self._journal = Journal(journal_home)
        self._clock = clock
        self._fault = fault
        self._swapper = Swapper(repo.root, self._journal.blobs, renames or KernelRenames(), fault)
        self._preparer = Preparer(self._journal, self._swapper, clock, fault)
        self._lock = asyncio.Lock()
        self._unfinished = False
        """The disk refused even to put things back: the journal must be replayed before anything else."""

    async def recover(self) -> tuple[TaskId, ...]:
        """Finish what a crash cut short. Call it at start, before any landing.

        Returns the tasks that turned out landed.
        """
        async with self._lock:
            happened = await self._replay()
        return tuple(dict.fromkeys(r.task for r in happened if r.operation is Operation.LAND))

    async def land(
        self,
        task: TaskId,
        token: FencingToken,
        title: str,
        staged: Staged,
        *,
        verify: Callable[[], Awaitable[None]],
    ) -> tuple[LandedFile, ...] | TreeMoved:
        """Put the staged files into the user's tree, all of them or none.

        `verify` is awaited last, before the first file is swapped; whatever it raises passes
        through, and nothing has changed. Landing the same task with the same token again
        returns what landed. Returns TreeMoved when a target is not its base, or another
        landing changed something since the stamp. Raises LandingRefusedError for what never
        lands, WorkspaceError when the disk refuses.
        """
        await asyncio.to_thread(refuse_names, staged)
        async with self._turn():
            landed = await asyncio.to_thread(self._preparer.landed_with, task, token)
            if landed is not None:
                return landed.files
            if self._repo.generation != staged.stamp.generation:
                moved = await asyncio.to_thread(paths_moved, self._repo, staged.stamp)
                if moved:
                    return TreeMoved(moved)
            prepared = await run_to_end(self._preparer.landing, task, token, title, staged)
            if isinstance(prepared, TreeMoved):
                return prepared
            ended = await self._carry_out(prepared, verify)
            return ended if isinstance(ended, TreeMoved) else ended.files

    async def landed(self, task: TaskId, *, since_ms: int = 0) -> LandedRecord | None:
        """Return the newest landing of `task` that stands; None when there is none, or it was undone.

        `since_ms`, here and below: when the task was loaded. A plan of another night may have had a
        task of the same name, whose landings are its own.
        """
        history = await self.history_of(task)
        return next((r for r in reversed(history) if r.stands(since_ms=since_ms)), None)

    async def history(self) -> list[LandedRecord]:
        """Return every landing, undone ones included, newest last."""
        return await asyncio.to_thread(lambda: landed_records(self._journal.load()))

    async def history_of(self, task: TaskId) -> list[LandedRecord]:
        """Return every landing of `task`, undone ones and those of namesakes included, newest last."""
        return await asyncio.to_thread(lambda: landed_records(self._journal.of_task(task)))

    async def diff(self, task: TaskId, *, since_ms: int = 0) -> str:
        """Return what `task` landed as a unified diff, also after it was undone.

        Raises WorkspaceError when it landed nothing.
        """
        return (await asyncio.to_thread(diff_of, self._journal, task, since_ms, whole=False)).text

    async def whole_diff(self, task: TaskId, *, since_ms: int = 0) -> Diff:
        """As `diff`, but for a program to apply, binary files and all, unless it would be too large."""
        return await asyncio.to_thread(diff_of, self._journal, task, since_ms, whole=True)

    async def lines(self, task: TaskId, *, since_ms: int = 0) -> list[FileLines]:
        """Return what stands of what `task` landed, path by path, without hunks that were taken out.

        Raises WorkspaceError when nothing of it stands, or its contents were compacted.
        """
        return await asyncio.to_thread(lines_of, self._journal, task, since_ms)

    async def trimmed(self) -> set[TaskId]:
        """Return the tasks from which hunks were taken out."""
        return await asyncio.to_thread(trimmed_tasks, self._journal)

    async def undo(self, task: TaskId, *, since_ms: int = 0, rejected: str = "") -> UndoOutcome:
        """Take back what `task` landed and nothing else, all of it or nothing.

        `rejected`: why a person wants it done anew, which goes into the same record of the journal.
        An undone task answers what its undo did, and the reason goes into that record.
        Raises WorkspaceError when it never landed, or the disk refuses.
        """
        return await self._take_back(task, since_ms, lambda: self._preparer.undo(task, since_ms, rejected))

    async def undo_rest(self, task: TaskId, *, since_ms: int = 0) -> UndoOutcome:
        """Take out what was not in the tree when `task` was undone: in a stash, or on another branch.

        Files of which its undo took something out are left alone: what is there now is somebody's own.
        """
        return await self._take_back(task, since_ms, lambda: self._preparer.undo_rest(task, since_ms))

    async def has_rest(self, task: TaskId, *, since_ms: int = 0) -> bool:
        """Whether `undo_rest` has anything to take out, or would say what is in the way."""
        return await asyncio.to_thread(self._preparer.has_rest, task, since_ms)

    async def _take_back(
        self, task: TaskId, since_ms: int, prepare: Callable[[], Record | TreeMoved | UndoOutcome]
    ) -> UndoOutcome:
        async with self._turn():
            moved: tuple[str, ...] = ()
            for _ in range(_UNDO_TRIES):
                prepared = await run_to_end(prepare)
                if isinstance(prepared, UndoOutcome):
                    return prepared
                ended = prepared
                if isinstance(prepared, Record):
                    ended = await self._carry_out(prepared, _nothing_to_verify)
                if isinstance(ended, Record):
                    return UndoOutcome(ended.restored, ended.merged, ended.gone, ended.absent)
                moved = ended.paths
            records = await asyncio.to_thread(self._journal.load)
            landings = standing_landings(records, task, since_ms)
            if not landings:
                landings = left_of(records, undone_landings(records, task, since_ms))
            patch = await asyncio.to_thread(reverse_patch, self._journal, landings)
            return UndoOutcome(conflicts=moved, patch=patch)

    async def without(
        self, task: TaskId, hunks: Collection[str], read: Callable[[str], bytes | None], *, since_ms: int = 0
    ) -> UndoPlan:
        """Plan what files would be without these hunks of a task, from what `read` says they are now.

        Touches nothing. Raises WorkspaceError when the task has no such hunk, or has landed nothing.
        """
        return await asyncio.to_thread(self._preparer.plan_without, task, hunks, read, since_ms)

    async def take_out(
        self, task: TaskId, hunks: Collection[str], *, since_ms: int, proven: Mapping[str, str | None]
    ) -> UndoOutcome | TreeMoved:
        """Take these hunks of a task out of the user's tree, all or none; the rest of it still stands.

        `proven`: the SHA-256 that each changed file is to have (None: gone); where another one would come
        about, nothing happens and TreeMoved is returned. Raises like `without`.
        """
        async with self._turn():
            prepared = await run_to_end(self._preparer.part, task, hunks, since_ms, proven)
            if isinstance(prepared, UndoOutcome | TreeMoved):
                return prepared
            ended = await self._carry_out(prepared, _nothing_to_verify)
            return ended if isinstance(ended, TreeMoved) else UndoOutcome(ended.restored, ended.merged)

    async def accept(self, task: TaskId, *, since_ms: int = 0) -> None:
        """Note that a person accepted what `task` landed; only that is ever compacted."""
        async with self._turn():
            await run_to_end(mark_accepted, self._journal, task, since_ms, self._clock.now_ms())

    async def compact(self, *, keep_ms: int) -> Compaction:
        """Drop what undoing would take of work that was accepted more than `keep_ms` ago."""
        async with self._turn():
            now_ms = self._clock.now_ms()
            return await run_to_end(
                compact,
                self._journal,
                accepted_before_ms=now_ms - keep_ms,
                now_ms=now_ms,
                fault=self._fault,
            )

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One landing or undo at a time; what is refused or cancelled before its swaps leaves nothing."""
        async with self._lock:
            if self._unfinished:
                await self._replay()
            try:
                yield
            except BaseException:
                await run_to_end(forget_prepared, self._journal, self._swapper)
                raise

    async def _replay(self) -> list[Record]:
        async with self._repo.swapping():
            happened = await run_to_end(recover, self._journal, self._swapper)
        self._unfinished = False
        return happened

    async def _carry_out(self, record: Record, verify: Callable[[], Awaitable[None]]) -> Record | TreeMoved:
        """Take a prepared record to one of its ends."""
        self._fault("verify")
        await verify()
        async with self._repo.swapping():
            return await run_to_end(self._swap, record)

    def _swap(self, record: Record) -> Record | TreeMoved:
        try:
            self._fault("record swapping")
            record = self._journal.advance(record, Phase.SWAPPING)
            try:
                moved = self._swapper.put_all_in(record.swaps)
            except LandingRefusedError:
                abandon(self._journal, self._swapper, record)
                raise
            if moved:
                self._fault("record abandoned")
                abandon(self._journal, self._swapper, record)
                return TreeMoved(tuple(dict.fromkeys(moved)))
            self._fault("sync folders")
            self._swapper.sync_folders(record.swaps)
            self._fault("record done")
            record = self._journal.advance(record, Phase.DONE)
        except OSError as error:
            try:
                take_back(self._journal, self._swapper, record)
            except OSError:
                self._unfinished = True
            raise in_words(error, "the user's tree or the journal") from error
        self._fault("settle")
        with contextlib.suppress(OSError):  # It happened; the next start clears away.
            return settle(self._journal, self._swapper, record)
        return record
