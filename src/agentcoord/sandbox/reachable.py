"""Whether a path can be reached by this user: what cannot be looked at does not exist for us.

Separate because `pathlib` raises PermissionError for a file below a folder that is closed to us,
and a virtual environment whose interpreter lies in somebody else's home is an ordinary case here.
"""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: Path) -> bool:
    """Whether there is something, at the end of its links."""
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_file(path: Path) -> bool:
    """Whether there is a regular file, at the end of its links."""
    return os.path.isfile(path)  # noqa: PTH113 - see above


def is_folder(path: Path) -> bool:
    """Whether there is a folder, at the end of its links."""
    return os.path.isdir(path)  # noqa: PTH112 - see above


def is_link(path: Path) -> bool:
    """Whether this itself is a symbolic link."""
    return os.path.islink(path)  # noqa: PTH114 - see above


def is_program(path: Path) -> bool:
    """Whether there is a file that this user may execute."""
    return is_file(path) and os.access(path, os.X_OK)
