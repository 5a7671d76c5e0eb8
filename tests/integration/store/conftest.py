"""Servers of other kinds than the one that comes with us, one of each a pytest worker.

What `CONTRACT` names runs on every kind, test for test; all else in this folder on our own server.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_kit import cluster_of_three, private_folder, redis_binary, running, sentinel_trio, valkey_binary

CONTRACT = {
    "test_store_budget_ledger",
    "test_store_connection",
    "test_store_dispatcher",
    "test_store_event_log",
    "test_store_file_locks",
    "test_store_handing_over",
    "test_store_lock_sets",
    "test_store_memory",
    "test_store_questions",
    "test_store_queue_claims",
    "test_store_queue_lifecycle",
}
"""The modules that say what a store does."""
ALONE = ("valkey", pytest.param("redis", marks=pytest.mark.system_redis))
SERVERS = (*ALONE, "cluster", "sentinel")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in CONTRACT and "valkey_url" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("one_server") is not None
        metafunc.parametrize("valkey_url", ALONE if alone else SERVERS, indirect=True)


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest) -> str:
    """The URL of the server under test: our own, or in a test of the contract one kind after the other."""
    kind = getattr(request, "param", "valkey")
    return str(request.getfixturevalue("our_valkey_url" if kind == "valkey" else f"{kind}_url"))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of the system's Redis on a private Unix socket."""
    with private_folder() as folder, running(redis_binary(), folder) as server:
        yield f"unix://{server.socket_path}"


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    with cluster_of_three(valkey_binary()) as nodes:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        yield f"redis+cluster://{hosts}"


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    with sentinel_trio(valkey_binary()) as trio:
        yield trio.url
