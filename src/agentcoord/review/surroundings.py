"""What a check sees beside the tree, as one hash: git's state, the shared dependencies and the toolchains.

A stored verdict holds for a tree and these: a check may ask git what is committed, or what version a tag
gives. Folders are told by the times of the places that
installing and removing touch, not read through: a night's environment has tens of thousands of
files. Deliberately absent: services and the clock, for which stored verdicts age (`green_shelf`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from agentcoord.sandbox.policy import Policy

_TOUCHED = ("", "pyvenv.cfg", "bin", ".package-lock.json", ".yarn-integrity", ".modules.yaml")
_GIT_FILES = ("HEAD", "packed-refs", "index")
"""The shadow has all refs in one file."""
_PACKAGES = ("lib/python*/site-packages", "lib/python*/site-packages/*.dist-info")


def surroundings_of(policy: Policy, *, timeout_s: float) -> str:
    """Hash what the commands of `policy` see beside the copy. Blocking."""
    lines = [f"timeout {timeout_s}", *_git_state(policy.shadow_git)]
    for real, shown in sorted(policy.read_only.items()):
        lines += [f"{shown}", *_times(real)]
    for tool in policy.toolchains:
        lines += [str(tool), *_times(tool)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _git_state(shadow: Path | None) -> Iterator[str]:
    if shadow is None:
        return
    for name in _GIT_FILES:
        try:
            with (shadow / name).open("rb") as source:
                yield f"{name} {hashlib.file_digest(source, 'sha256').hexdigest()}"
        except OSError:
            yield f"{name} none"


def _times(folder: Path) -> Iterator[str]:
    places = [folder / name for name in _TOUCHED]
    for pattern in _PACKAGES:
        places += sorted(folder.glob(pattern))
    for place in places:
        try:
            yield f"{place.name} {place.stat().st_mtime_ns}"
        except OSError:
            yield f"{place.name} none"
