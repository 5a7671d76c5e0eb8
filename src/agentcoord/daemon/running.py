"""The daemon from ready to stopped: what goes on beside each other, and in which order it ends.

Separate from `compose`, which builds the parts. Every coroutine here is a child of one task group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from agentcoord.daemon.baseline import BaselineKeeper
from agentcoord.daemon.chores import Chores
from agentcoord.daemon.companions import Loop
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.later import import_ahead
from agentcoord.daemon.memory_heaps import pass_over_what_is_there
from agentcoord.daemon.memory_keeper import MemoryKeeper
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.snapshot import DaemonState
from agentcoord.daemon.subset_proofs import SubsetProofs
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import WorkspaceError
from agentcoord.values import dataclass

FLUSH_TIMEOUT_S = 5.0
"""How long a stopping daemon waits for its last events to be stored."""

WARM_UP_AFTER_S = 1.0

log = structlog.get_logger("daemon")


@dataclass(frozen=True, slots=True)
class Daemon:
    """The parts that the main loop drives."""

    shop: Workshop
    fleet: Fleet
    chores: Chores
    baseline: BaselineKeeper
    keeper: MemoryKeeper
    subsets: SubsetProofs
    state: DaemonState
    shutdown: Shutdown
    has_model: bool
    companions: tuple[Loop, ...]
    on_end: Callable[[], None]
    """Called, blocking, when it has ended in order."""
    warm_up_model: Loop | None = None
    work_waits: bool = False
    """Whether tasks that are not settled were there at the start."""

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Work until a stop is asked for; returns when every worker has handed its task back."""
        async with asyncio.TaskGroup() as group:
            regular = group.create_task(self._regular(), name="regular")
            fleet = group.create_task(self.fleet.run(self._workers()), name="fleet")
            self.state.state, self.state.ready = "running", True
            self.shop.hub.emit(EventKind.DAEMON_STARTED, pid=self.state.pid, sandbox=self.state.sandbox)
            on_ready()
            self.chores.look_at_deadline()  # Nothing was awaited yet: no worker has begun.
            now = await self.shutdown.asked()
            restarting = self.shutdown.restarting
            self.state.state = "restarting" if restarting else "stopping"
            because = {"why": self.state.stopping_why} if self.state.stopping_why else {}
            self.shop.hub.emit(EventKind.DAEMON_STOPPING, now=now, restarting=restarting, **because)
            stopping = group.create_task(self.fleet.stop(now=now), name="stop")
            if not now:
                group.create_task(self._hurry(stopping), name="hurry")
            await stopping
            self.shutdown.ask(now=True)  # Frees `_hurry`.
            await fleet
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await self.shop.hub.flushed()
            except TimeoutError:  # The store is away; the tasks' states do not hang on it.
                log.warning("last_events_lost")
            else:
                await self.keeper.keep_last()
            regular.cancel()
        self.on_end()

    def _workers(self) -> tuple[WorkerSpec, ...]:
        return self.shop.settings.workers if self.has_model else ()

    async def _regular(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.shop.hub.run(), name="hub")
            group.create_task(self.baseline.run(), name="baseline")
            group.create_task(self._warm(), name="warm")
            group.create_task(self.keeper.run(), name="memory")
            group.create_task(self.subsets.run(), name="subsets")
            self.chores.start(group)
            for loop in self.companions:
                group.create_task(self._accompanied(loop), name="companion")

    async def _accompanied(self, loop: Loop) -> None:
        """Run a companion; that it failed is told, and no reason to end the night."""
        try:
            await loop()
        except Exception as error:
            log.error("companion_failed", exc_info=error)
            self.shop.hub.emit(EventKind.ERROR, where="companion", error=f"{type(error).__name__}: {error}")

    async def _warm(self) -> None:
        """Do ahead of need what the first tasks would wait for: the private copies, and the model's SDK.

        Side by side: the SDK's import takes seconds, on a busy machine ten and more, and the first turn of a
        task that waited for this daemon needs it as early as its copy.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._warm_copies(), name="copies")
            group.create_task(self._warm_model(), name="model")
        pass_over_what_is_there()

    async def _warm_copies(self) -> None:
        """A task that needs a copy says what is wrong with it."""
        try:
            await self.shop.pool.warm()
        except (WorkspaceError, OSError) as error:
            self.shop.hub.emit(EventKind.ERROR, where="private copies", error=str(error))

    async def _warm_model(self) -> None:
        if self.warm_up_model is None:
            return
        if not self.work_waits:
            # A daemon that is stopped right away need not wait for the import to end.
            await self.shop.clock.sleep(WARM_UP_AFTER_S)
        await self._accompanied(import_ahead)
        await self._accompanied(self.warm_up_model)

    async def _hurry(self, stopping: asyncio.Task[None]) -> None:
        """A second request to stop cuts the workers off."""
        await self.shutdown.asked_now()
        if not stopping.done():
            await self.fleet.stop(now=True)
