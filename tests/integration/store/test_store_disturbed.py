"""Nights of many workers whose server, connections, scripts or clock are disturbed all the time.

Each is thrown by dice whose seed is printed. `AGENTCOORD_STORE_EXAMPLES` makes them longer, and
`AGENTCOORD_STORE_SEED` throws the same again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from busy_night import BusyNight, Disturbance
from fault_proxy import Fault, Trap, Way, fault_proxy
from model_runs import TIMES, seed_of_this_run
from redis import Redis
from redis.exceptions import RedisError
from server_kit import RunningServer, free_port, private_folder, running, start, stop, valkey_binary
from store_kit import ANYBODY, LEASE_MS, HandClock, claim, load, open_store, spec
from store_observer import observer
from store_watch import Watch

from agentcoord.domain.ids import FencingToken, ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.store.keys import Keys

_S = TaskState
TASKS = 90 * TIMES
WORKERS = 12


@pytest.fixture
def folder() -> Iterator[Path]:
    with private_folder() as folder:
        yield folder


@pytest.fixture
def dice() -> random.Random:
    return random.Random(seed_of_this_run())


async def _spin(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def _judge(watch: Watch, night: BusyNight) -> None:
    """Everything is done once, every dollar is booked once, and the log has what it told."""
    seen = watch.look()
    assert set(seen.states.values()) == {_S.DONE}
    assert len(seen.states) == len(night.done) == TASKS
    assert int(seen.hashes["spend:run:r"]["spent"]) >= night.spent
    assert seen.numbers["events:last"] >= night.logged


async def _forget_scripts(night: BusyNight, client: Redis) -> None:
    while not night.over.is_set():
        await _spin(night.dice.randrange(200))
        client.script_flush()


async def _kill_connections(night: BusyNight, client: Redis) -> None:
    """One by one: idle ones, such as wait for an answer, such as send a pipeline, the dispatcher's."""
    while not night.over.is_set():
        await _spin(night.dice.randrange(120))
        mine = [row["id"] for row in client.client_list() if row["name"] == "agentcoord"]
        if mine:
            with suppress(RedisError):  # It may have ended by itself meanwhile.
                client.client_kill_filter(_id=night.dice.choice(mine))


async def _step_the_clock(night: BusyNight, clock: HandClock) -> None:
    while not night.over.is_set():
        await _spin(night.dice.randrange(400))
        clock.time_ms += night.dice.choice((1, 1_000, LEASE_MS, 3_600_000, -1_000, -3_600_000))


@pytest.mark.parametrize("kind", ["scripts forgotten", "connections killed", "clock steps", "all at once"])
async def test_a_disturbed_night_does_every_task_once(
    valkey_url: str, project_id: ProjectId, dice: random.Random, kind: str
) -> None:
    clock = HandClock()
    with observer(valkey_url) as client:
        disturbances: dict[str, Disturbance] = {
            "scripts forgotten": partial(_forget_scripts, client=client),
            "connections killed": partial(_kill_connections, client=client),
            "clock steps": partial(_step_the_clock, clock=clock),
        }
        chosen = list(disturbances.values()) if kind == "all at once" else [disturbances[kind]]
        async with open_store(valkey_url, project_id, clock) as store:
            night = BusyNight(store, dice, TASKS)
            await night.work_off(WORKERS, *chosen)
            _judge(Watch(client, store.keys.prefix), night)


async def test_at_every_moment_of_a_night_all_is_in_its_place(
    valkey_url: str, project_id: ProjectId, dice: random.Random
) -> None:
    with observer(valkey_url) as client:
        async with open_store(valkey_url, project_id, HandClock()) as store:
            watch, looks = Watch(client, store.keys.prefix), 0

            async def look_on(night: BusyNight) -> None:
                nonlocal looks
                while not night.over.is_set():
                    await asyncio.to_thread(watch.look)
                    looks += 1

            night = BusyNight(store, dice, TASKS)
            await night.work_off(WORKERS, look_on)
            assert looks > 3
            _judge(watch, night)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_night_behind_a_line_that_cuts_delays_and_half_closes_does_every_task_once(
    valkey_url: str, project_id: ProjectId, dice: random.Random, folder: Path, kind: str
) -> None:
    (folder / "s").mkdir()
    port = free_port()
    with running(valkey_binary(), folder / "s", port=port) as server:
        url = valkey_url if kind == "unix" else f"redis://127.0.0.1:{port}/0"
        client = observer(valkey_url) if kind == "unix" else server.client
        async with (
            fault_proxy(url, folder) as (through, proxy),
            open_store(through, project_id, HandClock()) as store,
        ):
            night = BusyNight(store, dice, TASKS)
            proxy.dice = dice
            await night.work_off(WORKERS)
            proxy.dice = None
            assert proxy.faults > 5
            _judge(Watch(client, store.keys.prefix), night)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_night_whose_server_is_killed_again_and_again_loses_nothing_that_was_confirmed(
    project_id: ProjectId, dice: random.Random, folder: Path, fsync: str
) -> None:
    begin = partial(start, valkey_binary(), folder, appendonly="yes", appendfsync=fsync)
    servers = [begin()]
    url = f"unix://{servers[0].socket_path}"

    async def kill_and_restart(night: BusyNight) -> None:
        for _ in range(3 * TIMES):
            steps = night.steps + dice.randrange(50, 250)
            while night.steps < steps and not night.over.is_set():  # noqa: ASYNC110 - by their number.
                await asyncio.sleep(0)
            await asyncio.to_thread(stop, servers.pop())
            confirmed = list(night.done)
            servers.append(await asyncio.to_thread(begin))
            states = watch(servers[0]).look().states
            assert {states[task] for task in confirmed} <= {_S.DONE}

    def watch(server: RunningServer) -> Watch:
        return Watch(server.client, Keys(project_id).prefix)

    try:
        async with open_store(url, project_id, HandClock()) as store:
            night = BusyNight(store, dice, TASKS)
            await night.work_off(WORKERS, kill_and_restart)
            _judge(watch(servers[0]), night)
    finally:
        stop(servers.pop())


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.HALF_CLOSE])
@pytest.mark.parametrize("way", Way)
async def test_a_call_cut_at_any_byte_is_carried_out_once(
    valkey_url: str, project_id: ProjectId, folder: Path, fault: Fault, way: Way
) -> None:
    """The dispatcher's call, which hands in one task and asks for the next."""
    async with (
        fault_proxy(valkey_url, folder) as (through, proxy),
        open_store(through, project_id, HandClock()) as store,
    ):
        await load(store, *(spec(f"t{i:04}") for i in range(2)))
        held = await claim(store)
        before = proxy.passed[way]
        held = await store.queue.complete_and_claim(held, (), ANYBODY, current=_S.RUNNING)
        size, number = proxy.passed[way] - before, 2
        assert size > 100
        with observer(valkey_url) as client:
            watch = Watch(client, store.keys.prefix)
            for at in range(0, size, max(1, 16 // TIMES)):
                await load(store, spec(f"t{number:04}"))
                proxy.trap = trap = Trap(fault, way, at)
                following = await store.queue.complete_and_claim(held, (), ANYBODY, current=_S.RUNNING)
                assert trap.sprung.is_set()
                assert following.task.id == f"t{number:04}"
                assert following.token == held.token + 1, "somebody else was handed a task"
                assert watch.look().states[held.task.id] == _S.DONE
                held, number = following, number + 1


async def test_what_is_delayed_arrives_and_what_waits_for_it_is_not_cut_off(
    valkey_url: str, project_id: ProjectId, folder: Path
) -> None:
    async with (
        fault_proxy(valkey_url, folder) as (through, proxy),
        open_store(through, project_id, HandClock()) as store,
    ):
        for number, way in enumerate(Way):
            proxy.trap = trap = Trap(Fault.DELAY, way, 7)
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(store.queue.load([spec(f"t{number}")]))
                await trap.sprung.wait()
                await store.ping()  # On another connection.
                assert not loading.done()
                trap.let_go.set()
            assert loading.result().added == (f"t{number}",)


async def test_a_server_without_a_file_that_is_killed_in_a_night_takes_the_plan_anew(
    project_id: ProjectId, dice: random.Random, folder: Path
) -> None:
    servers = [start(valkey_binary(), folder)]
    url = f"unix://{servers[0].socket_path}"
    try:
        async with open_store(url, project_id, HandClock()) as store:
            first = BusyNight(store, dice, TASKS)
            seen_token = 0

            async def kill(night: BusyNight) -> None:
                nonlocal seen_token
                await night.after(TASKS // 3)
                seen_token = int(servers[0].client.get(store.keys.of("fence")) or 0)
                await asyncio.to_thread(stop, servers.pop())
                servers.append(await asyncio.to_thread(start, valkey_binary(), folder))
                night.over.set()

            await first.work_off(WORKERS, kill)
            await store.raise_fence(FencingToken(seen_token))
            second = BusyNight(store, dice, TASKS)
            await second.work_off(WORKERS)
            assert int(servers[0].client.get(store.keys.of("fence")) or 0) >= seen_token + TASKS
            _judge(Watch(servers[0].client, store.keys.prefix), second)
    finally:
        stop(servers.pop())
