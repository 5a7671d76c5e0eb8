"""Where a state folder's repository lies, written down in it, so that it can be found after a move.

The folder is named after the repository's path; one that was moved or renamed begins with an empty folder,
and nothing else would lead to the old one. Recognised is a repository by being the same folder on the disk
and having the commit that it was at. A disk gives the numbers of removed folders again, so the hour in which
git made it counts, too. Having the commit alone, it may be a copy. Cheap to import.
"""

# ruff: noqa: PTH105, PTH113, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

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
GIT_S = 2.0
_NO_NETWORK = {
    # Of a partial clone git would fetch the commits that are asked for; older ones know the first not.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "GIT_SSH_COMMAND": "false",
}
_NEVER_WRITTEN_AGAIN = ("commondir", "description", os.path.join("info", "exclude"))


def write_place(state_dir: str, root: str, commit: str) -> None:
    """Note that the folder belongs to the repository at `root`; `commit`: empty where there is none yet.

    Raises OSError.
    """
    path = os.path.join(state_dir, NAME)
    said = {"root": root, "commit": commit, "folder": _folder(root), "linked": _is_linked(root)}
    said["made"] = _made_ns(root)
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(said, file)
    os.replace(f"{path}.new", path)


def former_places(state_dir: str, root: str) -> list[tuple[str, str]]:
    """The state folders of this repository at places where it is no longer, each with that place; the
    newest first. `state_dir` and `root` are those of today.
    """
    left = [
        (folder, said)
        for folder, said in _left(state_dir, root)
        if said["commit"] and is_same_folder(said, root) and not may_be_away(said["root"], said)
    ]
    known = _known_commits(root, [said["commit"] for _, said in left])
    return [(folder, said["root"]) for folder, said in left if said["commit"] in known]


def alike_places(state_dir: str, root: str) -> list[tuple[str, str]]:
    """The same of repositories that had a commit of this one: it may be one of them, or a copy.

    Worktrees are left out: they all have the same commits.
    """
    if _is_linked(root):
        return []
    left = [(folder, said) for folder, said in _left(state_dir, root) if not said["linked"]]
    known = _known_commits(root, [said["commit"] for _, said in left])
    return [(folder, said["root"]) for folder, said in left if said["commit"] in known]


def read_place(folder: str) -> Mapping[str, Any] | None:
    """What the folder says of its place; None where it says nothing, or was put aside under another name."""
    try:
        with open(os.path.join(folder, NAME), encoding="ascii") as file:
            said = json.load(file)
        if project_slug(said["root"]) != os.path.basename(folder) or not isinstance(said["commit"], str):
            return None
        device, inode = said["folder"]
        return {
            **said,
            "folder": [device, inode],
            "linked": bool(said["linked"]),
            "made": said.get("made", 0),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_same_folder(said: Mapping[str, Any], root: str) -> bool:
    """Whether the repository at `root` is the folder that the other place had."""
    return bool(said["made"] and said["made"] == _made_ns(root) and said["folder"] == _folder(root))


def stands(former: str, root: str) -> bool:
    """Whether something is at the former place, and no link that leads to the one of today."""
    return former == root or (os.path.lexists(former) and os.path.realpath(former) != root)


def may_be_away(former: str, said: Mapping[str, Any] | None) -> bool:
    """Whether the former place cannot be looked at, as on a disk that is not mounted."""
    try:
        os.lstat(former)
    except FileNotFoundError:
        try:
            device = os.stat(os.path.dirname(former)).st_dev
        except OSError:
            return True
        return said is not None and said["folder"][0] != device
    except OSError:
        return True
    return False


def has_commit(root: str, commit: str) -> bool:
    """Whether git finds the commit in the repository."""
    return commit in _known_commits(root, [commit])


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


def may_hold_work(state_dir: str) -> bool:
    """The same where nothing but the server's data may know of it, as of a daemon that died at once."""
    try:
        return holds_work(state_dir) or bool(os.listdir(os.path.join(state_dir, "redis", "appendonlydir")))
    except OSError:
        return False


def _left(state_dir: str, root: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The folders beside this one whose repository has left its place, and what they say; newest first."""
    found = []
    for folder in _beside(state_dir):
        said = read_place(folder)
        if said is not None and not stands(said["root"], root):
            found.append((os.stat(os.path.join(folder, NAME)).st_mtime, folder, said))
    found.sort(key=lambda each: each[0], reverse=True)
    return [(folder, said) for _, folder, said in found[:LOOKED_AT_MOST]]


def _beside(state_dir: str) -> list[str]:
    home, own = os.path.split(state_dir)
    try:
        return [os.path.join(home, name) for name in os.listdir(home) if name != own]
    except OSError:
        return []


def _folder(root: str) -> list[int]:
    """Which folder on the disk the repository is."""
    status = os.stat(root)
    return [status.st_dev, status.st_ino]


def _is_linked(root: str) -> bool:
    """Whether it is a worktree of a repository that is elsewhere."""
    return os.path.isfile(os.path.join(root, ".git"))


def _made_ns(root: str) -> int:
    """When git made this repository or worktree, by a file that it then leaves alone; 0: there is none."""
    folder = os.path.join(root, ".git")
    try:
        if os.path.isfile(folder):
            with open(folder, encoding="utf-8", errors="surrogateescape") as file:
                folder = os.path.join(root, file.read(4096).removeprefix("gitdir:").strip())
    except OSError:
        return 0
    for name in _NEVER_WRITTEN_AGAIN:
        try:
            return os.stat(os.path.join(folder, name)).st_mtime_ns
        except OSError:
            continue
    return 0


def _known_commits(root: str, commits: Sequence[str]) -> set[str]:
    """Those of the commits that the repository has; none where git cannot tell."""
    asked = sorted({each for each in commits if each.isalnum()})
    if not asked:
        return set()
    import subprocess

    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "cat-file", "--batch-check=%(objectname) %(objecttype)"],
            cwd=root,
            env={**env, **_NO_NETWORK},
            input="".join(f"{each}\n" for each in asked).encode(),
            capture_output=True,
            timeout=GIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    words = [line.split() for line in done.stdout.decode("ascii", "replace").splitlines()]
    return {name for name, kind in (each for each in words if len(each) == 2) if kind == "commit"}
