"""The pool of private copies: slots, as many as its users need, resynced rather than rebuilt.

A slot is bound to one attempt at one task by a file beside the copy, so a restart finds
the work where it was left. At most one user has a slot at a time; who comes when all are
in use waits. The values that staging hands out are named here too, for its callers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from agentcoord.domain.ids import TaskId
from agentcoord.errors import DiskShortError, WorkspaceError
from agentcoord.workspace.ahead import put_ahead
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.mirror import refuse_full_disk, shared_folders, update_copy
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.proof import ProofTree
from agentcoord.workspace.repository import Repository, refuse_inside
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.shadow_git import write_shadow_git
from agentcoord.workspace.slots import Binding, NewSlots, Slot, remove_strays
from agentcoord.workspace.staged import MergeConflict, Staged, StagedFile, TreeMoved
from agentcoord.workspace.subvolumes import begin_copy
from agentcoord.workspace.threads import run_to_end
from agentcoord.workspace.user_tree import TreeStamp, list_tree, paths_moved
from agentcoord.workspace.workspace import Workspace

__all__ = [
    "MergeConflict",
    "ProofTree",
    "Staged",
    "StagedFile",
    "TreeStamp",
    "Workspace",
    "WorkspacePool",
]

_CALM_TRIES = 3
"""So often a copy is made beside landings; then landings wait for it."""


class WorkspacePool:
    """All private copies of one project. Not for two processes at once."""

    def __init__(
        self,
        repo: Repository,
        home: Path,
        rules: ScopeRules,
        *,
        share: Sequence[str] = (),
        size: int = 6,
        proof_slots: int = 2,
    ) -> None:
        """`home` is created when first needed. Raises WorkspaceError when it lies inside the repository."""
        refuse_inside(repo, home, "The private copies")
        self._repo = repo
        self._home = home
        self._rules = rules
        self._share = tuple(share)
        self._blobs = BlobStore(home / "blobs", durable=False)
        self._new_slots = NewSlots(home)
        self._slots: list[Slot] = []
        self._proofs = [Slot(CopyPlaces(home / "proofs" / str(n))) for n in range(proof_slots)]
        self._freed = asyncio.Event()
        """Set, and replaced by a new one, whenever a slot or a binding becomes free."""
        self._reading = asyncio.Lock()
        self._bindings_read = False
        self.grow(size)

    async def warm(self) -> None:
        """Build the copies that are not built yet, one after the other, each while nobody uses it."""
        for slot in [*self._proofs, *self._slots]:
            await self._load_bindings()
            if slot.busy or slot.binding is not None:
                continue
            slot.busy = True
            try:
                if not await self._is_built(slot):
                    await self._resync(slot)
            finally:
                self._free(slot)

    def grow(self, size: int) -> None:
        """Have at least so many copies; a new one is built when it is first needed."""
        while len(self._slots) < size:
            self._slots.append(self._new_slots.make())
        self._wake()

    @property
    def size(self) -> int:
        """How many private copies there are, those for checks not counted."""
        return len(self._slots)

    async def acquire(
        self,
        task: TaskId,
        attempt: int,
        *,
        fresh: bool,
        ahead: Sequence[Staged] = (),
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> Workspace:
        """Return a copy for an attempt at a task; wait while all are in use.

        The copy bound to the same attempt comes back as it was left (`resumed`), unless
        `fresh`. Any other is brought up to date with the user's tree first, and begins with what `ahead`
        will land, each staged on top of the one before it. Where the disk has no room for one more copy, it
        waits for one that somebody has in use; one in which another attempt's work waits is not taken for
        that. `on_wait` hears for what it waits. Raises WorkspaceError when the disk is too full.
        """
        await self._load_bindings()
        roomless: list[Slot] = []
        short: DiskShortError | None = None
        while True:
            while (slot := self._choose(task, roomless)) is None:
                if short is not None and not any(s.busy for s in self._slots if s not in roomless):
                    raise short
                on_wait("for a private copy" if short is None else f"for room: {short.message}")
                await self._freed.wait()
            slot.busy = True
            try:
                slot.holder = ws = await self._equipped(slot, Binding(task, attempt), fresh, ahead)
            except DiskShortError as error:
                if await self._is_built(slot):
                    raise
                roomless.append(slot)
                short = error
            else:
                return ws
            finally:
                if slot.holder is None:
                    self._free(slot)

    async def _is_built(self, slot: Slot) -> bool:
        return await asyncio.to_thread(Manifest.load, slot.places.manifest) is not None

    async def _equipped(self, slot: Slot, wanted: Binding, fresh: bool, ahead: Sequence[Staged]) -> Workspace:
        shares = await asyncio.to_thread(shared_folders, self._repo, self._share)
        manifest = None
        if slot.binding == wanted and not fresh:
            manifest = await asyncio.to_thread(slot.kept_manifest)
        resumed = manifest is not None
        if manifest is None:
            if slot.binding is not None:  # The work in it goes only where it makes room for some.
                await run_to_end(refuse_full_disk, slot.places.home, 0)
            await run_to_end(slot.unbind)
            manifest, _ = await self._resync(slot)
            if ahead:
                manifest = await run_to_end(self._put_ahead, slot, manifest, ahead)
        await run_to_end(slot.bind, wanted)
        return Workspace(
            self._repo,
            slot.places,
            manifest,
            self._blobs,
            self._rules,
            task=wanted.task,
            attempt=wanted.attempt,
            resumed=resumed,
            shares=shares,
        )

    async def release(self, ws: Workspace, *, keep: bool) -> None:
        """Give a copy back; with `keep` it stays bound to the task, which will be resumed.

        Releasing what is not held (any more) does nothing.
        """
        slot = next((s for s in self._slots if s.holder is ws), None)
        if slot is None:
            return
        try:
            await run_to_end(slot.give_back if keep else slot.unbind)
        finally:
            slot.holder = None
            self._free(slot)

    def abandon(self, task: TaskId) -> None:
        """Put a new slot in the place of the one whose user, for `task`, cannot be made to let go.

        What lies in the old folder is no slot's any more, and goes with the next cleanup.
        """
        for index, slot in enumerate(self._slots):
            if slot.busy and slot.binding is not None and slot.binding.task == task:
                self._slots[index] = self._new_slots.make()
                self._wake()

    def proof(self) -> AbstractAsyncContextManager[ProofTree]:
        """Lend a copy in which checks are run; waits while all are lent."""
        return self._lend_proof()

    async def moved(self, stamp: TreeStamp) -> tuple[str, ...]:
        """Return the paths of the user's tree that are not what `stamp` says, sorted."""
        return await asyncio.to_thread(paths_moved, self._repo, stamp)

    async def confirmed(self, staged: Staged) -> Staged | TreeMoved:
        """Return `staged`, stamped anew, if the user's tree is now what it was staged on."""
        generation = self._repo.generation
        moved = await self.moved(staged.stamp)
        if moved:
            return TreeMoved(moved)
        return replace(staged, stamp=replace(staged.stamp, generation=generation))

    async def left_out(self) -> tuple[str, ...]:
        """Return the untracked files that no copy gets, because their names look like a secret's."""
        return (await asyncio.to_thread(list_tree, self._repo)).left_out

    async def cleanup(self, live: Collection[TaskId]) -> int:
        """Drop what belongs to no live task, stray folders, and contents nobody refers to.

        Returns how many bindings and folders went.
        """
        dropped = 0
        await self._load_bindings()
        for slot in self._slots:
            if slot.binding is not None and slot.binding.task not in live and not slot.busy:
                slot.busy = True
                try:
                    await run_to_end(slot.unbind)
                finally:
                    self._free(slot)
                dropped += 1
        self._new_slots.leave_strays()
        return dropped + await run_to_end(remove_strays, self._home, self._places, self._blobs)

    def _places(self) -> list[CopyPlaces]:
        return [slot.places for slot in (*self._slots, *self._proofs)]

    @contextlib.asynccontextmanager
    async def _lend_proof(self) -> AsyncIterator[ProofTree]:
        while (slot := next((s for s in self._proofs if not s.busy), None)) is None:
            await self._freed.wait()
        slot.busy = True
        try:
            shares = await asyncio.to_thread(shared_folders, self._repo, self._share)
            yield ProofTree(self._repo, slot.places, self._blobs, lambda: self._resync(slot), shares)
        finally:
            self._free(slot)

    def _choose(self, task: TaskId, roomless: Sequence[Slot]) -> Slot | None:
        """Pick the slot bound to `task`, else an unbound one, else the one bound longest unused.

        None while all that would do are in use. For those in `roomless` there was no room on the disk: then
        none that is bound to another task is taken, as its work would be lost for nothing.
        """
        own = next((s for s in self._slots if s.binding is not None and s.binding.task == task), None)
        if own is not None:
            return None if own.busy else own
        free = [s for s in self._slots if not s.busy and s not in roomless]
        unbound = next((s for s in free if s.binding is None), None)
        if unbound is not None or roomless:
            return unbound
        return min(free, key=lambda s: s.used_at_ns, default=None)

    def _free(self, slot: Slot) -> None:
        """Let the next one have it. Awaits nothing, so that no cancellation can lose the wake-up."""
        slot.busy = False
        self._wake()

    def _wake(self) -> None:
        self._freed.set()
        self._freed = asyncio.Event()

    async def _load_bindings(self) -> None:
        async with self._reading:
            if not self._bindings_read:
                await self._new_slots.take_over(self._slots)
                self._bindings_read = True

    async def _resync(self, slot: Slot) -> tuple[Manifest, int]:
        """Bring a copy up to date; what it shows has no half landing in it."""
        shares = await asyncio.to_thread(shared_folders, self._repo, self._share)
        for _ in range(_CALM_TRIES):
            generation = self._repo.generation
            manifest = await run_to_end(self._update, slot, tuple(shares))
            if generation % 2 == 0 and self._repo.generation == generation:
                return manifest, generation
        async with self._repo.held_still():
            return await run_to_end(self._update, slot, tuple(shares)), self._repo.generation

    def _put_ahead(self, slot: Slot, manifest: Manifest, ahead: Sequence[Staged]) -> Manifest:
        slot.manifest = None
        try:
            slot.manifest = put_ahead(slot.places, manifest, self._blobs, ahead)
        except OSError as error:
            raise WorkspaceError(f"a private copy in {self._home} failed: {error}") from error
        return slot.manifest

    def _update(self, slot: Slot, mounts: tuple[str, ...]) -> Manifest:
        # At best of one that nobody works in; what somebody did is mended by the resync.
        others = sorted((s for s in (*self._proofs, *self._slots) if s is not slot), key=lambda s: s.busy)
        try:
            begin_copy(slot.places, [other.places for other in others])
            known = slot.manifest or Manifest.load(slot.places.manifest) or Manifest()
            slot.manifest = None
            manifest = update_copy(self._repo, slot.places, known, self._blobs, mounts)
            write_shadow_git(self._repo, slot.places.shadow_git)
        except OSError as error:
            raise WorkspaceError(f"a private copy in {self._home} failed: {error}") from error
        slot.manifest = manifest
        return manifest
