"""What a worker is at.

Separate from `worker`, whose dataclasses the commands that must answer at once cannot wait for.
"""

from __future__ import annotations

from enum import StrEnum


class WorkerState(StrEnum):
    """What a worker is at, for people to see."""

    STARTING = "starting"
    IDLE = "idle"
    """Waits for a task."""
    WORKING = "working"
    WAITING = "waiting"
    """Held up by a lock, the rate governor or the check semaphore."""
    PAUSED = "paused"
    CRASHED = "crashed"
    """Its coroutine raised; it restarts after a back-off."""
    STOPPED = "stopped"
