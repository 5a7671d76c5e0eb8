"""The store's contract, test for test, on other servers than our own: Redis 7, a Cluster, Sentinel."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import test_store_budget_ledger
import test_store_connection
import test_store_dispatcher
import test_store_event_log
import test_store_file_locks
import test_store_questions
import test_store_queue_claims
import test_store_queue_lifecycle
from server_kit import (
    SentinelTrio,
    command,
    free_port,
    private_folder,
    redis_binary,
    running,
    sentinel_trio,
    stop,
    valkey_binary,
)
from store_kit import ANYBODY, HandClock, claim, load, open_store, spec

from agentcoord.domain.ids import ProjectId
from agentcoord.errors import StoreError, StoreUnavailableError

_MODULES = (
    test_store_budget_ledger,
    test_store_connection,
    test_store_dispatcher,
    test_store_event_log,
    test_store_file_locks,
    test_store_questions,
    test_store_queue_claims,
    test_store_queue_lifecycle,
)
_OF_ONE_SERVER = {
    "test_a_connection_that_the_server_cut_while_idle_is_replaced",  # Kills by a command to one server.
}
Contract = Callable[[str, ProjectId], Awaitable[None]]


def _contracts() -> list[Contract]:
    """Every test of these modules that wants nothing but a server and a project."""
    return [
        test
        for module in _MODULES
        for name, test in vars(module).items()
        if name.startswith("test_")
        and inspect.iscoroutinefunction(test)
        and list(inspect.signature(test).parameters) == ["valkey_url", "project_id"]
        and name not in _OF_ONE_SERVER
    ]


def _name(contract: Contract) -> str:
    return getattr(contract, "__name__", "").removeprefix("test_")


@pytest.mark.system_redis
@pytest.mark.parametrize("contract", _contracts(), ids=_name)
async def test_on_redis(redis_url: str, project_id: ProjectId, contract: Contract) -> None:
    await contract(redis_url, project_id)


@pytest.mark.parametrize("contract", _contracts(), ids=_name)
async def test_on_a_cluster(cluster_url: str, project_id: ProjectId, contract: Contract) -> None:
    await contract(cluster_url, project_id)


@pytest.mark.parametrize("contract", _contracts(), ids=_name)
async def test_behind_sentinel(sentinel_url: str, project_id: ProjectId, contract: Contract) -> None:
    await contract(sentinel_url, project_id)


async def test_a_failover_is_survived_and_loses_no_task(project_id: ProjectId) -> None:
    with await asyncio.to_thread(_trio) as trio:
        async with open_store(trio.url, project_id, HandClock()) as store:
            await load(store, spec("a"), spec("b"))
            held = await claim(store)
            trio.master.client.wait(1, 5000)  # The replica has it all.
            await asyncio.to_thread(stop, trio.master)
            again = None
            async with asyncio.timeout(30):
                while again is None:
                    with suppress(StoreUnavailableError):
                        again = await store.queue.claim(ANYBODY)
            assert (held.task.id, again.task.id, again.task.attempt) == ("a", "b", 1)
            # Waiting has moved the clock past the deadline, but nobody took the lease.
            assert await store.queue.heartbeat([held, again]) == frozenset()
            await store.queue.verify(held)
            assert again.token > held.token


@pytest.mark.system_redis
async def test_a_password_of_a_user_and_tls_are_taken_from_the_url(project_id: ProjectId) -> None:
    with private_folder() as folder:
        certificate, key = await asyncio.to_thread(_self_signed, folder)
        port = free_port()
        tls = {"tls_port": str(port), "tls_auth_clients": "no", "tls_cert_file": str(certificate)}
        tls |= {"tls_key_file": str(key), "tls_ca_cert_file": str(certificate)}
        with running(redis_binary(), folder, port=0, **tls) as server:
            rights = [f"~agentcoord:{{{project_id}}}:*", "+@all", "-@dangerous"]
            command(server.client, "ACL", "SETUSER", "night", "on", ">s:cr@t", *rights)
            query = f"ssl_ca_certs={certificate}&ssl_check_hostname=no"
            url = f"rediss://night:s%3Acr%40t@127.0.0.1:{port}/0?{query}"
            async with open_store(url, project_id, HandClock()) as store:
                await load(store, spec("a"))
                assert (await claim(store)).task.id == "a"
            with pytest.raises(StoreError, match="invalid username"):
                async with open_store(url.replace("s%3Acr", "wrong"), project_id, HandClock()):
                    pass


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:1", "redis+sentinel:///night", "redis+cluster://:5", "redis+x://h"]
)
async def test_a_url_that_lacks_something_is_said_in_words(project_id: ProjectId, url: str) -> None:
    with pytest.raises(StoreError, match=r"redis\.url is not usable") as told:
        async with open_store(url, project_id, HandClock()):
            pass
    assert "redis+sentinel://" in told.value.mend


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/night", "redis+cluster://127.0.0.1:1"])
async def test_servers_that_are_not_there_are_said_in_words(project_id: ProjectId, url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached to open the store"):
        async with open_store(url, project_id, HandClock()):
            pass


def _trio() -> AbstractContextManager[SentinelTrio]:
    return sentinel_trio(valkey_binary())


def _self_signed(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    line = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*line, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
