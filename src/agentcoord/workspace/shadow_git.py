"""A `.git` for the copy that reads like the user's and can do nothing: status, log and diff work.

It has HEAD, the refs, a copy of the index, and alternates that point to where the sandbox
shows the real objects. It has no remotes, no hooks, and of the user's configuration only
what says how files are compared with the index; it is shown read-only. Made anew when
something of the user's changed; git itself is run only in the user's tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

from agentcoord.workspace.blobs import clone
from agentcoord.workspace.git import run_git
from agentcoord.workspace.repository import Repository

_MADE_FROM = "made-from"
OBJECTS_AT = "/run/objects"
"""Where the sandbox mounts the real object folder."""
_COMPARING = r"^core\.(autocrlf|eol|filemode|symlinks|ignorecase|precomposeunicode)$"
"""What decides whether an untouched file looks changed: without the user's `autocrlf` every one may."""
_PLAIN_VALUE = re.compile(r"core\.(\w+) (\w+)")


def write_shadow_git(repo: Repository, home: Path) -> None:
    """Write the shadow of the repository's git folder into `home`, unless it shows it already."""
    made_from, state = home.with_name(f"{home.name}-{_MADE_FROM}"), _state_of(repo)
    with contextlib.suppress(FileNotFoundError):
        if made_from.read_text("utf-8") == state:
            return
        made_from.unlink()
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
    made_from.write_text(state, "utf-8")


def _state_of(repo: Repository) -> str:
    """Return what tells this state of the user's git folder from any other, without running git."""
    own, common = repo.git_dir, repo.common_dir
    files = [own / "HEAD", own / "index", *sorted(own.glob("sharedindex.*"))]
    files += [common / name for name in ("config", "packed-refs", "info/exclude", "reftable/tables.list")]
    for folder, _, names in os.walk(common / "refs"):
        files += [Path(folder, name) for name in names]
    facts: list[tuple[str, int, int, int, int]] = []
    for file in files:
        with contextlib.suppress(OSError):
            found = file.stat()
            facts.append((str(file), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
    return json.dumps(sorted(facts))


def _config(repo: Repository) -> str:
    object_format = run_git(["rev-parse", "--show-object-format"], cwd=repo.root).decode().strip()
    lines = ["[core]", "\trepositoryformatversion = 1", "\tbare = false", "\tlogallrefupdates = false"]
    said = run_git(["config", "--get-regexp", _COMPARING], cwd=repo.root, expected=(0, 1))
    told = map(_PLAIN_VALUE.fullmatch, said.decode("utf-8", "replace").splitlines())
    lines += [f"\t{found[1]} = {found[2]}" for found in told if found]
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
        with source.open("rb") as read, temporary.open("wb") as written:
            if not clone(read.fileno(), written.fileno()):  # An index may have tens of megabytes.
                shutil.copyfileobj(read, written)
        temporary.replace(target)
