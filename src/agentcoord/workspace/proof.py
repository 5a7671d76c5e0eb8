"""A copy in which checks are run: the user's tree as it is now, with or without a task's changes.

Separate from a worker's copy, so that the checks see what landing would make and nothing
that the worker left lying about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agentcoord.domain.files import ChangeSet
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.rewritten import GONE, Shown
from agentcoord.workspace.staged import MergeConflict, Staged
from agentcoord.workspace.staging import stage_changes
from agentcoord.workspace.threads import run_to_end
from agentcoord.workspace.user_tree import TreeStamp
from agentcoord.workspace.versions import version_of
from agentcoord.workspace.workspace import Workspace

Resync = Callable[[], Awaitable[tuple[Manifest, int]]]
"""Brings the copy up to date; returns its manifest and the repository's generation it shows."""


class ProofTree:
    """One pooled copy for checks; lent by `WorkspacePool.proof` to one user at a time."""

    def __init__(
        self,
        repo: Repository,
        places: CopyPlaces,
        blobs: BlobStore,
        resync: Resync,
        shares: Mapping[str, Path],
    ) -> None:
        self._repo = repo
        self._blobs = blobs
        self._resync = resync
        self.root = places.tree
        self.shadow_git = places.shadow_git
        self.read_only = {real: repo.root / name for name, real in shares.items()}
        """Shared folders: where they really are, and where the sandbox shows them."""
        self._shared = frozenset(shares)
        self._shown: Shown | None = None

    async def sync(self) -> TreeStamp:
        """Make it the user's tree as it is now, with no changes on top."""
        manifest, generation = await self._resync()
        self._shown = Shown(manifest, {}, self._blobs.read)
        return replace(manifest.stamp(generation), shared=self._shared)

    async def rewritten(self) -> tuple[str, ...]:
        """What checks have written over since it was last asked, or since the copy was made what it is."""
        if self._shown is None:
            return ()
        return await run_to_end(self._shown.rewritten, self.root, tuple(self._shared))

    def put(self, files: Sequence[tuple[str, bytes | None, int]]) -> None:
        """Make these files so, by path, content (None: gone) and mode. Blocking."""
        tree = SafeTree(self.root)
        put: dict[str, str] = {}
        for path, content, mode in files:
            if content is None:
                tree.remove(path)
            else:
                tree.write_bytes(path, content, mode=mode)
            put[path] = GONE if content is None else version_of(content, mode).sha256
        if self._shown is not None:
            self._shown = replace(self._shown, on_top={**self._shown.on_top, **put}, told={})

    async def stage(
        self, ws: Workspace, changes: ChangeSet, *, ahead: Sequence[Staged] = ()
    ) -> Staged | MergeConflict:
        """Make it the user's tree as it is now, with the landable changes of `ws` on top.

        `ahead`: what will land before, each staged on top of the one before it; the result is as if it
        had landed already. After a conflict the copy shows the tree without the changes of `ws`. Raises
        WorkspaceError when the copy of `ws` changed since `changes` was taken.
        """
        self._shown = None
        manifest, generation = await self._resync()
        staged = await run_to_end(
            stage_changes,
            changes,
            ws.files,
            self.root,
            manifest,
            self._blobs,
            generation,
            self._repo.root,
            ahead,
        )
        if isinstance(staged, MergeConflict):
            return staged
        put = [file for each in (*ahead, staged) for file in each.files]
        contents = {file.new.sha256: file.content for file in put}
        self._shown = Shown(
            manifest,
            {file.path: file.new.sha256 for file in put},
            lambda sha256: contents[sha256] if sha256 in contents else self._blobs.read(sha256),
        )
        return replace(staged, stamp=replace(staged.stamp, shared=self._shared))
