"""Reading tasks and their histories, many in one round trip.

Separate from the queue, which moves them, because whoever takes tasks back reads them too.

Theory of operation of `all()`. A task that has ended stays as it is until a person does something about
it, and a daemon that runs for weeks has thousands of those. So they are read once and remembered. Every
script that changes a task which has ended, or makes it one that has not, counts up `revised` in the same
step; when that is another number, everything is read anew. So it is when the server is another process: one
that was killed, or a replica that took over, has lost its last moment, and what had ended goes on there.
Who asks while somebody reads many waits for that, and hears when the store is away as that one does; and an
ended task that reads as it did before stays the object that it was. Forty readers at once would otherwise
have forty of each in memory.
Nothing of that is remembered of tasks under way, nor with a Cluster, whose connections are not ours to ask.
Of those under way, short ones are kept beside what they were made from: one that is stored as it was before
is not made again, which takes longer than to read it.
An ended task's `open_needs` may be older than that: needs that are done count down in it unseen, and
nobody asks for it before the task is brought back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import field
from itertools import islice
from typing import Final

from redis.asyncio import Redis

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import AttemptEnd
from agentcoord.domain.states import ENDED_STATES
from agentcoord.domain.task import Task
from agentcoord.errors import StoreUnavailableError
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import ScriptName, Scripts, calling, pieces
from agentcoord.store.setback_records import decode_attempt_end
from agentcoord.store.task_records import decode_task
from agentcoord.values import dataclass

READ_BATCH: Final = 500
"""Tasks read in one round trip."""
MANY: Final = 100
"""So many ended tasks are worth waiting for somebody who is reading them."""
SHORT_CHARACTERS: Final = 2_000
"""What is stored of longer tasks is not kept beside them."""
REMEMBERED_MOST: Final = 5_000
"""So many ended tasks are remembered, at about one kilobyte and their description each; others are read."""
ENDED: Final = ",".join(sorted(ENDED_STATES))
"""As scripts take it that must know whether a task has ended."""


@dataclass(slots=True)
class _Filling:
    """Somebody reads many."""

    ended: dict[str, Task]
    """What he will have remembered them in."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    failure: StoreUnavailableError | None = None


@dataclass(slots=True)
class TaskReader:
    """Reads only. Every method may raise StoreUnavailableError."""

    client: Redis
    keys: Keys
    scripts: Scripts
    _ended: dict[str, Task] = field(default_factory=dict)
    """Ended tasks as they were when `revised` had this number, or later."""
    _revised: object = None
    """The number, and how many servers had given one by then."""
    _before: dict[str, Task] = field(default_factory=dict)
    """What was remembered at the number before."""
    _never_known: int = 0
    """How many were read at the last look and could not be remembered: so many are unknown each time."""
    _filling: _Filling | None = None
    _made: dict[str, tuple[str, list[str], Task]] = field(default_factory=dict)
    """Tasks that have not ended as they were read last: body, hash, and what was made of these."""

    async def all(self) -> list[Task]:
        """Return every task in plan order, none older than the call."""
        async with calling("list the tasks"), self.client.pipeline(transaction=False) as pipe:
            pipe.get(self.keys.of("revised"))
            pipe.zrange(self.keys.of("order"), 0, -1)
            revised, ids = await pipe.execute()
        servers = getattr(getattr(self.client, "connection_pool", None), "servers", None)
        if (revised, servers) != self._revised:
            self._before, self._ended = self._ended or self._before, {}
            self._revised = (revised, servers)
        # Of this number, also when somebody else has meanwhile seen another.
        ended = self._ended if servers is not None else {}
        while True:
            unknown = [task for task in ids if task not in ended]
            many = len(unknown) - self._never_known >= MANY
            if not (many and (other := self._filling) is not None and other.ended is ended):
                break
            await other.over.wait()
            if other.failure is not None:
                raise StoreUnavailableError(other.failure.message, mend=other.failure.mend)
        with self._filling_of(ended) if many else nullcontext():
            read = await self._read_and_remember(unknown, ended)
        return [task for each in ids if (task := read.get(each) or ended.get(each)) is not None]

    async def page(self, offset: int, most: int) -> tuple[list[str], int]:
        """Return the names of at most `most` tasks in plan order from `offset` on, and how many there are."""
        order = self.keys.of("order")
        async with calling("list the tasks"), self.client.pipeline(transaction=False) as pipe:
            pipe.zrange(order, offset, offset + most - 1)
            pipe.zcard(order)
            ids, total = await pipe.execute()
        return ids, total

    @contextmanager
    def _filling_of(self, ended: dict[str, Task]) -> Iterator[None]:
        """Tell others inside the block that somebody reads many, and at its end how that went."""
        filling = self._filling = _Filling(ended)
        try:
            yield
        except StoreUnavailableError as error:
            filling.failure = error
            raise
        finally:
            filling.over.set()
            if self._filling is filling:
                self._filling = None

    async def _read_and_remember(self, ids: Sequence[str], ended: dict[str, Task]) -> dict[str, Task]:
        read: dict[str, Task] = {}
        for piece in pieces(ids, READ_BATCH):
            for task in await self.read(piece):
                before = self._before.get(task.id)
                read[task.id] = before if before == task else task
        new = (task for task in read.values() if task.state in ENDED_STATES)
        remembered: dict[str, Task] = {
            task.id: task for task in islice(new, max(0, REMEMBERED_MOST - len(ended)))
        }
        self._never_known = len(read) - len(remembered)
        ended.update(remembered)
        return read

    def forget(self) -> None:
        """Read everything anew: the server's memory was removed or replaced."""
        self._ended, self._before, self._revised, self._made = {}, {}, None, {}

    async def read(self, ids: Sequence[str]) -> list[Task]:
        """Return these tasks, `READ_BATCH` a round trip; one that is not there is passed over."""
        return [task for piece in pieces(ids, READ_BATCH) for task in await self._read_at_once(piece)]

    async def _read_at_once(self, ids: Sequence[str]) -> list[Task]:
        bodies, hashes = await self.scripts.run(ScriptName.READ_TASKS, *ids)
        found = zip(ids, bodies, hashes, strict=True)
        return [self._made_of(task, body, flat) for task, body, flat in found if flat]

    def _made_of(self, task_id: str, body: str, flat: list[str]) -> Task:
        known = self._made.pop(task_id, None)
        if known is not None and known[:2] == (body, flat):
            self._made[task_id] = known
            return known[2]
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        task = decode_task(body.encode(errors="surrogateescape"), fields)
        short = len(body) + sum(map(len, flat)) <= SHORT_CHARACTERS and len(self._made) < REMEMBERED_MOST
        if short and task.state not in ENDED_STATES:
            self._made[task_id] = (body, flat, task)
        return task

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
