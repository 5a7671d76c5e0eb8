"""One worker's private copy: its files, its changes, and what they started from.

Handed out by the pool; it knows nothing of slots and bindings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from agentcoord.domain.files import ChangeSet
from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.workspace.beneath import opened_root
from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.changes import find_changes, new_paths
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.manifest import Manifest
from agentcoord.workspace.mirror import GIT_MOUNT
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules
from agentcoord.workspace.signatures import size_of
from agentcoord.workspace.user_tree import Kind
from agentcoord.workspace.walk import walk


class Workspace:
    """A private copy, bound to one attempt at one task until it is released."""

    def __init__(
        self,
        repo: Repository,
        places: CopyPlaces,
        manifest: Manifest,
        blobs: BlobStore,
        rules: ScopeRules,
        *,
        task: TaskId,
        attempt: int,
        resumed: bool,
        shares: Mapping[str, Path],
    ) -> None:
        self._repo = repo
        self._manifest = manifest
        self._blobs = blobs
        self._rules = rules
        self._mounts = tuple(shares)
        self.root = places.tree
        """The copy on the host; the sandbox shows it at the repository's real path."""
        self.task = task
        self.attempt = attempt
        self.resumed = resumed
        """Whether it holds what an interrupted run of the same attempt left."""
        self.shadow_git = places.shadow_git
        self.read_only = {real: repo.root / name for name, real in shares.items()}
        """Shared folders: where they really are, and where the sandbox shows them."""
        self.files = SafeTree(places.tree)

    async def changes(self) -> ChangeSet:
        """Return what differs from the base by now."""
        return await asyncio.to_thread(
            find_changes, self._repo, self.root, self._manifest, self._rules, self._mounts
        )

    async def list_files(self) -> tuple[str, ...]:
        """Return every regular file of the copy that git would track, sorted."""
        return await asyncio.to_thread(self._list_files)

    async def base_bytes(self, path: str) -> bytes:
        """Return the file as the worker was given it.

        Raises FileNotFoundError when it was given none, WorkspaceError when that is lost.
        """
        entry = self._manifest.entries.get(path)
        if entry is None or entry.kind is not Kind.FILE:
            raise FileNotFoundError(path)
        return await asyncio.to_thread(self._blobs.read, entry.sha256)

    async def base_text(self, path: str) -> str:
        """Return the file as the worker was given it, as UTF-8 text.

        Raises as `base_bytes`, and WorkspaceError for other bytes.
        """
        try:
            return (await self.base_bytes(path)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WorkspaceError(f"{path!r} is not UTF-8 text") from error

    async def grown_bytes(self) -> int | None:
        """Return by how much all that is in the copy is larger than it was given; None: too many files."""
        return await asyncio.to_thread(self._grown_bytes)

    def _grown_bytes(self) -> int | None:
        found = walk(self.root)  # Also where something is mounted in a sandbox: there may be none.
        if found.overflow:
            return None
        given = sum(map(size_of, self._manifest.entries.copies.values()))
        return sum(map(size_of, found.files.values())) - given

    def _list_files(self) -> tuple[str, ...]:
        found = walk(self.root, skip=(GIT_MOUNT, *self._mounts))
        known = [
            path
            for path, entry in self._manifest.entries.items()
            if entry.kind is Kind.FILE and not entry.ignored and path in found.files
        ]
        with opened_root(self.root) as root_fd:
            new = new_paths(self._repo, root_fd, self._manifest, found, lambda _path, _why: None)
        return tuple(sorted([*known, *new]))
