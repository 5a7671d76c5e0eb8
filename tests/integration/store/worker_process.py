"""A process of workers for tests that kill it: `worker_process.py URL PROJECT COUNT STEP_MS`, until killed.

Its clock is the machine's, `STEP_MS` ahead or (negative) behind. It begins as a daemon does, by taking
back what a dead one held. Each completion is told as one line on standard output, after the store has
confirmed it.
"""

from __future__ import annotations

import asyncio
import sys

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.domain.worker import Role, worker_of
from agentcoord.store import Store


class SteppedClock(SystemClock):
    """The machine's clock after somebody set it."""

    def __init__(self, step_ms: int) -> None:
        self.step_ms = step_ms

    def now_ms(self) -> int:
        return super().now_ms() + self.step_ms


async def main(url: str, project: str, count: int, step_ms: int) -> None:
    async with Store.open(url, ProjectId(project), clock=SteppedClock(step_ms)) as store:
        await store.queue.release_all_leases(why="the process was killed")

        async def work(number: int) -> None:
            me = worker_of(f"Worker-{number}", Role.BACKEND_ENGINEER)
            while True:
                claim = await store.queue.claim(me)
                await store.queue.move(claim, TaskState.RUNNING, TaskState.CHECKING)
                await store.locks.acquire(f"{number}.py", claim, timeout_s=5)
                await store.queue.move(claim, TaskState.CHECKING, TaskState.LANDING)
                await store.queue.complete(claim, ())
                print(claim.task.id, flush=True)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(work(number))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
