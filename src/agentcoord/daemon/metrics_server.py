"""The Prometheus endpoint: `/metrics`, `/healthz` and `/readyz` on 127.0.0.1, read only.

Off unless `metrics.port` is set; whatever costs anything is imported then. One short answer a
connection, everything bounded. A browser that was lured here by a name of somebody else's is
refused by its Host header. Deliberately absent: what is measured (`telemetry/metrics`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import structlog

from agentcoord import __version__
from agentcoord.clock import Clock
from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.workshop import Workshop
from agentcoord.errors import DaemonError, StoreError
from agentcoord.telemetry.metrics import CONTENT_TYPE, Metrics, Reading, StoreReading
from agentcoord.values import dataclass

HOST = "127.0.0.1"
REQUEST_BYTES = 8 * 1024
REQUEST_TIMEOUT_S = 5.0
MAX_CLIENTS = 8
_OUR_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})

log = structlog.get_logger("metrics")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def refuse_taken_port(port: int) -> None:
    """Raise the DaemonError that `serving` would raise now."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise _not_free(port, error) from error


def _not_free(port: int, error: OSError) -> DaemonError:
    # asyncio and socket each tell the address once more in their own words.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DaemonError(
        f"the metrics endpoint cannot listen on {HOST}:{port}: {reason}",
        mend="set metrics.port to a free port, or to 0 (off)",
    )


class Gauges:
    """Reads the daemon at the moment of a scrape."""

    def __init__(self, shop: Workshop, fleet: Fleet, views: Views, state: DaemonState, lag: LoopLag) -> None:
        self._shop = shop
        self._fleet = fleet
        self._views = views
        self._state = state
        self._lag = lag

    async def is_ready(self) -> bool:
        """Whether workers are running and the store answers."""
        if not self._state.ready or self._state.is_ending:
            return False
        try:
            await self._shop.store.ping()
        except StoreError:
            return False
        return True

    async def read(self) -> Reading:
        """Take one reading; without the store's part while the store is away."""
        rows = self._shop.board.rows.values()
        of_store = await self._read_store()
        usage = self._shop.store.usage
        return Reading(
            version=__version__,
            started_at_s=self._state.started_at_ms / 1000,
            ready=self._state.ready,
            loop_lag_s=self._lag.last_ms / 1000,
            loop_lag_max_s=self._lag.max_ms / 1000,
            workers=Counter(str(row.state) for row in rows),
            copies_used=len(self._shop.board.claims),
            copies_total=self._shop.pool.size,
            subscribers=self._shop.hub.subscribers,
            worker_restarts=self._fleet.restarts,
            round_trips=usage.round_trips,
            connections={"used": usage.connections_used, "idle": usage.connections_idle},
            store=of_store,
        )

    async def _read_store(self) -> StoreReading | None:
        clock = self._shop.clock
        begun = clock.monotonic()
        try:
            await self._shop.store.ping()
            ping_s = clock.monotonic() - begun
            status = await self._views.status()
        except StoreError:
            return None
        spend = status["spend"]
        return StoreReading(
            ping_s=ping_s,
            tasks=status["counts"],
            run_spent_usd=spend["spent_usd"],
            run_reserved_usd=spend["reserved_usd"],
            run_cap_usd=spend["cap_usd"],
            day_spent_usd=spend["day_spent_usd"],
            day_cap_usd=spend["day_cap_usd"],
            needs_you=len(status["needs_you"]),
        )


class MetricsServer:
    """Serves the three pages. `serving()` binds; `follow()` belongs in the daemon's task group."""

    def __init__(self, hub: EventHub, gauges: Gauges, clock: Clock) -> None:
        self._hub = hub
        self._gauges = gauges
        self._clock = clock
        self._metrics = Metrics()
        self._clients = 0
        self._pages: dict[str, Callable[[], Awaitable[Page]]] = {
            "/metrics": self._metrics_page,
            "/healthz": self._health_page,
            "/readyz": self._ready_page,
        }

    async def follow(self) -> None:
        """Count every event, for ever."""
        with self._hub.subscribed() as subscription:
            while True:
                await subscription.ready.wait()
                subscription.lagged = False  # What was missed is missing from the counters; no more harm.
                for event in subscription.take_all():
                    self._metrics.count(event)

    @contextlib.asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[int]:
        """Answer on 127.0.0.1 until the block ends; yields the port. Raises DaemonError when it is taken."""
        try:
            server = await asyncio.start_server(self._answer, HOST, port, limit=REQUEST_BYTES)
        except OSError as error:
            raise _not_free(port, error) from error
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= MAX_CLIENTS:
            writer.transport.abort()
            return
        self._clients += 1
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    page = _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                    head = b""
                else:
                    page = await self._page_for(head)
                writer.write(_response(page, without_body=head.startswith(b"HEAD ")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as gone:
            log.debug("scraper_gone", error=repr(gone))
        except Exception as error:  # The request's boundary: one failed scrape ends nothing else.
            log.error("scrape_failed", exc_info=error)
        finally:
            self._clients -= 1
            writer.transport.abort()

    async def _page_for(self, head: bytes) -> Page:
        request, *lines = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _refusal(HTTPStatus.BAD_REQUEST)
        hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
        if any(_name_of(host) not in _OUR_NAMES for host in hosts):
            return _refusal(HTTPStatus.FORBIDDEN)
        if words[0] not in ("GET", "HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        make = self._pages.get(words[1].partition("?")[0])
        return _refusal(HTTPStatus.NOT_FOUND) if make is None else await make()

    async def _metrics_page(self) -> Page:
        return Page(HTTPStatus.OK, self._metrics.exposition(await self._gauges.read()), CONTENT_TYPE)

    async def _health_page(self) -> Page:
        return Page(HTTPStatus.OK, b"ok\n")  # The loop runs: it has just answered.

    async def _ready_page(self) -> Page:
        if await self._gauges.is_ready():
            return Page(HTTPStatus.OK, b"ready\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _refusal(status: HTTPStatus) -> Page:
    return Page(status, f"{status.value} {status.phrase}\n".encode())


def _response(page: Page, *, without_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if without_body else page.body)
