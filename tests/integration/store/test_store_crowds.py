"""Very many: tasks in line, and clients at once.

    AGENTCOORD_STORE_TASKS=1000000 python -m pytest -o timeout=3600 tests/integration/store -k long_line
    AGENTCOORD_STORE_CLIENTS=600 python -m pytest tests/integration/store -k many_clients

By default there are 20,000 tasks and 60 clients, so that the whole suite stays short.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack

from server_kit import private_folder, running, valkey_binary
from store_kit import ANYBODY, NIGHT_MS, HandClock, claim, load, open_store, spec
from store_observer import assert_every_task_is_in_its_place, observer

from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim, TaskSpec
from agentcoord.domain.worker import Role, worker_of
from agentcoord.store import Store

_S = TaskState
TASKS = int(os.environ.get("AGENTCOORD_STORE_TASKS", "20000"))
CLIENTS = int(os.environ.get("AGENTCOORD_STORE_CLIENTS", "60"))
PIECE = 10_000
CHAINS, LENGTH = 100, 50


async def test_a_very_long_line_is_served_in_its_order(project_id: ProjectId) -> None:
    # A server of its own, whose memory ends with the test.
    with private_folder() as folder, running(valkey_binary(), folder) as server:
        async with open_store(f"unix://{server.socket_path}", project_id, HandClock()) as store:
            for start in range(0, TASKS, PIECE):
                await store.queue.load([_task(i) for i in range(start, min(start + PIECE, TASKS))])
            counts = await store.queue.counts()
            waiting = CHAINS * (LENGTH - 1)
            assert (counts[_S.QUEUED], counts[_S.BLOCKED]) == (TASKS - waiting, waiting)
            assert (await store.queue.load([_task(0), _task(TASKS - 1)])).added == ()
            first = [await claim(store) for _ in range(CHAINS)]
            assert [held.task.id for held in first] == [f"t{i * LENGTH}" for i in range(CHAINS)]
            assert (await claim(store)).task.id == f"t{CHAINS * LENGTH}"
            await load(store, spec("urgent", priority=5))
            assert (await claim(store)).task.id == "urgent"
            held = first[0]
            for i in range(1, LENGTH):  # From one end of a chain to the other, each at the head of the line.
                held = await store.queue.complete_and_claim(held, (), ANYBODY, current=_S.RUNNING)
                assert held.task.id == f"t{i}"
            assert len(await store.queue.fail(first[1], why="red")) == LENGTH - 1
            assert await store.queue.retry(first[1].task.id)
            assert await store.queue.cancel(TaskId(f"t{TASKS - 1}"), why="the last in line")
            assert len(await store.queue.release_all_leases(why="restart")) == CHAINS + 1
            assert_every_task_is_in_its_place(server.client, store.keys.prefix)


def _task(i: int) -> TaskSpec:
    """The first tasks are chains, in which each needs the one before it; all others need nobody."""
    in_a_chain = i < CHAINS * LENGTH and i % LENGTH != 0
    return spec(f"t{i}", *([f"t{i - 1}"] if in_a_chain else []))


async def test_very_many_clients_at_once_each_do_their_share(valkey_url: str, project_id: ProjectId) -> None:
    """Each client is a store of its own: with its own connections, dispatcher and clock."""
    count = 10 * CLIENTS
    async with AsyncExitStack() as exits:
        stores = [
            await exits.enter_async_context(
                open_store(valkey_url, project_id, HandClock(NIGHT_MS + 977 * (i % 7 - 3)))
            )
            for i in range(CLIENTS)
        ]
        await stores[0].queue.load([spec(f"t{i}") for i in range(count)])
        claims: list[Claim] = []

        async def work(number: int, store: Store) -> None:
            me = worker_of(f"Worker-{number}", Role.BACKEND_ENGINEER)
            for _ in range(10):
                held = await store.queue.claim(me)
                await store.queue.complete(held, (), current=_S.RUNNING)
                claims.append(held)

        async with asyncio.TaskGroup() as group:
            for number, store in enumerate(stores):
                group.create_task(work(number, store))
        assert len({held.token for held in claims}) == len({held.task.id for held in claims}) == count
        with observer(valkey_url) as client:
            states = assert_every_task_is_in_its_place(client, stores[0].keys.prefix)
        assert set(states.values()) == {_S.DONE}
