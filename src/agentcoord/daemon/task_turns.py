"""In which order a worker is at its own two tasks: it converses about one while its last one is proven.

Theory of operation. A task's checks need no model and no worker; so while they run, its worker may begin the
next task. Three rules bound that. A worker has one conversation at a time, and so never more than one
request under way. At most one of its tasks is in proof; whose conversation ends sooner waits for that. And
it begins nothing new while a task of its own could go on: one whose checks were red comes back before
anything new, when the conversation that was begun meanwhile has come to its end.
A proof never waits for a conversation, so these waits come to an end. Deliberately absent: what ends a run,
which is the fleet's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentcoord.daemon.time_spent import Stretch
from agentcoord.daemon.worker_row import FleetBoard, TaskAtHand, WorkerRow
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerState
from agentcoord.store.queue import TaskQueue


class TaskTurns:
    """One worker's order."""

    def __init__(self, board: FleetBoard, row: WorkerRow) -> None:
        self._board = board
        self._row = row
        self._voice = asyncio.Lock()
        self._proof = asyncio.Lock()
        self._changed = asyncio.Event()
        self._running: set[FencingToken] = set()
        self._ended = False
        self.held: dict[FencingToken, Claim] = {}
        """Claims whose run would leave them with nobody if it were cut off."""
        self.broken: list[Exception] = []
        """What runs raised that nobody has looked at yet."""
        self.went_well = False
        """Whether a run has ended by itself since somebody looked."""

    @property
    def worker(self) -> str:
        return self._row.spec.name

    @property
    def free(self) -> bool:
        """Whether the worker may begin a task: it has none, or its only one is being proven."""
        return not self._running or (
            len(self._running) == 1 and len(self._row.tasks) == 1 and self._row.tasks[0].in_proof
        )

    @property
    def idle(self) -> bool:
        """Whether no run is left, not even one that only gives its claim back."""
        return not self._running

    def began(self, claim: Claim) -> None:
        self._running.add(claim.token)
        self.held[claim.token] = claim

    def ended(self, claim: Claim) -> None:
        """The run of a claim is over."""
        self._running.discard(claim.token)
        self.tell()

    def raise_broken(self) -> None:
        """Raise what a run has raised since somebody looked."""
        if self.broken:
            raise self.broken.pop()

    def begin_nothing(self) -> None:
        """Let whoever waits to begin a task wait no longer."""
        self._ended = True
        self.tell()

    async def until_free(self) -> None:
        """Wait until the worker may begin a task, or something is to be looked at first."""
        while not (self.free or self._ended or self.broken):
            await self.change()

    async def until_not_free(self) -> None:
        """Wait until the worker may begin no task, or something is to be looked at first."""
        while self.free and not (self._ended or self.broken):
            await self.change()

    async def claim(self, queue: TaskQueue) -> Claim | None:
        """Wait for a task; None when the worker may begin none any more, for one of its own comes first."""
        spec = self._row.spec
        if self.idle:
            return await queue.claim(spec)
        claims: list[Claim] = []

        async def claim() -> None:
            claims.append(await queue.claim(spec))

        try:
            async with asyncio.TaskGroup() as group:
                claiming = group.create_task(claim(), name=f"claim:{spec.name}")
                watching = group.create_task(self.until_not_free())
                await asyncio.wait({claiming, watching}, return_when=asyncio.FIRST_COMPLETED)
                claiming.cancel()
                watching.cancel()
        except ExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None
        except asyncio.CancelledError:
            for each in claims:  # It came in the same moment.
                self.began(each)
            raise
        return claims[0] if claims else None

    async def change(self) -> None:
        """Wait until anything changes."""
        self._changed.clear()
        await self._changed.wait()

    def tell(self) -> None:
        self._changed.set()

    @asynccontextmanager
    async def conversing(self, at: TaskAtHand) -> AsyncIterator[None]:
        """Hold the worker's voice inside the block; wait for it until its other conversation has ended."""
        doing = at.doing
        if self._voice.locked():
            self._wait(at, "for its worker, which is at another task")
        with at.time_spent.on(Stretch.TURN):
            await self._voice.acquire()
        try:
            self._board.set_state(at, WorkerState.WORKING, doing)
            yield
        finally:
            self._voice.release()

    @asynccontextmanager
    async def proving(self, at: TaskAtHand) -> AsyncIterator[None]:
        """Be in proof inside the block; wait until no other task of the worker is."""
        if self._proof.locked():
            self._wait(at, "for the proof of its worker's last task")
        with at.time_spent.on(Stretch.TURN):
            await self._proof.acquire()
        try:
            at.in_proof = True
            self._board.set_state(at, WorkerState.WORKING, "about to be proven")
            self.tell()
            yield
        finally:
            at.in_proof = False
            self._proof.release()
            self._board.touch()
            self.tell()

    def _wait(self, at: TaskAtHand, words: str) -> None:
        self._board.set_state(at, WorkerState.WAITING, words)
