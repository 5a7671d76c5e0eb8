"""Notices a run that shows no sign of life, and has it given up.

Separate from the fleet because it only looks, and from `loop_watch`, which notices from outside when nothing
at all goes on. Everything that a worker awaits has a deadline of its own; this is for what was overlooked: a
thread, a disk, a program that never answers. A sign of life is an event of its task's, and whatever
changes in what it is seen to do. Who waits, by its own word or because the provider said until
when, is not silent.
"""

from __future__ import annotations

from collections.abc import Callable

from agentcoord.clock import Clock
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.worker_row import FleetBoard, TaskAtHand, WorkerRow
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerState
from agentcoord.values import dataclass

LOOK_EVERY_S = 30.0
LEAST_SILENCE_S = 3_600.0


def silence_allowed_s(check_timeout_s: float, checks: int) -> float:
    """How long a worker may be silent: twice what its checks may take, since it may wait for others."""
    return max(LEAST_SILENCE_S, 2 * check_timeout_s * max(1, checks))


@dataclass(slots=True)
class _Life:
    """When a run last moved, and how it looked then."""

    looks: tuple[object, ...]
    moved_at: float


class HealthWatch:
    """Watches all runs. `run()` belongs in the daemon's task group."""

    def __init__(
        self,
        board: FleetBoard,
        hub: EventHub,
        clock: Clock,
        *,
        silence_s: float,
        give_up: Callable[[WorkerRow, Claim, str], None],
    ) -> None:
        """`give_up` hears whose run of which claim is silent, and the words for it."""
        self._board = board
        self._hub = hub
        self._clock = clock
        self._silence_s = silence_s
        self._give_up = give_up
        self._lives: dict[FencingToken, _Life] = {}
        self._events: dict[str, int] = {}
        """The number of the newest event of each task that runs."""
        self._limited_until: dict[str, float] = {}
        """Until when (monotonic) each model may not be called."""

    async def run(self) -> None:
        """Look twice a minute, for ever."""
        with self._hub.subscribed() as subscription:
            while True:
                await self._clock.sleep(LOOK_EVERY_S)
                for event in subscription.take_all():
                    self._hear(event)
                self.look()

    def _hear(self, event: Event) -> None:
        if event.kind is EventKind.RATE_LIMITED:
            until = self._clock.monotonic() + float(event.data.get("wait_s") or 0.0)
            self._limited_until[str(event.data.get("model", ""))] = until
        elif event.task is not None:
            self._events[event.task] = event.seq

    def look(self) -> None:
        """Compare every run with the last look, and give up those that have been silent too long."""
        now = self._clock.monotonic()
        runs = [(row, at) for row in self._board.rows.values() for at in row.tasks]
        tasks = {at.claim.task.id for _, at in runs}
        self._events = {task: seq for task, seq in self._events.items() if task in tasks}
        tokens = {at.claim.token for _, at in runs}
        self._lives = {token: life for token, life in self._lives.items() if token in tokens}
        for row, at in runs:
            looks = (self._events.get(at.claim.task.id), at.state, at.doing, at.turns, at.says, at.in_proof)
            life = self._lives.get(at.claim.token)
            if life is None or life.looks != looks or self._waits(at, now):
                self._lives[at.claim.token] = _Life(looks, now)
            elif now - life.moved_at >= self._silence_s:
                life.moved_at = now
                doing = f" ({at.doing})" if at.doing else ""
                self._give_up(row, at.claim, f"no sign of life for {self._silence_s:.0f} s{doing}")

    def _waits(self, at: TaskAtHand, now: float) -> bool:
        return at.state is not WorkerState.WORKING or self._limited_until.get(at.model, 0.0) > now
