"""A client for any kind of server that `redis.url` may name: one server, Sentinel, or Cluster.

Separate so that everything else in the room sees one client, whatever stands behind it. The client
never repeats a command by itself: a script that changes something may have run although its answer
was lost, and only its caller knows whether repeating it is harmless.
Deliberately absent: time-outs of single calls, and what failures mean (`scripts.calling`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from agentcoord.errors import StoreError
from agentcoord.store.odd_text import know_odd_text
from agentcoord.store.scripts import CALL_TIMEOUT_S
from agentcoord.values import dataclass

CONNECTIONS = 16
"""The most connections of one store; who needs one more waits."""
WATCHER_TIMEOUT_S = 1.0
"""How long one Sentinel is waited for."""
SENTINEL_PORT = 26379
SERVER_PORT = 6379
_USABLE = (
    "use unix:///path, redis://host:port/0, rediss:// for TLS, "
    "redis+sentinel://host:port,host:port/service/0 or redis+cluster://host:port,host:port"
)


def unix_url(socket_path: str) -> str:
    """Return the URL of a server on a Unix socket, whatever letters its path has."""
    return f"unix://{quote(socket_path)}"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    """Give a client for `url` and close it at the end; nothing is sent before the first call.

    Besides the forms that redis-py knows (`unix://`, `redis://`, `rediss://`, each with `user:password@`)
    there are `redis+sentinel://` and `redis+cluster://`, with `rediss+` for TLS; a query such as
    `?ssl_ca_certs=/path` is handed on. Raises StoreError when the URL is not usable.
    """
    try:
        client, *helpers = _clients_of(url)
    except (ValueError, TypeError) as error:
        raise StoreError(f"redis.url is not usable: {error}", mend=_USABLE) from error
    try:
        yield client
    finally:
        for each in (client, *helpers):
            await each.aclose()


def _clients_of(url: str) -> list[Redis]:
    """Return the client, and after it those that it needs to find its server."""
    parts = urlsplit(url)
    match parts.scheme.partition("+"):
        case ("redis" | "rediss", "+", "sentinel"):
            return _behind_sentinel(parts)
        case ("redis" | "rediss", "+", "cluster"):
            return [_of_cluster(parts)]
        case _:
            pool = _InOrder.from_url(url, **_pool_bounds(), **_shared())
            pool.connection_class = _tuned(pool.connection_class)
            return [Redis.from_pool(pool)]


def _pool_bounds() -> dict[str, Any]:
    # No time-out: every call is bounded by `calling`, the wait for a connection included.
    return {"max_connections": CONNECTIONS, "timeout": None}


def _shared() -> dict[str, Any]:
    return {
        "socket_timeout": None,
        "socket_connect_timeout": CALL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "encoding_errors": know_odd_text(),
        "client_name": "agentcoord",
        "driver_info": None,  # Else each connection reads the library's version from the disk, and tells it.
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has done, and what it holds open."""

    round_trips: int
    """Since it was made; calls that were sent together are one."""
    connections_used: int
    connections_idle: int
    """Connected and lent to nobody: they serve the next call."""


def usage_of(client: Redis) -> Usage:
    """Return the usage of a client that `connected` gave."""
    # A cluster's client is typed as the one that it stands in for.
    if isinstance(cast("object", client), _BoundedCluster):
        return cast("_BoundedCluster", client).usage()
    return cast("_InOrder", client.connection_pool).usage()


def count_round_trip(client: Redis) -> None:
    """Count one that was made over a connection which its user keeps."""
    cast("_InOrder", client.connection_pool).round_trips += 1


class _InOrder(BlockingConnectionPool):
    """Who needs one connection too many waits, and gets one in the order of asking.

    Without the order, whoever comes at the right moment goes before those who wait: in a crowd some then
    wait for seconds, and take the server for away.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._lent: set[AbstractConnection] = set()
        self.servers = 0
        """How often a new connection found another process, or another's copy: it may have gone back."""
        self._server: tuple[str, ...] = ()
        self._connects = self._newest = 0
        self.round_trips = 0
        """One a lending, and those of who keeps a connection (`count_round_trip`)."""

    def usage(self) -> Usage:
        idle = sum(connection.is_connected for connection in self._available_connections)
        return Usage(self.round_trips, len(self._lent), idle)

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]  # Untyped.
        connection.register_connect_callback(self._note_connect)  # type: ignore[no-untyped-call]  # Untyped.
        return connection

    async def _note_connect(self, connection: AbstractConnection) -> None:
        self._connects = number = self._connects + 1
        await connection.send_command("INFO", "server", "replication")
        try:
            told = str(await connection.read_response())
        except ResponseError:  # It may be forbidden.
            told = ""
        names = ("run_id:", "master_replid:")
        # Who says nothing of himself may be another each time.
        server = tuple(line for line in told.splitlines() if line.startswith(names)) or (str(number),)
        if number > self._newest and server != self._server:
            self.servers += 1
            self._server = server
        self._newest = max(number, self._newest)

    async def get_connection(self, *args: Any, **options: Any) -> AbstractConnection:
        await self._room.acquire()
        try:
            connection: AbstractConnection = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # Untyped.
        except BaseException:
            self._room.release()
            raise
        self.round_trips += 1
        self._lent.add(connection)
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            if connection in self._lent:  # Not one that could not even be had.
                self._lent.discard(connection)
                self._room.release()


class _BoundedSentinelPool(SentinelConnectionPool, _InOrder):
    """Connections to whoever is the master now; who needs one too many waits, as with one server."""


class _Watcher(Redis):
    """A client for one Sentinel, given up after a moment so that the next one is asked.

    Bounded here and not by redis-py, whose bound swallows cancellations (see `scripts.calling`).
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(WATCHER_TIMEOUT_S):
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # Untyped.
        except TimeoutError as error:
            raise RedisTimeoutError(f"a Sentinel gave no answer within {WATCHER_TIMEOUT_S:.0f} s") from error


class _BoundedCluster(RedisCluster):
    """Who needs one connection too many waits, as with one server, instead of being refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._round_trips = 0

    def usage(self) -> Usage:
        each = [connection for node in self.get_nodes() for connection in node._connections]  # noqa: SLF001 - has no public name
        free = {connection for node in self.get_nodes() for connection in node._free}  # noqa: SLF001 - as above
        open_ = [connection for connection in each if connection.is_connected]
        idle = sum(connection in free for connection in open_)
        return Usage(self._round_trips, len(open_) - idle, idle)

    def pipeline(self, *args: Any, **options: Any) -> Any:
        self._round_trips += 1
        return super().pipeline(*args, **options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with self._room:
            self._round_trips += 1
            return await super().execute_command(*args, **options)


def _behind_sentinel(parts: SplitResult) -> list[Redis]:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the name of the service is missing: redis+sentinel://host:port/service")
    options = _credentials(parts) | dict(parse_qsl(parts.query))
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    watchers = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves this constructor untyped.
        [], **_shared(), **options
    )
    watchers.sentinels = [
        _Watcher(
            host=host, port=port, socket_timeout=None, retry=Retry(NoBackoff(), 0), decode_responses=True
        )
        for host, port in _hosts(parts, SENTINEL_PORT)
    ]
    pool = _BoundedSentinelPool(  # type: ignore[no-untyped-call]  # As above.
        service, watchers, db=int(database or 0), **_pool_bounds(), **watchers.connection_kwargs
    )
    return [Redis.from_pool(pool), *watchers.sentinels]


def _of_cluster(parts: SplitResult) -> Redis:
    options: dict[str, Any] = _credentials(parts) | dict(parse_qsl(parts.query))
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    client = _BoundedCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in _hosts(parts, SERVER_PORT)],
        max_connections=2 * CONNECTIONS,  # Of a node; pipelines, which are few, come on top of the bound.
        **_shared(),
        **options,
    )
    # It has every method that we use, with the same meaning, because all our keys lie in one slot.
    return cast("Redis", client)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for host in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{host}")
        if not one.hostname:
            raise ValueError(f"a host is missing in {parts.netloc!r}")
        hosts.append((one.hostname, one.port or default_port))
    return hosts


def _credentials(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in named.items() if value}


def _tuned(connection: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return the kind of connection with its script calls packed by hiredis: each has hundreds of words.

    With TLS, the connections of a client share what they trust: reading it anew takes the event loop 30
    milliseconds each time.
    """
    trust: list[Any] = []

    class Tuned(connection):  # type: ignore[misc, valid-type]  # mypy: a base only known when run.
        ssl_context: Any

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if hasattr(self, "ssl_context"):
                trust[:] = trust or [self.ssl_context]
                self.ssl_context = trust[0]

        def pack_command(self, *args: Any) -> list[bytes]:
            if args[0] == "EVALSHA":
                with suppress(UnicodeEncodeError):  # Escaped bytes, which only redis-py itself can pack.
                    return [pack_command(args)]
            packed: list[bytes] = super().pack_command(*args)
            return packed

    return Tuned
