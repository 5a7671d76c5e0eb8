"""What befalls servers that are more than one: masters that die or step back, and slots that move.

What is confirmed may be lost when a master dies before its replica has heard of it: replication is
asynchronous. So a death is died here after the replica has caught up, and what is ordered by a person
(a coordinated fail-over, a slot that moves whole) in the middle of a busy night.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from busy_night import BusyNight
from model_runs import seed_of_this_run
from redis.exceptions import RedisError
from server_kit import (
    SERVICE,
    RunningServer,
    cluster_of_three,
    command,
    node_id,
    owner_of,
    replica_in_cluster,
    sentinel_trio,
    slot_of,
    stop,
    valkey_binary,
    wait_until,
)
from store_kit import ANYBODY, HandClock, claim, in_the_end, load, open_store, spec, states
from store_observer import assert_every_task_is_in_its_place
from store_watch import Watch

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.store import Store
from agentcoord.store.keys import Keys

_S = TaskState
TASKS = 60


async def test_a_master_that_dies_behind_sentinel_is_followed_and_loses_no_task(
    project_id: ProjectId,
) -> None:
    with sentinel_trio(valkey_binary()) as trio:
        async with open_store(trio.url, project_id, HandClock()) as store:
            await _outlive(store, trio.master, trio.replica)


async def test_a_master_of_a_cluster_that_dies_is_followed_and_loses_no_task(project_id: ProjectId) -> None:
    with cluster_of_three(valkey_binary()) as nodes:
        master = owner_of(nodes, Keys(project_id).prefix)
        with replica_in_cluster(valkey_binary(), nodes, master) as replica:
            hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
            async with open_store(f"redis+cluster://{hosts}", project_id, HandClock()) as store:
                await _outlive(store, master, replica)


async def _outlive(store: Store, master: RunningServer, replica: RunningServer) -> None:
    await load(store, spec("a"), spec("b"))
    held = await claim(store)
    master.client.wait(1, 5000)  # The replica has it all.
    await asyncio.to_thread(stop, master)
    again = await in_the_end(lambda: store.queue.claim(ANYBODY))
    assert (held.task.id, again.task.id, again.task.attempt) == ("a", "b", 1)
    # Waiting has moved the clock past the deadline, but nobody took the lease.
    assert await in_the_end(lambda: store.queue.heartbeat([held, again])) == frozenset()
    await store.queue.verify(held)
    assert again.token > held.token
    assert await states(store) == {"a": _S.RUNNING, "b": _S.RUNNING}
    assert_every_task_is_in_its_place(replica.client, store.keys.prefix)


async def test_a_coordinated_failover_in_a_busy_night_loses_nothing(project_id: ProjectId) -> None:
    with sentinel_trio(valkey_binary()) as trio:
        async with open_store(trio.url, project_id, HandClock()) as store:
            night = BusyNight(store, random.Random(seed_of_this_run()), TASKS)

            async def step_back(night: BusyNight) -> None:
                await night.after(TASKS // 3)
                for _ in range(3):  # Also the link between the two, and Sentinel's own connections, are cut.
                    for kind in ("replica", "pubsub"):
                        trio.master.client.client_kill_filter(_type=kind)
                    await asyncio.sleep(0)
                wait_until(lambda: trio.replica.client.info("replication")["master_link_status"] == "up")
                await asyncio.to_thread(wait_until, lambda: _agreed(trio.watchers[0]))
                await asyncio.to_thread(wait_until, lambda: _role(trio.replica) == "master")
                night.over_may_come.set()

            night.over_may_come.clear()
            await night.work_off(8, step_back)
            _judge(Watch(trio.replica.client, store.keys.prefix), night)


def _agreed(watcher: RunningServer) -> bool:
    with suppress(RedisError):  # It refuses while the replica is still on its way back.
        command(watcher.client, "SENTINEL", "FAILOVER", SERVICE, "COORDINATED")
        return True
    return False


def _role(server: RunningServer) -> str:
    return str(server.client.info("replication")["role"])


async def test_a_slot_that_moves_to_another_node_in_a_busy_night_loses_nothing(
    project_id: ProjectId,
) -> None:
    prefix = Keys(project_id).prefix
    with cluster_of_three(valkey_binary()) as nodes:
        old = owner_of(nodes, prefix)
        new = next(node for node in nodes if node is not old)
        slot = slot_of(old, prefix)
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        async with open_store(f"redis+cluster://{hosts}", project_id, HandClock()) as store:
            night = BusyNight(store, random.Random(seed_of_this_run()), TASKS)

            async def move(night: BusyNight) -> None:
                await night.after(TASKS // 3)
                # All keys at once, by Valkey 9; moved key by key, no script that uses many would be safe.
                command(old.client, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id(new))
                await asyncio.to_thread(wait_until, lambda: owner_of(nodes, prefix) is new)
                night.over_may_come.set()

            night.over_may_come.clear()
            await night.work_off(8, move)
            _judge(Watch(new.client, prefix), night)


def _judge(watch: Watch, night: BusyNight) -> None:
    states = watch.look().states
    assert set(states.values()) == {_S.DONE}
    assert len(states) == len(night.done) == TASKS
