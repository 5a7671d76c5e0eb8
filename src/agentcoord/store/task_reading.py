"""Reading tasks and their histories, many in one round trip.

Separate from the queue, which moves them, because whoever takes tasks back reads them too.

Theory of operation of `all()`. A task that has ended stays as it is until a person does something about
it, and a daemon that runs for weeks has thousands of those. So they are read once and remembered. Every
script that changes a task which has ended, or makes it one that has not, counts up `revised` in the same
step; when that is another number, everything is read anew. So it is when the server is another process: one
that was killed, or a replica that took over, has lost its last moment, and what had ended goes on there.
Who asks while somebody reads many waits for that, once, and an ended task that reads as it did before stays
the object that it was: forty readers at once would otherwise have forty of each in memory.
Nothing is remembered of tasks under way, nor with a Cluster, whose connections are not ours to ask.
An ended task's `open_needs` may be older than that: needs that are done count down in it unseen, and
nobody asks for it before the task is brought back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import field
from itertools import islice
from typing import Final

from redis.asyncio import Redis

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import AttemptEnd
from agentcoord.domain.states import ENDED_STATES
from agentcoord.domain.task import Task
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import calling
from agentcoord.store.setback_records import decode_attempt_end
from agentcoord.store.task_records import decode_task
from agentcoord.values import dataclass

READ_BATCH: Final = 500
"""Tasks read in one round trip."""
MANY: Final = 100
"""So many that it is worth waiting for somebody who is reading them."""
REMEMBERED_MOST: Final = 5_000
"""So many ended tasks are remembered, at about one kilobyte and their description each; others are read."""
ENDED: Final = ",".join(sorted(ENDED_STATES))
"""As scripts take it that must know whether a task has ended."""


@dataclass(slots=True)
class TaskReader:
    """Reads only. Every method may raise StoreUnavailableError."""

    client: Redis
    keys: Keys
    _ended: dict[str, Task] = field(default_factory=dict)
    """Ended tasks as they were when `revised` had this number, or later."""
    _revised: object = None
    """The number, and which server gave it."""
    _before: dict[str, Task] = field(default_factory=dict)
    """What was remembered at the number before."""
    _reading_many: asyncio.Event | None = None
    """Set when whoever reads many has remembered them."""

    async def all(self) -> list[Task]:
        """Return every task in plan order, none older than the call."""
        async with calling("list the tasks"), self.client.pipeline(transaction=False) as pipe:
            pipe.get(self.keys.of("revised"))
            pipe.zrange(self.keys.of("order"), 0, -1)
            revised, ids = await pipe.execute()
        server = getattr(getattr(self.client, "connection_pool", None), "server", None)
        if server is None or (revised, server) != self._revised:
            self._before, self._ended, self._revised = self._ended, {}, (revised, server)
        ended = self._ended  # Of this number, also when somebody else has meanwhile seen another.
        unknown = [task for task in ids if task not in ended]
        if len(unknown) >= MANY and self._reading_many is not None:
            await self._reading_many.wait()
            unknown = [task for task in unknown if task not in ended]
        read = await self._read_and_remember(unknown, ended)
        return [task for each in ids if (task := read.get(each) or ended.get(each)) is not None]

    async def _read_and_remember(self, ids: Sequence[str], ended: dict[str, Task]) -> dict[str, Task]:
        done = asyncio.Event()
        if len(ids) >= MANY:
            self._reading_many = done
        try:
            read: dict[str, Task] = {}
            for start in range(0, len(ids), READ_BATCH):
                for task in await self.read(ids[start : start + READ_BATCH]):
                    before = self._before.get(task.id)
                    read[task.id] = before if before == task else task
            new = (task for task in read.values() if task.state in ENDED_STATES)
            ended.update({task.id: task for task in islice(new, max(0, REMEMBERED_MOST - len(ended)))})
            return read
        finally:
            done.set()
            if self._reading_many is done:
                self._reading_many = None

    def forget(self) -> None:
        """Read everything anew: the server's memory was removed or replaced."""
        self._ended, self._before, self._revised = {}, {}, None

    async def read(self, ids: Sequence[str]) -> list[Task]:
        """Return these tasks; one that is not there is passed over."""
        async with calling("read tasks"), self.client.pipeline(transaction=False) as pipe:
            for task in ids:
                pipe.get(self.keys.body(task))
                pipe.hgetall(self.keys.task(task))
            rows = await pipe.execute()
        bodies, hashes = rows[::2], rows[1::2]
        return [
            decode_task(body.encode(errors="surrogateescape"), fields)
            for body, fields in zip(bodies, hashes, strict=True)
            if fields
        ]

    async def histories(self, tasks: Sequence[TaskId]) -> dict[TaskId, tuple[AttemptEnd, ...]]:
        """Return how the attempts of these tasks ended, the oldest first; at most 50 a task are kept."""
        async with calling("read histories"), self.client.pipeline(transaction=False) as pipe:
            for task in tasks:
                pipe.lrange(self.keys.history(task), 0, -1)
            found = await pipe.execute()
        return {
            task: tuple(decode_attempt_end(line) for line in lines)
            for task, lines in zip(tasks, found, strict=True)
        }
