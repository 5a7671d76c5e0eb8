"""Names that are one on the user's disk although they are two in a private copy: `One.py` and `one.py`.

Separate from `names`, which never asks a disk. That something of the user's is in the way of a new file,
under whatever spelling, is found where it is staged and where it lands; here is only how that one is called.
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
        by_key.setdefault(_key(path), []).append(path)
    alike = [sorted(group) for group in by_key.values() if len(group) > 1]
    return {path: group[0] if path != group[0] else group[1] for group in alike for path in group}


def users_name_of(path: str, known: Iterable[str], root: Path) -> str | None:
    """Return the other name under which the user has what the disk finds at the new `path`.

    None when it has no other. `known`: the files as git knows them; some disks tell them in another spelling.
    """
    if not folds_case(root):
        return None
    wanted = _key(path)
    other = next((each for each in known if each != path and _key(each) == wanted), None)
    return other or _told_by_disk(root, path)


def folds_case(root: Path) -> bool:
    """Whether the disk of the repository at `root` takes upper and lower case for the same."""
    try:
        return os.path.samestat((root / ".git").lstat(), (root / ".GIT").lstat()) or not _lists(root, ".GIT")
    except OSError:
        return False


def may_be_one(path: str, other: str) -> bool:
    """Whether some file system could take one path for the other."""
    return _most_forgiving(path) == _most_forgiving(other)


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _told_by_disk(root: Path, path: str) -> str | None:
    """Look `path` up one folder after the other, under whatever spelling each tells."""
    told: list[str] = []
    for component in path.split("/"):
        try:
            with os.scandir(root.joinpath(*told)) as entries:
                names = [entry.name for entry in entries]
        except OSError:
            return None
        alike = [name for name in names if _key(name) == _key(component)]
        if not alike:
            return None
        told.append(component if component in alike else alike[0])
    found = "/".join(told)
    return None if found == path else found


def _most_forgiving(path: str) -> list[str]:
    return [folded(component) for component in path.split("/")]


def _lists(root: Path, name: str) -> bool:
    """Whether the folder tells of this very name: through FUSE one file may have two inodes."""
    with os.scandir(root) as entries:
        return any(entry.name == name for entry in entries)
