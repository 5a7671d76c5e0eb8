"""Where the repository and the daemon's socket are, in plain strings.

Separate from `paths`, which is built on this, because the commands that must answer at once begin here:
`pathlib` and a dataclass would cost more than the answer. So ruff's wish for `pathlib` is waived here.
"""

# ruff: noqa: PTH110, PTH112, PTH113, PTH118, PTH120

from __future__ import annotations

import os
from collections.abc import Mapping

from agentcoord.domain.project_slug import project_slug
from agentcoord.errors import ConfigError


def root_above(start: str) -> str:
    """Return the real path of the git working tree that `start` is in.

    Raises ConfigError in words when there is none, or when the repository is bare.
    """
    try:
        here = os.path.realpath(start or ".", strict=True)
    except OSError as error:
        from pathlib import Path

        if start in ("", "."):
            raise ConfigError(
                "the folder that this shell is in was removed", mend="cd to a folder that exists"
            ) from error
        raise ConfigError(
            f"{Path(start)} is not there ({error.strerror})", mend="give a folder that exists"
        ) from error
    folder = here = here if os.path.isdir(here) else os.path.dirname(here)
    while True:
        if os.path.exists(os.path.join(folder, ".git")):
            return folder
        if _is_bare(folder):
            raise ConfigError(
                f"{folder} is a bare repository (or the inside of a .git): it has no files to work on",
                mend="clone it, and run this in the clone",
            )
        if (parent := os.path.dirname(folder)) == folder:
            break
        folder = parent
    raise ConfigError(
        f"{here} is not inside a git repository", mend="git init && git add -A && git commit -m start"
    )


def _is_bare(folder: str) -> bool:
    inside = [os.path.join(folder, name) for name in ("HEAD", "objects", "refs")]
    return os.path.isfile(inside[0]) and all(map(os.path.isdir, inside[1:]))


def runtime_dir(env: Mapping[str, str]) -> str:
    """The sockets' folder: in `XDG_RUNTIME_DIR`, or else one of this user's among the temporary files."""
    if (home := env.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return os.path.join(home, "agentcoord")
    import tempfile  # A tenth of what the fast commands import, and most machines have a runtime folder.

    return os.path.join(tempfile.gettempdir(), f"agentcoord-{os.getuid()}")


def socket_of(root: str, env: Mapping[str, str]) -> str:
    """The control socket of the repository whose real path is `root`."""
    return os.path.join(runtime_dir(env), f"{project_slug(root)}.sock")
