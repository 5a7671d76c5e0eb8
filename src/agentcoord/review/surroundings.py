"""What a check sees beside the tree, as one hash: the shared dependencies and the toolchains.

A stored verdict holds for a tree and these. Folders are told by the times of the places that
installing and removing touch, not read through: a night's environment has tens of thousands of
files. Deliberately absent: services and the clock, for which stored verdicts age (`green_shelf`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from agentcoord.sandbox.policy import Policy

_TOUCHED = ("", "pyvenv.cfg", "bin", ".package-lock.json", ".yarn-integrity", ".modules.yaml")
_PACKAGES = ("lib/python*/site-packages", "lib/python*/site-packages/*.dist-info")


def surroundings_of(policy: Policy, *, timeout_s: float) -> str:
    """Hash what the commands of `policy` see beside the copy. Blocking."""
    lines = [f"timeout {timeout_s}"]
    for real, shown in sorted(policy.read_only.items()):
        lines += [f"{shown}", *_times(real)]
    for tool in policy.toolchains:
        lines += [str(tool), *_times(tool)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _times(folder: Path) -> Iterator[str]:
    places = [folder / name for name in _TOUCHED]
    for pattern in _PACKAGES:
        places += sorted(folder.glob(pattern))
    for place in places:
        try:
            yield f"{place.name} {place.stat().st_mtime_ns}"
        except OSError:
            yield f"{place.name} none"
