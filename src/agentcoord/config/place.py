"""Where a state folder's repository lies, written down in it, so that it can be found after a move.

The folder is named after the repository's path; one that was moved or renamed begins with an empty folder,
and nothing else would lead to the old one. Recognised is a repository by the commit that it was at, or, as
long as it has none, by its folder and its `.git` being the same ones on the disk. Worktrees share their
commits: one of those must be the same folder, too. Cheap to import.
"""

# ruff: noqa: PTH105, PTH113, PTH116, PTH118, PTH119, PTH123, PTH208

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from agentcoord.domain.project_slug import project_slug

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any

NAME = "place.json"
LOOKED_AT_MOST = 200
"""State folders whose repository is gone, the newest first."""
GIT_S = 10.0


def write_place(state_dir: str, root: str, commit: str) -> None:
    """Note that the folder belongs to the repository at `root`; `commit`: empty where there is none yet.

    Raises OSError.
    """
    path = os.path.join(state_dir, NAME)
    said = {"root": root, "commit": commit, "folders": _folders(root), "linked": _is_linked(root)}
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(said, file)
    os.replace(f"{path}.new", path)


def former_places(state_dir: str, root: str) -> list[tuple[str, str]]:
    """The state folders of this repository at places where it is no longer, each with that place; the
    newest first. `state_dir` and `root` are those of today.
    """
    gone = []
    for folder in _beside(state_dir):
        said = _read(folder)
        if said is not None and has_left(said["root"], root):
            gone.append((os.stat(os.path.join(folder, NAME)).st_mtime, folder, said))
    gone.sort(key=lambda each: each[0], reverse=True)
    del gone[LOOKED_AT_MOST:]
    if not gone:
        return []
    known = _known_commits(root, [said["commit"] for _, _, said in gone])
    today, linked = _folders(root), _is_linked(root)

    def is_this(said: Mapping[str, Any]) -> bool:
        if not said["commit"]:
            return bool(said["folders"] == today)
        of_its_own = not (linked or said["linked"]) or said["folders"][:1] == today[:1]
        return said["commit"] in known and of_its_own

    return [(folder, said["root"]) for _, folder, said in gone if is_this(said)]


def has_left(former: str, root: str) -> bool:
    """Whether nothing is at the former place, or a link that leads to the one of today."""
    return former != root and (not os.path.lexists(former) or os.path.realpath(former) == root)


def holds_work(state_dir: str) -> bool:
    """Whether a state folder has tasks, or anything that could be undone."""
    try:
        with open(os.path.join(state_dir, "kept.jsonl"), "rb") as file:
            if any(line.startswith(b'["t:') for line in file):
                return True
    except OSError:
        pass
    try:
        return bool(os.listdir(os.path.join(state_dir, "journal", "records")))
    except OSError:
        return False


def _beside(state_dir: str) -> list[str]:
    home, own = os.path.split(state_dir)
    try:
        return [os.path.join(home, name) for name in os.listdir(home) if name != own]
    except OSError:
        return []


def _read(folder: str) -> Mapping[str, Any] | None:
    """What the folder says of its place; None where it says nothing, or was put aside under another name."""
    try:
        with open(os.path.join(folder, NAME), encoding="ascii") as file:
            said = json.load(file)
        right = project_slug(said["root"]) == os.path.basename(folder) and isinstance(said["commit"], str)
        return {**said, "folders": list(said["folders"]), "linked": bool(said["linked"])} if right else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _folders(root: str) -> list[list[int]]:
    """Which folders on the disk the repository and its `.git` are."""
    found = []
    for path in (root, os.path.join(root, ".git")):
        status = os.stat(path)
        found.append([status.st_dev, status.st_ino])
    return found


def _is_linked(root: str) -> bool:
    """Whether it is a worktree of a repository that is elsewhere."""
    return os.path.isfile(os.path.join(root, ".git"))


def _known_commits(root: str, commits: Sequence[str]) -> set[str]:
    """Those of the commits that the repository has; none where git cannot tell."""
    import subprocess

    asked = sorted({each for each in commits if each.isalnum()})
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "cat-file", "--batch-check=%(objectname) %(objecttype)"],
            cwd=root,
            env=env,
            input="".join(f"{each}\n" for each in asked).encode(),
            capture_output=True,
            timeout=GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    words = [line.split() for line in done.stdout.decode("ascii", "replace").splitlines()]
    return {name for name, kind in (each for each in words if len(each) == 2) if kind == "commit"}
