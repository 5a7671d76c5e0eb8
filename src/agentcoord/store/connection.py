"""Opening a project's store: the parts that share one client, and what concerns all of them.

Separate so that the parts know nothing of each other's making.
Deliberately absent: kinds of servers (`client`), and starting one (`daemon.redis_server`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis, RedisCluster

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken, ProjectId, TaskId
from agentcoord.domain.retries import Verdict, always_again
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import HELD_STATES
from agentcoord.domain.task import Task
from agentcoord.errors import StoreLoadingError
from agentcoord.store.budget_ledger import BudgetLedger
from agentcoord.store.client import Usage, connected, unix_url, usage_of
from agentcoord.store.cluster_lane import ClusterLane
from agentcoord.store.dispatcher import DISPATCHED, Dispatcher
from agentcoord.store.event_log import EventLog
from agentcoord.store.file_locks import FileLocks
from agentcoord.store.hand_outs import HandOuts
from agentcoord.store.keys import Keys
from agentcoord.store.lane import Lane
from agentcoord.store.memory import MARK, Memory
from agentcoord.store.own_lane import OwnLane
from agentcoord.store.questions import QuestionBook
from agentcoord.store.queue import TaskQueue
from agentcoord.store.scripts import (
    BATCH,
    CALL_TIMEOUT_S,
    ScriptName,
    Scripts,
    calling,
    load_sources,
    read_hash,
    read_text,
)
from agentcoord.store.spreading import Spreader
from agentcoord.store.taking_back import TakingBack
from agentcoord.store.task_reading import TaskReader
from agentcoord.values import dataclass

__all__ = ["CleanupOutcome", "Store", "unix_url"]

LOADING_PATIENCE_S = 120.0
"""How long opening waits for a server that is still reading its data."""
LOADING_PAUSE_S = 0.2
CLOSE_TIMEOUT_S = CALL_TIMEOUT_S + 1.0
"""How long closing waits for what the workers have just handed in."""


@dataclass(frozen=True, slots=True)
class CleanupOutcome:
    """What a cleanup removed."""

    locks: int = 0
    leases: int = 0
    """Tasks put back in line."""
    reservations: int = 0
    keys: int = 0
    """Keys removed; only when everything was."""


@dataclass(slots=True)
class Store:
    """All that one project keeps in Redis."""

    client: Redis
    keys: Keys
    queue: TaskQueue
    locks: FileLocks
    ledger: BudgetLedger
    events: EventLog
    questions: QuestionBook
    memory: Memory

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, project: ProjectId, *, clock: Clock, lease_ms: int = 60_000
    ) -> AsyncIterator[Store]:
        """Connect to a server, Sentinel or Cluster (`client.connected`), and run the store until the exit.

        Raises StoreUnavailableError when the server does not answer, StoreError for a wrong URL.
        """
        async with connected(url) as client:
            store = await cls._build(client, Keys(project), clock, lease_ms)
            body_error: BaseException | None = None
            async with asyncio.TaskGroup() as owner:
                running = owner.create_task(store.queue.dispatcher.run(), name="store dispatcher")
                try:
                    yield store
                except BaseException as error:  # noqa: BLE001 - raised again below, outside of the group,
                    body_error = error  # which would wrap it in an ExceptionGroup.
                store.queue.dispatcher.close()
                _, late = await asyncio.wait({running}, timeout=CLOSE_TIMEOUT_S)
                for task in late:
                    task.cancel()
            if body_error is not None:
                raise body_error

    @classmethod
    async def _build(cls, client: Redis, keys: Keys, clock: Clock, lease_ms: int) -> Store:
        sources = await load_sources()
        scripts = Scripts(client, keys, sources)
        epoch_if_new = uuid.uuid4().hex
        give_up_at = clock.monotonic() + LOADING_PATIENCE_S
        while True:
            try:
                async with calling("open the store"):
                    await client.setnx(keys.of("epoch"), epoch_if_new)
                break
            except StoreLoadingError:
                if clock.monotonic() >= give_up_at:
                    raise
            await clock.sleep(LOADING_PAUSE_S)
        epoch = await read_text(client, keys.of("epoch"))
        settings = await read_hash(client, keys.of("settings"))
        reader = TaskReader(client, keys, scripts)
        mark = await read_text(client, keys.of(MARK)) or ""
        memory = Memory(client, keys, scripts, mark, reader.forget)
        locks = FileLocks(client, keys, scripts, clock)
        spreader = Spreader(scripts, clock)
        lane = _lane_for(client, {name: sources[name] for name in DISPATCHED}, keys.prefix)
        paused = settings.get("paused") == "1"
        dispatcher = Dispatcher(HandOuts(lane, clock, lease_ms, uuid.uuid4().hex, paused), spreader.finish)
        spreader.on_ready = dispatcher.wake
        scripts.on_doubt = dispatcher.wake_in_doubt
        taking = TakingBack(scripts, clock, reader, spreader, lease_ms, locks.nudge, dispatcher.wake)
        return cls(
            client=client,
            keys=keys,
            queue=TaskQueue(
                client, keys, scripts, clock, dispatcher, reader, taking, spreader, lease_ms, locks.nudge
            ),
            locks=locks,
            ledger=BudgetLedger(client, keys, scripts, memory),
            events=EventLog(client, keys, dispatcher, epoch or epoch_if_new),
            questions=QuestionBook(client, keys, scripts),
            memory=memory,
        )

    async def ping(self) -> None:
        """Raise StoreUnavailableError unless the server answers."""
        async with calling("answer a ping"):
            await self.client.ping()

    @property
    def usage(self) -> Usage:
        """Round trips so far, and connections."""
        return usage_of(self.client)

    async def get_setting(self, name: str) -> str | None:
        """Return a small value that outlives the daemon; None when it was never set."""
        return (await read_hash(self.client, self.keys.of("settings"))).get(name)

    async def set_setting(self, name: str, value: str) -> None:
        """Remember a small value across restarts."""
        async with calling("store a setting"):
            await self.client.hset(self.keys.of("settings"), name, value)

    async def cleanup(
        self,
        *,
        everything: bool,
        decide: Callable[[Task, Setback], Verdict] = always_again,
        at_work: Collection[TaskId] = (),
    ) -> CleanupOutcome:
        """Remove what the dead left: leases past their deadline, their locks and reservations.

        `decide` says what becomes of a task whose lease ended. `at_work`: what else than held tasks has calls
        under way, looked at as late as can be.

        With `everything`, remove every key of this project instead, and no other's; call it while no
        worker runs.
        """
        if everything:
            return CleanupOutcome(keys=await self._remove_every_key())
        requeued = await self.queue.reap(decide)
        locks = await self.locks.release_dead()
        # First what is reserved: who is handed a task meanwhile, and reserves, is no dead one.
        reservations = await self.ledger.open_reservations()
        held = {task.id for task in await self.queue.all() if task.state in HELD_STATES}
        held.update(at_work)
        dead = [reservation for reservation, task in reservations.items() if task not in held]
        ended = await self.ledger.end(dead)
        return CleanupOutcome(locks=locks, leases=len(requeued), reservations=len(ended))

    async def raise_fence(self, at_least: FencingToken) -> None:
        """Make every later claim's token greater than `at_least`; call it before the first claim.

        A server that lost its memory would hand out tokens again that the landing journal knows.
        """
        if await self.memory.fence() < at_least:
            async with calling("raise the fence"):
                await self.client.set(self.keys.of("fence"), at_least)

    async def _remove_every_key(self) -> int:
        """Remove all but the fence, which must only grow, or an old landing would pass for a new one.

        It is left where it is, not put back: whoever is cancelled or killed in between puts nothing back.
        """
        kept = self.keys.of("fence")
        self.memory.mark, removed = "", 0
        async with calling("remove the project's keys"):
            # The mark goes first: what is left by a removal that is cut short is no memory to be missed.
            removed += await self.client.unlink(self.keys.of(MARK))
            names: list[str] = []
            async for name in self.client.scan_iter(match=self.keys.scan_pattern, count=BATCH):
                if name != kept:
                    names.append(name)
                if len(names) == BATCH:
                    removed += await self.client.unlink(*names)
                    names.clear()
            if names:
                removed += await self.client.unlink(*names)
        self.queue.dispatcher.paused = False
        self.queue.reader.forget()
        return removed


def _lane_for(client: Redis, sources: Mapping[ScriptName, str], prefix: str) -> Lane:
    """Return the lane that fits what stands behind `client`."""
    # A cluster's client is typed as the one that it stands in for (see `client`).
    kind = ClusterLane if isinstance(cast("object", client), RedisCluster) else OwnLane
    return kind(client, sources, prefix)
