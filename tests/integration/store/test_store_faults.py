"""Processes that are killed: clients at any moment, servers with and without their file, and a crowd."""

from __future__ import annotations

import asyncio
import random
import sys
from functools import partial
from pathlib import Path

import pytest
from model_runs import seed_of_this_run
from server_kit import private_folder, start, stop, valkey_binary
from store_kit import HandClock, claim, land, load, open_store, spec, states
from store_observer import assert_every_task_is_in_its_place, observer

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.usage import UsdMicros
from agentcoord.domain.worker import Role, worker_of
from agentcoord.errors import LeaseLostError
from agentcoord.store import Caps, LockOutcome
from agentcoord.store.keys import Keys

_S = TaskState
ROUNDS = 4
WORKER_PROCESS = Path(__file__).with_name("worker_process.py")


async def test_workers_killed_at_any_moment_lose_no_task_and_do_none_twice(
    valkey_url: str, project_id: ProjectId
) -> None:
    dice, clock, confirmed = random.Random(seed_of_this_run()), HandClock(), []
    plan = [spec(f"t{i}", *([f"t{i - 1}"] if i % 4 == 3 else [])) for i in range(400)]
    async with open_store(valkey_url, project_id, clock) as store:
        await store.queue.load(plan)
        with observer(valkey_url) as client:
            for _ in range(ROUNDS):
                step_ms = dice.choice((0, 3_600_000, -3_600_000))  # Each process has a clock of its own.
                confirmed += await _work_and_be_killed(
                    valkey_url, project_id, lines=dice.randrange(1, 40), step_ms=step_ms
                )
                seen = assert_every_task_is_in_its_place(client, Keys(project_id).prefix)
                assert {seen[task] for task in confirmed} <= {_S.DONE}
        assert len(set(confirmed)) == len(confirmed)
        await store.queue.release_all_leases(why="the last one was killed")
        assert await store.locks.release_dead() <= 6
        left = [name for name, state in (await states(store)).items() if state is not _S.DONE]
        for _ in left:
            await land(store, await claim(store))
        assert set((await states(store)).values()) == {_S.DONE}


async def _work_and_be_killed(url: str, project: ProjectId, *, lines: int, step_ms: int) -> list[str]:
    """Let six workers run until so many tasks are confirmed, then kill their process where it stands."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER_PROCESS),
        url,
        project,
        "6",
        str(step_ms),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        told = [await process.stdout.readline() for _ in range(lines)]
        process.kill()
        rest, _ = await process.communicate()
    return [line.decode() for line in [*b"".join(told).split(), *rest.split()]]


async def test_a_killed_server_that_kept_its_file_has_lost_nothing(project_id: ProjectId) -> None:
    with private_folder() as folder:
        begin = partial(start, valkey_binary(), folder, appendonly="yes", appendfsync="always")
        server = begin()
        url, clock = f"unix://{server.socket_path}", HandClock()
        try:
            async with open_store(url, project_id, clock) as store:
                await load(store, spec("a"), spec("b", "a"), spec("c"))
                held = await claim(store)
                assert (await store.locks.acquire("x.py", held, timeout_s=1)).outcome is LockOutcome.TAKEN
                amount = UsdMicros(7)
                await store.ledger.reserve(
                    "r", run="r", task=TaskId("a"), day="d", amount=amount, caps=Caps()
                )
                [event] = await store.events.append([Event(EventKind.DAEMON_STARTED, 1)])
                # In a thread, so that the loop hears of the cut connections as it would.
                await asyncio.to_thread(stop, server)
                server = await asyncio.to_thread(begin)
                await store.queue.verify(held)
                await land(store, held)
                assert await states(store) == {"a": _S.DONE, "b": _S.QUEUED, "c": _S.QUEUED}
                assert [lock.path for lock in await store.locks.holders()] == ["x.py"]
                assert await store.ledger.open_reservations() == {"r": "a"}
                assert await store.events.last_seq() == event.seq
                assert (await claim(store)).token > held.token
                assert_every_task_is_in_its_place(server.client, store.keys.prefix)
        finally:
            stop(server)


async def test_a_server_whose_memory_was_wiped_refuses_old_holders_and_takes_a_new_plan(
    project_id: ProjectId,
) -> None:
    with private_folder() as folder:
        server = start(valkey_binary(), folder)
        url = f"unix://{server.socket_path}"
        try:
            async with open_store(url, project_id, HandClock()) as store:
                await load(store, spec("a"))
                held = await claim(store)
                epoch = store.events.epoch
                await asyncio.to_thread(stop, server)
                server = await asyncio.to_thread(start, valkey_binary(), folder)
                for use in (
                    store.queue.verify(held),
                    store.queue.move(held, _S.RUNNING, _S.CHECKING),
                    store.queue.complete(held, (), current=_S.RUNNING),
                    store.locks.acquire("x.py", held, timeout_s=1),
                    store.queue.park(held, why=""),
                ):
                    with pytest.raises(LeaseLostError):
                        await use
                assert await store.queue.heartbeat([held]) == {"a"}
                await load(store, spec("a"))
                await land(store, await claim(store))
                assert await states(store) == {"a": _S.DONE}
                await store.events.append([Event(EventKind.DAEMON_STARTED, 1)])
                assert store.events.epoch != epoch
        finally:
            stop(server)


async def test_six_hundred_workers_each_do_their_share(valkey_url: str, project_id: ProjectId) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await store.queue.load([spec(f"t{i}", *([f"t{i - 1}"] if i % 10 == 9 else [])) for i in range(1800)])
        tokens: list[int] = []
        over = asyncio.Event()

        async def work(number: int) -> None:
            me = worker_of(f"Worker-{number}", Role.BACKEND_ENGINEER)
            held = await store.queue.claim(me)
            while True:
                tokens.append(held.token)
                if len(tokens) == 1800:
                    over.set()
                held = await store.queue.complete_and_claim(held, (), me, current=_S.RUNNING)

        async with asyncio.TaskGroup() as group:
            working = [group.create_task(work(number)) for number in range(600)]
            await over.wait()
            for one in working:
                one.cancel()
        assert len(set(tokens)) == 1800
