"""A `.git` for the copy that reads like the user's and can do nothing: status, log and diff work.

It has HEAD, the refs, a copy of the index, and alternates that point to where the sandbox
shows the real objects. It has no remotes, no hooks and no user configuration, and it is
shown read-only. Made anew at each resync; git itself is run only in the user's tree.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from agentcoord.workspace.git import run_git
from agentcoord.workspace.repository import Repository

OBJECTS_AT = "/run/objects"
"""Where the sandbox mounts the real object folder."""


def write_shadow_git(repo: Repository, home: Path) -> None:
    """Write the shadow of the repository's git folder into `home`."""
    for folder in ("refs/heads", "refs/tags", "objects/info", "objects/pack", "info"):
        (home / folder).mkdir(parents=True, exist_ok=True, mode=0o755)
    (home / "objects/info/alternates").write_text(OBJECTS_AT + "\n")
    (home / "config").write_text(_config(repo))
    (home / "HEAD").write_bytes(_head(repo))
    (home / "packed-refs").write_bytes(_refs(repo))
    _copy_if_there(repo.git_dir / "index", home / "index")
    for part in repo.git_dir.glob("sharedindex.*"):
        _copy_if_there(part, home / part.name)
    _copy_if_there(repo.common_dir / "info/exclude", home / "info/exclude")


def _config(repo: Repository) -> str:
    object_format = run_git(["rev-parse", "--show-object-format"], cwd=repo.root).decode().strip()
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false", "\tlogallrefupdates = false"]
    if object_format != "sha1":
        lines += ["[extensions]", f"\tobjectFormat = {object_format}"]
    return "\n".join(lines) + "\n"


def _head(repo: Repository) -> bytes:
    named = run_git(["symbolic-ref", "-q", "HEAD"], cwd=repo.root, expected=(0, 1))
    if named:
        return b"ref: " + named
    return run_git(["rev-parse", "HEAD"], cwd=repo.root)


def _refs(repo: Repository) -> bytes:
    """All refs as git lists them, whatever way the repository stores them."""
    return run_git(["for-each-ref", "--format=%(objectname) %(refname)"], cwd=repo.root)


def _copy_if_there(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        temporary = target.with_name(target.name + ".new")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
