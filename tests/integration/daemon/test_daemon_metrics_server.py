"""The metrics endpoint: what it answers, to whom, and while the store is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from daemon_kit import PATIENCE_S, Daemonlet, daemonlet, own_valkey

from agentcoord.daemon.metrics_server import MAX_CLIENTS, Gauges, MetricsServer
from agentcoord.daemon.snapshot import DaemonState
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.errors import DaemonError


async def http(port: int, head: str) -> tuple[int, str]:
    """Say `head` and return the status and the body."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode())
            answer = (await reader.read()).decode()
        finally:
            writer.close()
    if not answer:
        return 0, ""
    first, _, body = answer.partition("\r\n\r\n")
    return int(first.split()[1]), body


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    return await http(port, f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")


@asynccontextmanager
async def endpoint(d: Daemonlet, *, ready: bool = True) -> AsyncIterator[int]:
    state = DaemonState(1, 0, "a test", scripted=True, sandbox="none", state="running", ready=ready)
    server = MetricsServer(d.hub, Gauges(d.shop, d.fleet, d.views, state, d.chores.lag), d.shop.clock)
    async with server.serving(0) as port, asyncio.TaskGroup() as group:
        hub, follow = group.create_task(d.hub.run()), group.create_task(server.follow())
        try:
            yield port
        finally:
            hub.cancel()
            follow.cancel()


async def test_a_scrape_tells_tasks_and_what_was_counted(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, endpoint(d) as port:
        await d.load("a", "b")
        with d.hub.subscribed() as heard:
            d.hub.emit(EventKind.TASK_CLAIMED, task="a")
            async with asyncio.timeout(PATIENCE_S):
                await heard.ready.wait()
        status, body = await get(port, "/metrics")
        assert status == 200
        assert 'agentcoord_tasks{state="queued"} 2.0' in body
        assert "agentcoord_claims_total 1.0" in body
        assert 'agentcoord_store_connections{state="used"} 1.0' in body  # The dispatcher's own.
        assert 'agentcoord_store_connections{state="idle"} ' in body
        assert 'agentcoord_store_connections{state="idle"} 0.0' not in body  # The scrape has just asked.
        assert "process_resident_memory_bytes" in body


async def test_health_and_readiness_differ(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        async with endpoint(d, ready=False) as port:
            assert await get(port, "/healthz") == (200, "ok\n")
            assert await get(port, "/readyz") == (503, "not ready\n")
        async with endpoint(d) as port:
            assert await get(port, "/readyz") == (200, "ready\n")


async def test_a_store_that_is_away_is_told_and_hides_nothing_else() -> None:
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p-metrics")) as d, endpoint(d) as port:
            valkey.kill()
            status, body = await get(port, "/metrics")
            assert status == 200
            assert "agentcoord_store_up 0.0" in body
            assert (await get(port, "/readyz"))[0] == 503
            valkey.start()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET /secrets HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: " + "x" * 20_000 + "\r\n\r\n", 431),
        ("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ],
)
async def test_what_is_no_scrape_is_refused_in_words(
    valkey_url: str, project_id: ProjectId, head: str, status: int
) -> None:
    async with daemonlet(valkey_url, project_id) as d, endpoint(d) as port:
        assert (await http(port, head))[0] == status
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_taken_port_is_told_with_its_mend(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, endpoint(d) as port:
        state = DaemonState(1, 0, "a test", scripted=True, sandbox="none")
        other = MetricsServer(d.hub, Gauges(d.shop, d.fleet, d.views, state, d.chores.lag), d.shop.clock)
        with pytest.raises(DaemonError) as refused:
            async with other.serving(port):
                pass
        assert "metrics.port" in refused.value.mend


async def test_a_host_may_be_an_address_of_six(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, endpoint(d) as port:
        for host, status in (("[::1]", 200), ("[::2]", 403)):
            head = f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
            assert (await http(port, head))[0] == status


async def test_scrapers_that_say_nothing_keep_no_more_than_their_places(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, endpoint(d) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CLIENTS)]
        await d.hub.flushed()  # All of them were heard of.
        reader, refused = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for writer in (refused, *(writer for _, writer in silent)):
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while (await get_or_nothing(port))[0] != 200:
                pass


async def get_or_nothing(port: int) -> tuple[int, str]:
    """As `get`; nothing where the connection is cut."""
    try:
        return await get(port, "/healthz")
    except ConnectionError:
        return 0, ""
