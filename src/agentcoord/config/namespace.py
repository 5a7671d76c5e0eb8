"""Under which name a project's keys stand in Redis: its id, or the one that it had before it was moved.

Separate from `paths`: an id follows from where the repository lies, and keys cannot follow a move. So the
state folder names them from then on, and the folder that is left at the former id names others: a repository
that begins there one day shares a server with this one, and must not share its keys.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from agentcoord.config.paths import ProjectPaths
from agentcoord.domain.ids import ProjectId
from agentcoord.errors import ConfigError

NAME = "namespace"
_MEND = "write into it what stands between the braces of the project's keys, agentcoord:{...}:"
_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def namespace_of(paths: ProjectPaths) -> ProjectId:
    """What the state folder says, or else the project's id. Blocking.

    Raises ConfigError when it says nothing sensible: under another name nothing would be found.
    """
    path = paths.state_dir / NAME
    try:
        said = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return paths.project_id
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", mend=_MEND) from error
    if not _PATTERN.fullmatch(said):
        raise ConfigError(f"{path} does not name the project's keys in Redis", mend=_MEND)
    return ProjectId(said)


def keep_namespace(paths: ProjectPaths) -> None:
    """Write down the name of today, which stays wherever the folder goes. Raises ConfigError or OSError."""
    _write(paths.state_dir, namespace_of(paths))


def write_unused(folder: Path, project: ProjectId) -> None:
    """Give a folder a name that no keys have: `project` was its id, and is taken. Raises OSError."""
    _write(folder, f"{project}-{os.urandom(4).hex()}")


def _write(folder: Path, name: str) -> None:
    fresh = folder / f"{NAME}.new"
    fresh.write_text(f"{name}\n", encoding="ascii")
    fresh.replace(folder / NAME)
