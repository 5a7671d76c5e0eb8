"""One process, told apart from every other, and signals to it alone.

Theory of operation. A process is its pid and when it began; the system uses a pid again, but never the
two together. A signal is sent through a descriptor of the process that was looked at, where
the system has such (Linux), so that nobody else gets it even if it ends at this moment.
Deliberately absent: when a daemon is to be ended so (`cli/forced_stop`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agentcoord.values import dataclass

PS_TIMEOUT_S: Final = 5.0
_BEGAN_FIELD: Final = 19
"""Of /proc/PID/stat, counted from behind the name in brackets: `starttime`. See proc_pid_stat(5)."""


@dataclass(frozen=True, slots=True)
class Life:
    """One process."""

    pid: int
    began: str
    """When, in the system's own words."""

    def said(self) -> dict[str, Any]:
        """The same as it is written down."""
        return {"pid": self.pid, "began": self.began}

    @property
    def lasts(self) -> bool:
        """Whether it is still there."""
        return began(self.pid) == self.began

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this process; return whether it was still there."""
        with suppress(OSError):
            if sys.platform == "linux" and hasattr(os, "pidfd_open"):  # Some builds of Python lack it.
                descriptor = os.pidfd_open(self.pid)
                try:
                    if self.lasts:
                        signal.pidfd_send_signal(descriptor, number)
                        return True
                finally:
                    os.close(descriptor)
            elif self.lasts:
                os.kill(self.pid, number)
                return True
        return False


def life_of(pid: int) -> Life:
    """This process, as it is to be written down."""
    return Life(pid, began(pid))


def began(pid: int) -> str:
    """When a process began; empty when there is none, or it is dead and not yet buried."""
    return _began_by_proc(pid) if sys.platform == "linux" else _began_by_ps(pid)


def _began_by_proc(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    words = fields.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[_BEGAN_FIELD]


def _began_by_ps(pid: int) -> str:
    import subprocess  # Not needed on Linux, and who starts a daemon waits for what it imports.

    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=PS_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()


def said_in(path: Path) -> dict[str, Any]:
    """What a process wrote down of itself; empty where nothing readable stands."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def life_in(said: Mapping[str, Any]) -> Life | None:
    """The process that was written down, if it is still there."""
    pid, when = said.get("pid"), said.get("began")
    if not isinstance(pid, int) or pid <= 1 or not isinstance(when, str) or not when:
        return None
    life = Life(pid, when)
    return life if life.lasts else None
