"""That a daemon was told to stop, for whoever would start it again after an end that is not in order.

Its supervisor reads a file, for a dead process cannot be asked. A service manager goes by the exit code
alone, so a service that was told to stop ends with the one that means it (`service`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

_OF_LAUNCHD = "dev.agentcoord."

log = structlog.get_logger("daemon")


def is_service(env: Mapping[str, str]) -> bool:
    """Whether systemd or launchd started this process from our unit."""
    return "NOTIFY_SOCKET" in env or env.get("XPC_SERVICE_NAME", "").startswith(_OF_LAUNCHD)


def note_told_to_stop(path: Path) -> None:
    """Write down that this process was told to. Blocking, one small file. A disk that refuses is logged."""
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        log.warning("stop_not_noted", error=str(error))


def told_to_stop(path: Path) -> Callable[[int], bool]:
    """Whether the process of a pid, dead or not, wrote that down."""

    def told(pid: int) -> bool:
        with suppress(OSError, ValueError):
            return int(path.read_text(encoding="ascii")) == pid
        return False

    return told
