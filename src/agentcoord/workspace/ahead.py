"""Putting what others are about to land on a private copy that has just been brought up to date.

Separate from `mirror`, which knows the user's tree alone, and from `staging`, which puts a task's change on
top of all that in a proof copy. What is put here becomes part of what the worker starts from, so it is no
change of the worker's; should it not land after all, that shows as any other move of the tree under a task.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from agentcoord.workspace.blobs import BlobStore
from agentcoord.workspace.files import SafeTree
from agentcoord.workspace.manifest import Entry, Manifest
from agentcoord.workspace.mirror import wait_for_tick
from agentcoord.workspace.places import CopyPlaces
from agentcoord.workspace.signatures import changed_ns_of, signature_of
from agentcoord.workspace.staged import Staged
from agentcoord.workspace.user_tree import Kind


def put_ahead(places: CopyPlaces, manifest: Manifest, blobs: BlobStore, ahead: Sequence[Staged]) -> Manifest:
    """Write the files of `ahead` over the copy, each where the copy has its base; return the new manifest.

    Where the user's tree has moved on, or it has landed by now, the copy stays as it is. Blocking.
    """
    tree, entries, newest_ns = SafeTree(places.tree), manifest.entries.copied(), 0
    put: set[str] = set()
    for file in (file for each in ahead for file in each.files):
        there = entries.get(file.path)
        has_base = (
            there is None if file.base is None else there is not None and there.sha256 == file.base.sha256
        )
        if not has_base:
            continue
        blobs.put(file.content)  # The base of a merge, should the tree move under it.
        tree.write_bytes(file.path, file.content, mode=file.new.mode)
        with tree.opened(file.path) as written:
            signature = signature_of(os.fstat(written))
        executable = bool(file.new.mode & 0o100)
        # No signature of the user's: the next resync copies the file again.
        entries.put(file.path, Entry(Kind.FILE, executable, file.new.sha256, None, signature, False))
        put.add(file.path)
        newest_ns = max(newest_ns, changed_ns_of(signature))
    if not newest_ns:
        return manifest
    made = Manifest(entries, manifest.nested, manifest.kept)
    wait_for_tick(places.home, newest_ns)
    return made.saved(places.manifest, manifest, sorted(put))
