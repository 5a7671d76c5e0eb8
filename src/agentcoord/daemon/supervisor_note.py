"""Which process starts a project's daemon again, in a file of the state folder.

For a command that is to end it: between two daemons there is none that could be asked to stop, and the
next one would come up all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.process_life import Life, life_in, life_of, said_in


@contextmanager
def supervisor_noted(paths: ProjectPaths) -> Iterator[None]:
    """Say who this supervisor is, for as long as the block runs. A disk that refuses is no error."""
    note_supervisor(paths)
    try:
        yield
    finally:
        if said_in(paths.supervisor_file) == life_of(os.getpid()).said():  # Another may have begun since.
            with suppress(OSError):
                paths.supervisor_file.unlink()


def note_supervisor(paths: ProjectPaths) -> None:
    """Write it down, or once more: another may have taken the note away, or the folder may be another one."""
    with suppress(OSError):
        paths.supervisor_file.write_text(json.dumps(life_of(os.getpid()).said()), encoding="utf-8")


def supervisor_of(paths: ProjectPaths) -> Life | None:
    """The supervisor that noted itself last, if it is still there."""
    return life_in(said_in(paths.supervisor_file))
