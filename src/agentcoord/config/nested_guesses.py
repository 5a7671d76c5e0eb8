"""Projects in folders of a repository, such as `backend/` and `frontend/`, each with tests of its own.

Separate from `guesses`, which looks at one folder. Only a folder with a file that makes it a project counts,
and only where there is something to run: a folder of scripts is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from agentcoord.config.guesses import (
    PYTHON_MARKS,
    Guess,
    guesses_at,
    guesses_of,
    may_hold_source,
    node_members,
)

_MANIFESTS: Final = (*PYTHON_MARKS, "manage.py", "package.json", "Cargo.toml", "go.mod", "go.work")
_NO_PROJECTS: Final = frozenset({"test", "tests", "fixtures", "docs", "doc", "third_party", "scripts"})
_FOLDERS: Final = 50
_MEMBERS: Final = 200
_DEPENDENCIES: Final = (".venv", "node_modules")
_ENVIRONMENTS: Final = ("venv", "env")
"""What people call a virtual environment that is not called `.venv`."""


def all_guesses_of(root: Path) -> list[Guess]:
    """The guesses of the top level, and those in its folders of kinds that the top level does not test."""
    found = guesses_of(root)
    tested = {guess.kind for guess in found if guess.command}
    if "make" in tested or "C" in tested:  # Whoever wrote that target knows the folders.
        return found
    return [*found, *(guess for guess in _nested(root) if guess.kind not in tested)]


def _nested(root: Path) -> Iterator[Guess]:
    for folder in sorted(entry for entry in root.iterdir() if may_hold_source(entry))[:_FOLDERS]:
        if folder.name in _NO_PROJECTS or not any((folder / name).is_file() for name in _MANIFESTS):
            continue
        for guess in guesses_at(folder):
            if guess.command:
                command = f"cd {shlex.quote(folder.name)} && {_with_its_python(folder, guess.command)}"
                yield replace(guess, command=command, place=folder.name, extra_scope=())


def _with_its_python(folder: Path, command: str) -> str:
    """PATH has one `python`, and a folder's environment may not be the first there."""
    its_own = folder / ".venv" / "bin" / "python"
    return f".venv/bin/{command}" if command.startswith("python ") and its_own.exists() else command


def shared_folders(root: Path, places: list[str]) -> list[str]:
    """What is there of dependencies in places that `project.share` does not name by itself."""
    found = [name for name in _ENVIRONMENTS if (root / name / "pyvenv.cfg").is_file()]
    # pnpm gives each package of a workspace links of its own to what it needs; others do so here and there.
    members = [folder.relative_to(root).as_posix() for folder in node_members(root)[:_MEMBERS]]
    found += [
        f"{place}/{name}"
        for place in dict.fromkeys([*places, *members])
        for name in _DEPENDENCIES
        if (root / place / name).is_dir()
    ]
    return found
