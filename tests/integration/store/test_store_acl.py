"""The whole store over TLS, as a user with exactly the rights that the documentation lists."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest
import test_store_budget_ledger
import test_store_connection
import test_store_dispatcher
import test_store_event_log
import test_store_file_locks
import test_store_lock_sets
import test_store_memory
import test_store_questions
import test_store_queue_claims
import test_store_queue_lifecycle
from redis import Redis
from server_kit import RunningServer, command, free_port, private_folder, redis_binary, running
from store_kit import HandClock, claim, in_the_end, land, load, open_store, spec

from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.errors import StoreUnavailableError
from agentcoord.store import Store
from agentcoord.store.looking import UNTOLD, version_of_server

CONTRACT = (
    test_store_budget_ledger,
    test_store_connection,
    test_store_dispatcher,
    test_store_event_log,
    test_store_file_locks,
    test_store_lock_sets,
    test_store_memory,
    test_store_questions,
    test_store_queue_claims,
    test_store_queue_lifecycle,
)
Contract = Callable[[str, ProjectId], Awaitable[None]]
HOW_TO = Path(__file__).parents[3] / "docs" / "how-to.md"
NOT_THE_STORES_OWN = re.compile(
    r"evalsha_calls|calls_of|start_claim|script_flush|client_kill|\.info\(|flushall|xtrim"
)
"""What tests do beside the store, for which its user has no right."""
CANCELS_HANDSHAKES = "test_a_cancellation_during_any_call_is_never_swallowed"
"""Python 3.11 leaves the socket of a cancelled TLS handshake to the garbage collector, which warns."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A TLS server whose only usable address is that of the limited user."""

    server: RunningServer
    port: int
    certificate: Path

    def url(self, project: ProjectId) -> str:
        """Allow the user this project's keys alone, and return the URL that is theirs."""
        command(self.server.client, "ACL", "SETUSER", *documented_rights(project))
        where = f"127.0.0.1:{self.port}/0?ssl_ca_certs={self.certificate}"
        return f"rediss://night:password@{where}"


def documented_rights(project: ProjectId) -> list[str]:
    """The words of the documentation's line after `ACL SETUSER`."""
    block = re.search(r"ACL SETUSER (night on .*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return block.group(1).replace("<project>", project).split()


@pytest.fixture(scope="module")
def limited() -> Iterator[Limited]:
    with private_folder() as folder:
        certificate, key = _certificate(folder)
        port = free_port()
        tls = {"tls_port": str(port), "tls_auth_clients": "no", "tls_cert_file": str(certificate)}
        tls |= {"tls_key_file": str(key), "tls_ca_cert_file": str(certificate)}
        with running(redis_binary(), folder, port=0, **tls) as server:
            yield Limited(server, port, certificate)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, good for two days."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    line += ["-days", "2", "-subj", "/CN=night", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*line, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def _of_the_store_alone() -> list[Contract]:
    """Every test of the contract that wants nothing but a server and a project, and no other right."""
    return [
        test
        for module in CONTRACT
        for name, test in vars(module).items()
        if name.startswith("test_") and name != CANCELS_HANDSHAKES
        if inspect.iscoroutinefunction(test)
        and list(inspect.signature(test).parameters) == ["valkey_url", "project_id"]
        and not NOT_THE_STORES_OWN.search(inspect.getsource(test))
    ]


def _name(contract: Contract) -> str:
    return getattr(contract, "__name__", "").removeprefix("test_")


@pytest.mark.system_redis
@pytest.mark.parametrize("contract", _of_the_store_alone(), ids=_name)
async def test_with_exactly_the_documented_rights(
    limited: Limited, project_id: ProjectId, contract: Contract
) -> None:
    url = limited.url(project_id)
    # Some contracts open a second project, to see that the two don't meet.
    command(limited.server.client, "ACL", "SETUSER", "night", f"~agentcoord:{{{project_id}-*}}:*")
    await contract(url, project_id)


@pytest.mark.system_redis
async def test_the_limited_user_sees_no_other_projects_keys(limited: Limited, project_id: ProjectId) -> None:
    url = limited.url(project_id)
    async with open_store(url, project_id, HandClock()) as store:
        await load(store, spec("a"))
        await claim(store)
    with pytest.raises(StoreUnavailableError, match="lacks a right"):
        async with open_store(url, ProjectId(f"x{project_id}"), HandClock()):
            pass
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):  # Who does not trust the server.
        async with open_store(url.partition("?")[0], project_id, HandClock()):
            pass


@pytest.mark.system_redis
async def test_a_version_that_the_limited_user_may_not_ask_for_is_no_fault(
    limited: Limited, project_id: ProjectId
) -> None:
    url = limited.url(project_id)
    assert await version_of_server(url) == UNTOLD
    with pytest.raises(StoreUnavailableError, match="does not accept the user and password"):
        await version_of_server(url.replace("password", "another"))
    command(limited.server.client, "ACL", "SETUSER", "night", "-ping")
    with pytest.raises(StoreUnavailableError, match="lacks a right"):
        await version_of_server(url)


@pytest.mark.system_redis
async def test_connections_share_what_they_trust(limited: Limited, project_id: ProjectId) -> None:
    async with open_store(limited.url(project_id), project_id, HandClock()) as store:
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(store.ping())
        connections = store.client.connection_pool._available_connections
        assert len(connections) > 1
        assert len({id(getattr(each, "ssl_context", each)) for each in connections}) == 1


@pytest.mark.system_redis
async def test_everything_is_removed_with_these_rights_and_put_back(
    limited: Limited, project_id: ProjectId
) -> None:
    async with open_store(limited.url(project_id), project_id, HandClock()) as store:
        await load(store, spec("a"), spec("b", "a"))
        await store.memory.begin()
        rows = await store.memory.rows(["a", "b"])
        assert len(rows) == 2
        assert (await store.cleanup(everything=True)).keys > 5
        await _restored(store)


async def _restored(store: Store) -> None:
    await store.memory.restore("m", [], {"settings": {"run": "r"}}, questions=[(1, "a")])
    assert await store.get_setting("run") == "r"


@pytest.mark.system_redis
async def test_where_the_server_may_not_be_asked_who_it_is_each_connection_may_be_to_another(
    limited: Limited, project_id: ProjectId
) -> None:
    async with open_store(limited.url(project_id), project_id, HandClock()) as store:
        await load(store, spec("a"))
        await land(store, await claim(store))
        assert [task.state for task in await store.queue.all()] == [TaskState.DONE]
        await store.client.hset(store.keys.task("a"), "state", TaskState.LANDING)
        assert [task.state for task in await store.queue.all()] == [TaskState.DONE], "remembered"
        limited.server.client.client_kill_filter(_type="normal", skipme=True)
        seen = await in_the_end(store.queue.all)
        assert [task.state for task in seen] == [TaskState.LANDING]


def test_no_command_is_missing_in_the_documented_rights_and_none_is_too_many() -> None:
    """Scripts and store name every command that they use; a new one belongs into the documentation."""
    rights = {word[1:] for word in documented_rights(ProjectId("p")) if word.startswith("+")}
    scripts = resources.files("agentcoord.store") / "lua"
    used: set[str] = set()
    for script in scripts.iterdir():
        text = script.read_text(encoding="utf-8")
        used |= {name.lower() for name in re.findall(r"(?:redis\.call|in_chunks)\('([A-Z]+)'", text)}
    by_python = {"ping", "client|setname", "evalsha", "eval", "script|load", "scan", "unlink"}
    by_python |= {"get", "set", "setnx", "xrange", "zrange", "zadd", "hgetall", "hget", "hset", "zscore"}
    by_python |= {"hmget", "lindex", "lrange"}
    assert rights == used | by_python


def test_the_limited_user_is_really_limited() -> None:
    with private_folder() as folder, running(redis_binary(), folder) as server:
        command(server.client, "ACL", "SETUSER", *documented_rights(ProjectId("p")))
        for words in (("FLUSHALL",), ("KEYS", "*"), ("GET", "agentcoord:{q}:fence"), ("CONFIG", "GET", "*")):
            said = command(server.client, "ACL", "DRYRUN", "night", *words)
            assert said != "OK", words
        assert command(server.client, "ACL", "DRYRUN", "night", "GET", "agentcoord:{p}:fence") == "OK"
        assert isinstance(server.client, Redis)
