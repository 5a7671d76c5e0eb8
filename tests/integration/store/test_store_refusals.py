"""Servers that answer and refuse: said in words that name the mend, and survived once that is done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fault_proxy import fault_proxy
from redis.exceptions import RedisError
from server_kit import (
    RunningServer,
    command,
    free_port,
    private_folder,
    running,
    stop,
    valkey_binary,
    wait_until,
)
from store_kit import ANYBODY, LEASE_MS, HandClock, claim, land, load, open_store, spec, states

from agentcoord.clock import SystemClock
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.usage import UsdMicros
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Caps, Store, unix_url


@contextmanager
def _server(**options: str) -> Iterator[RunningServer]:
    with private_folder() as folder, running(valkey_binary(), folder, port=0, **options) as server:
        yield server


async def _refused(store: Store, held: Claim, words: str, mend: str) -> None:
    """A change is refused in these words, by a script and by the dispatcher; the lease is not lost by it."""
    amount = UsdMicros(1)
    for attempt in (
        lambda: store.locks.acquire("x.py", held, timeout_s=1),
        lambda: store.queue.requeue(held, why="", counts_attempt=False),
        lambda: store.ledger.reserve("r", run="r", task=held.task.id, day="d", amount=amount, caps=Caps()),
    ):
        with pytest.raises(StoreUnavailableError, match=words) as told:
            await attempt()
        assert mend in told.value.mend


async def _goes_on(store: Store, held: Claim) -> None:
    await land(store, held)
    assert (await states(store))[held.task.id] is TaskState.DONE


async def test_a_server_without_memory_left(project_id: ProjectId) -> None:
    with _server() as server:
        async with open_store(unix_url(str(server.socket_path)), project_id, HandClock()) as store:
            await load(store, spec("a"))
            held = await claim(store)
            server.client.set("somebody else's", "x" * 2_000_000)
            server.client.config_set("maxmemory", "1mb")
            server.client.config_set("maxmemory-policy", "noeviction")
            await _refused(store, held, "used up its maxmemory", "raise maxmemory")
            await store.queue.verify(held)  # Reading goes on.
            with pytest.raises(StoreUnavailableError) as told:
                await store.cleanup(everything=False)
            assert "cleanup" not in told.value.mend, "which is refused, too"
            server.client.config_set("maxmemory", "0")
            await _goes_on(store, held)


async def test_a_task_for_which_somebody_waits_is_not_kept_by_halves_when_memory_is_used_up(
    project_id: ProjectId,
) -> None:
    with _server() as server:
        url = unix_url(str(server.socket_path))
        async with open_store(url, project_id, HandClock()) as store, asyncio.TaskGroup() as group:
            await load(store, spec("a"))
            await claim(store)
            waiting = group.create_task(_told(store.queue.claim(ANYBODY)))
            server.client.set("somebody else's", "x" * 2_000_000)
            server.client.config_set("maxmemory", "1mb")
            with pytest.raises(StoreUnavailableError, match="used up its maxmemory"):
                await load(store, spec("b"))
            assert "used up its maxmemory" in (await waiting).message
            server.client.config_set("maxmemory", "0")
            assert await states(store) == {"a": TaskState.RUNNING}


async def _told(asking: Awaitable[object]) -> StoreUnavailableError:
    with pytest.raises(StoreUnavailableError) as told:
        await asking
    return told.value


async def test_a_server_that_cannot_write_to_its_disk(project_id: ProjectId) -> None:
    with _server(save="900 1", enable_protected_configs="yes") as server:
        async with open_store(unix_url(str(server.socket_path)), project_id, HandClock()) as store:
            await load(store, spec("a"))
            held = await claim(store)
            gone = server.socket_path.with_name("gone")
            gone.mkdir()
            server.client.config_set("dir", str(gone))
            gone.rmdir()
            server.client.bgsave()
            wait_until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")
            await _refused(store, held, "cannot write its data to the disk", "free space")
            server.client.config_set("dir", str(gone.parent))
            server.client.bgsave()
            wait_until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "ok")
            await _goes_on(store, held)


async def test_a_server_that_a_script_of_somebody_else_keeps_busy(project_id: ProjectId) -> None:
    with _server(busy_reply_threshold="50") as server:
        async with open_store(unix_url(str(server.socket_path)), project_id, HandClock()) as store:
            await load(store, spec("a"))
            held = await claim(store)

            def spin() -> None:
                with suppress(RedisError):
                    server.client.eval("while true do end", 0)

            spinning = threading.Thread(target=spin)
            spinning.start()
            try:
                await asyncio.to_thread(wait_until, lambda: _is_busy(server))
                await _refused(store, held, "keeps the server busy", "SCRIPT KILL")
            finally:
                command(server.client, "SCRIPT", "KILL")
                await asyncio.to_thread(spinning.join)
            await _goes_on(store, held)


def _is_busy(server: RunningServer) -> bool:
    try:
        server.client.get("anything")
    except RedisError as error:
        return "BUSY" in str(error)
    return False


async def test_a_replica_is_no_place_for_a_queue(project_id: ProjectId) -> None:
    with _server() as server:
        async with open_store(unix_url(str(server.socket_path)), project_id, HandClock()) as store:
            await load(store, spec("a"))
            held = await claim(store)
            server.client.replicaof("127.0.0.1", str(free_port()))
            await _refused(store, held, "is a replica", "redis+sentinel://")
            command(server.client, "REPLICAOF", "NO", "ONE")
            await _goes_on(store, held)


async def test_a_master_that_is_demoted_behind_the_same_name_is_left(
    project_id: ProjectId, tmp_path: Path
) -> None:
    with private_folder() as one, private_folder() as two:
        first = running(valkey_binary(), one, port=free_port())
        with first as old, running(valkey_binary(), two, port=free_port()) as new:
            async with (
                fault_proxy(unix_url(str(old.socket_path)), one) as (url, proxy),
                open_store(url, project_id, HandClock()) as store,
            ):
                await load(store, spec("a"))
                held = await claim(store)
                new.client.replicaof("127.0.0.1", str(old.port))
                wait_until(lambda: new.client.info("replication")["master_link_status"] == "up")
                command(new.client, "REPLICAOF", "NO", "ONE")
                old.client.replicaof("127.0.0.1", str(new.port))
                proxy.server = unix_url(str(new.socket_path))  # As a name may mean it from now on.
                await _goes_on(store, held)


@pytest.mark.parametrize("how", ["password", "user", "command", "keys"])
async def test_a_user_that_loses_its_rights_under_way(project_id: ProjectId, how: str) -> None:
    rights = [">secret", f"~agentcoord:{{{project_id}}}:*", "+@all"]
    with _server() as server:
        command(server.client, "ACL", "SETUSER", "night", "on", *rights)
        url = f"unix://night:secret@{server.socket_path}"
        async with open_store(url, project_id, HandClock()) as store:
            await load(store, spec("a"))
            held = await claim(store)
            words, mend = "lacks a right", "docs/how-to.md"
            match how:
                case "password":
                    words, mend = "does not accept the user and password", "AGENTCOORD_REDIS_URL"
                    command(server.client, "ACL", "SETUSER", "night", "<secret")
                    server.client.client_kill_filter(_type="normal")
                case "user":
                    words, mend = "does not accept the user and password", "AGENTCOORD_REDIS_URL"
                    command(server.client, "ACL", "DELUSER", "night")
                case "command":
                    command(server.client, "ACL", "SETUSER", "night", "-evalsha")
                case _:
                    command(server.client, "ACL", "SETUSER", "night", "resetkeys", "~other:*")
            with suppress(StoreUnavailableError):
                await store.ping()  # The server cuts the connections of a user that is gone.
            await _refused(store, held, words, mend)
            command(server.client, "ACL", "SETUSER", "night", "on", *rights)
            await _goes_on(store, held)


async def test_a_server_that_wants_a_password_and_is_given_none(project_id: ProjectId) -> None:
    with _server() as server:
        server.client.config_set("requirepass", "s")
        with pytest.raises(StoreUnavailableError, match="user and password") as told:
            async with open_store(unix_url(str(server.socket_path)), project_id, HandClock()):
                pass
        assert "redis://user:password@" in told.value.mend


async def test_a_server_that_still_reads_its_file_is_waited_for(project_id: ProjectId) -> None:
    with private_folder() as folder, running(valkey_binary(), folder) as server:
        url = unix_url(str(server.socket_path))
        async with open_store(url, project_id, HandClock()) as store:
            await load(store, *(spec(f"t{n:03}") for n in range(300)))
            held = await claim(store)
            server.client.save()
            await asyncio.to_thread(stop, server)
            # Each key takes it 2,000 microseconds more. Meanwhile it answers LOADING.
            slowly = {"key_load_delay": "2000", "loading_process_events_interval_bytes": "1024"}
            begun = await _begin(folder, **slowly)
            try:
                with pytest.raises(StoreUnavailableError, match="still reading its data") as told:
                    await _first_answer(store)
                assert "wait" in told.value.mend
                async with Store.open(url, project_id, clock=SystemClock(), lease_ms=LEASE_MS) as other:
                    assert len(await other.queue.all()) == 300
                await _goes_on(store, held)
            finally:
                begun.terminate()
                await begun.wait()


async def _begin(folder: Path, **options: str) -> asyncio.subprocess.Process:
    """Start a server on its files, and don't wait for its answer."""
    named = {"port": "0", "save": ""} | {name.replace("_", "-"): value for name, value in options.items()}
    named |= {"unixsocket": str(folder / "s.sock"), "dir": str(folder)}
    words = [word for name, value in named.items() for word in (f"--{name}", value)]
    return await asyncio.create_subprocess_exec(
        valkey_binary(), *words, stdout=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL
    )


async def _first_answer(store: Store) -> None:
    """Ask until there is an answer of any kind but that nobody is there."""
    while True:
        try:
            await store.ping()
        except StoreUnavailableError as error:
            if "cannot be reached" not in str(error):
                raise
        else:
            return


async def test_a_server_that_forgot_its_scripts_is_told_them_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with open_store(valkey_url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        held = await claim(store)
        await store.client.script_flush()
        await store.locks.acquire_all(["x.py", "y.py"], held, timeout_s=1)
        await store.client.script_flush()
        await _goes_on(store, held)
