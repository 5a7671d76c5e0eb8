"""What a worker is at, for people to see: one mutable row a worker, owned by the event loop.

Separate from the worker itself so that the dashboard's views, the reporter and the supervisor
share a plain record and nobody reaches into a running coroutine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agentcoord.clock import Clock
from agentcoord.daemon.time_spent import TimeSpent
from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec, WorkerState


@dataclass(slots=True)
class WorkerRow:
    """The present moment of one worker."""

    spec: WorkerSpec
    state: WorkerState = WorkerState.STARTING
    claim: Claim | None = None
    doing: str = ""
    since_ms: int = 0
    turns: int = 0
    cost_usd_micros: int = 0
    model: str = ""
    says: str = ""
    """The end of what the model says, or the running command prints, at this moment."""
    time_spent: TimeSpent = field(default_factory=TimeSpent)
    """Where the claim's time went so far."""

    @property
    def task(self) -> TaskId | None:
        return self.claim.task.id if self.claim else None


@dataclass(slots=True)
class FleetBoard:
    """All rows, a version that grows with every change, and the high-water mark."""

    clock: Clock
    rows: dict[str, WorkerRow] = field(default_factory=dict)
    max_parallel: int = 0
    version: int = 0
    """Grows with every change, so that a publisher sees whether anything is new."""
    on_change: list[Callable[[], None]] = field(default_factory=list)

    @property
    def busy(self) -> int:
        return sum(row.claim is not None for row in self.rows.values())

    def touch(self) -> None:
        """Note that the views are out of date."""
        self.version += 1
        for call in self.on_change:
            call()

    def set_state(self, row: WorkerRow, state: WorkerState, doing: str = "") -> None:
        """Move a row to `state`, with a few words."""
        if row.state is not state:
            row.since_ms = self.clock.now_ms()
        row.state = state
        row.doing = doing
        self.touch()

    def began(self, row: WorkerRow, claim: Claim, model: str) -> None:
        """A worker has taken a task."""
        row.claim = claim
        row.time_spent = TimeSpent()
        row.turns, row.cost_usd_micros, row.model = 0, 0, model
        row.since_ms = self.clock.now_ms()
        row.state, row.doing = WorkerState.WORKING, "reading the task"
        self.max_parallel = max(self.max_parallel, self.busy)
        self.touch()

    def ended(self, row: WorkerRow) -> None:
        """A worker has let go of its task."""
        row.claim = None
        row.model = ""
        self.set_state(row, WorkerState.IDLE)
