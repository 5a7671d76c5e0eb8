"""The family of a program without a namespace of its own: its process group.

Separate from running because only here the system has to be asked who still belongs to it. A
process that makes a session of its own escapes from its group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentcoord.values import dataclass

T = TypeVar("T")

_LOOKS = 100
_LOOK_AGAIN_S = 0.01
_DEAD = (b"Z", b"X")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Everything that has this group number."""

    group_id: int

    def ask_to_end(self) -> None:
        """Send TERM to the group."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL to the group."""
        self._send(signal.SIGKILL)

    async def gone(self) -> None:
        """Return when nobody of the group lives, or after about a second.

        Nothing tells of a group's end, so it is looked at until it is over.
        """
        for _ in range(_LOOKS):
            if not await looked_at(self.has_living_members):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        """Nothing is held."""

    def has_living_members(self, proc: Path = Path("/proc")) -> bool:
        """Whether anybody is in the group who is not dead and only waiting to be taken notice of."""
        try:
            os.killpg(self.group_id, 0)
        except (ProcessLookupError, PermissionError):
            return False
        if not (proc / "self" / "stat").exists():
            return True  # No Linux: the dead cannot be told from the living.
        return any(is_alive(entry, self.group_id) for entry in proc.iterdir() if entry.name.isdigit())

    def _send(self, number: signal.Signals) -> None:
        # macOS answers EPERM for a group that holds only the dead.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group_id, number)


async def looked_at(look: Callable[[], T]) -> T:
    """What a look at processes says, beside the loop: there may be thousands of them.

    Nothing is sent to them there: what waits for a thread may begin when their numbers are somebody else's.
    """
    try:
        return await asyncio.to_thread(look)
    except RuntimeError:  # So many that no thread can be started.
        return look()


def is_alive(process: Path, group_id: int | None = None) -> bool:
    """Whether a process, by its folder in /proc, is not dead and only waiting to be taken notice of.

    With `group_id`: and in that group.
    """
    try:
        stat = (process / "stat").read_bytes()
    except OSError:
        return False  # It ended while we looked.
    # The name stands in parentheses and may hold any character; then state, parent, group.
    state, _, group = stat.rpartition(b")")[2].split()[:3]
    return state not in _DEAD and group_id in (None, int(group))
