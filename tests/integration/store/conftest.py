"""Servers of other kinds than the one that comes with us, one of each a pytest worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server_kit import cluster_of_three, private_folder, redis_binary, running, sentinel_trio, valkey_binary


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
