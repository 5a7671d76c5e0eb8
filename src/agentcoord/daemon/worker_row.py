"""What a worker is at, for people to see: mutable rows, one a worker and one a task, owned by the event loop.

A worker has at most two tasks: one that it converses about, and its last one, which is being proven.
Separate from the worker itself so that the dashboard's views, the reporter and the supervisor
share a plain record and nobody reaches into a running coroutine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING

from agentcoord.clock import Clock
from agentcoord.daemon.time_spent import TimeSpent
from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import usd
from agentcoord.domain.worker import WorkerSpec, WorkerState
from agentcoord.values import dataclass

if TYPE_CHECKING:
    from agentcoord.wire.messages import WorkerView


@dataclass(slots=True, eq=False)
class TaskAtHand:
    """The present moment of one claim."""

    spec: WorkerSpec
    """Whose claim it is."""
    claim: Claim
    model: str = ""
    state: WorkerState = WorkerState.WORKING
    doing: str = ""
    since_ms: int = 0
    in_proof: bool = False
    """Whether its worker may begin another task meanwhile."""
    left_open: frozenset[str] = frozenset()
    """Reservations that earlier runs of the task left behind: no call of this one is theirs."""
    turns: int = 0
    cost_usd_micros: int = 0
    says: str = ""
    """The end of what the model says, or the running command prints, at this moment."""
    time_spent: TimeSpent = field(default_factory=TimeSpent)
    """Where the claim's time went so far."""


@dataclass(slots=True, eq=False)
class WorkerRow:
    """The present moment of one worker: of the task that it is at, else its own."""

    spec: WorkerSpec
    own_state: WorkerState = WorkerState.STARTING
    own_doing: str = ""
    own_since_ms: int = 0
    tasks: list[TaskAtHand] = field(default_factory=list)
    """Those that it has claimed, the oldest first; at most two."""

    @property
    def at_hand(self) -> TaskAtHand | None:
        """The task that it is at: the newest that is not in proof, else the newest; None: it has none."""
        talked_about = [each for each in self.tasks if not each.in_proof]
        return next(reversed(talked_about or self.tasks), None)

    @property
    def proven(self) -> TaskAtHand | None:
        """The task that is proven beside the one that it is at, if there is one."""
        return next((each for each in self.tasks if each.in_proof and each is not self.at_hand), None)

    @property
    def state(self) -> WorkerState:
        return self.own_state if self.at_hand is None else self.at_hand.state

    @property
    def doing(self) -> str:
        return self.own_doing if self.at_hand is None else self.at_hand.doing

    @property
    def since_ms(self) -> int:
        return self.own_since_ms if self.at_hand is None else self.at_hand.since_ms

    @property
    def says(self) -> str:
        return "" if self.at_hand is None else self.at_hand.says

    @property
    def claim(self) -> Claim | None:
        """Of the task that it is at."""
        return None if self.at_hand is None else self.at_hand.claim

    @property
    def task(self) -> TaskId | None:
        return self.claim.task.id if self.claim else None


@dataclass(slots=True)
class FleetBoard:
    """All rows, and a version that grows with every change."""

    clock: Clock
    rows: dict[str, WorkerRow] = field(default_factory=dict)
    version: int = 0
    """Grows with every change, so that a publisher sees whether anything is new."""
    on_change: list[Callable[[], None]] = field(default_factory=list)

    @property
    def busy(self) -> int:
        """How many workers have a task."""
        return sum(bool(row.tasks) for row in self.rows.values())

    @property
    def claims(self) -> list[Claim]:
        """What all workers hold."""
        return [each.claim for row in self.rows.values() for each in row.tasks]

    @property
    def left_open(self) -> frozenset[str]:
        """Reservations of tasks at hand that are not of their present run."""
        return frozenset(name for row in self.rows.values() for each in row.tasks for name in each.left_open)

    def touch(self) -> None:
        """Note that the views are out of date."""
        self.version += 1
        for call in self.on_change:
            call()

    def set_state(self, at: TaskAtHand, state: WorkerState, doing: str = "") -> None:
        """Say where a task is, with a few words."""
        if at.state is not state:
            at.since_ms = self.clock.now_ms()
        at.state = state
        at.doing = doing
        self.touch()

    def set_own_state(self, row: WorkerRow, state: WorkerState, doing: str = "") -> None:
        """Say what a worker is at while it has no task."""
        if row.own_state is not state:
            row.own_since_ms = self.clock.now_ms()
        row.own_state = state
        row.own_doing = doing
        self.touch()

    def began(self, row: WorkerRow, claim: Claim, model: str) -> TaskAtHand:
        """A worker has taken a task."""
        at = TaskAtHand(row.spec, claim, model, doing="reading the task", since_ms=self.clock.now_ms())
        row.tasks.append(at)
        self.touch()
        return at

    def ended(self, row: WorkerRow, at: TaskAtHand) -> None:
        """A worker has let go of a task."""
        row.tasks.remove(at)
        if not row.tasks:
            self.set_own_state(row, WorkerState.IDLE)
            row.own_since_ms = self.clock.now_ms()
        self.touch()


def worker_view(row: WorkerRow) -> WorkerView:
    """One worker as people see it."""
    at, proven = row.at_hand, row.proven
    return {
        "name": row.spec.name,
        "role": str(row.spec.role),
        "tags": sorted(row.spec.tags),
        "state": str(row.state),
        "task": row.task,
        "title": row.claim.task.spec.title if row.claim else "",
        "doing": row.doing,
        "since": row.since_ms,
        "turns": at.turns if at else 0,
        "cost_usd": usd(at.cost_usd_micros if at else 0),
        "model": at.model if at else "",
        "proving": proven.claim.task.id if proven else None,
        "proving_doing": proven.doing if proven else "",
    }
