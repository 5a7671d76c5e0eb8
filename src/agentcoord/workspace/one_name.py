"""Names that are one on the user's disk although they are two in a private copy: `One.py` and `one.py`.

Separate from `names`, which never asks a disk. Both questions are put to new files of one task alone: what
the user has already under another spelling is found where a landing looks whether something is in the way.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from agentcoord.workspace.names import folded


def twins_among(paths: Iterable[str]) -> dict[str, str]:
    """Return, for each path that differs from another only in case or composition, the other."""
    by_key: dict[str, list[str]] = {}
    for path in paths:
        by_key.setdefault(unicodedata.normalize("NFC", path.casefold()), []).append(path)
    alike = [sorted(group) for group in by_key.values() if len(group) > 1]
    return {path: group[0] if path != group[0] else group[1] for group in alike for path in group}


def folds_case(root: Path) -> bool:
    """Whether the disk of the repository at `root` takes upper and lower case for the same."""
    try:
        return os.path.samestat((root / ".git").lstat(), (root / ".GIT").lstat()) or not _lists(root, ".GIT")
    except OSError:
        return False


def may_be_one(path: str, other: str) -> bool:
    """Whether some file system could take one path for the other."""
    return _most_forgiving(path) == _most_forgiving(other)


def _most_forgiving(path: str) -> list[str]:
    return [folded(component) for component in path.split("/")]


def _lists(root: Path, name: str) -> bool:
    """Whether the folder tells of this very name: through FUSE one file may have two inodes."""
    with os.scandir(root) as entries:
        return any(entry.name == name for entry in entries)
