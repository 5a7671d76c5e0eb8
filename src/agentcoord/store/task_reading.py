"""Reading tasks and their histories, many in one round trip.

Separate from the queue, which moves them, because whoever takes tasks back reads them too.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import AttemptEnd
from agentcoord.domain.task import Task
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import calling
from agentcoord.store.setback_records import decode_attempt_end
from agentcoord.store.task_records import decode_task
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class TaskReader:
    """Reads only. Every method may raise StoreUnavailableError."""

    client: Redis
    keys: Keys

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
