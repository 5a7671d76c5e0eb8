"""The dispatcher's own way to the server: a few scripts, sent again and again, answered in order.

Separate from `Scripts`, which takes a connection from the pool for each call and reads its answer as
text: most of what a call costs is spent there. A lane
keeps one connection and hands on the answer as bytes. Up to `depth` calls may be under way; after any
failure it must be dropped, because nobody knows which answer would come next.
Deliberately absent: repeating a call; only the dispatcher knows that this is harmless.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.scripts import ScriptName, calling, in_our_words

Argument = str | int | bytes
_DOING = "dispatch"


class ScriptsForgottenError(StoreUnavailableError):
    """The call did not run: the server does not know the script any more. A new connection tells it again."""


class Lane(Protocol):
    """Calls of the scripts that it was made for, in order."""

    @property
    def depth(self) -> int:
        """The most calls that may be under way."""
        ...

    async def connect(self, *, look: bool = False) -> None:
        """Be ready to send; does nothing when that is so. Raises StoreUnavailableError or StoreError.

        With `look`, and only while nothing is under way, a connection that was cut meanwhile is replaced.
        """
        ...

    async def send(self, script: ScriptName, args: Sequence[Argument]) -> None:
        """Send a call, unbounded; it may or may not run. Raises like `connect`."""
        ...

    async def receive(self) -> Any:
        """Return the oldest call's answer, strings as bytes; unbounded. Raises like `connect`."""
        ...

    async def drop(self) -> None:
        """Forget every call under way; the next `send` begins anew."""
        ...


def lane_for(client: Redis, sources: Mapping[ScriptName, str], prefix: str) -> Lane:
    """Return the lane that fits what stands behind `client`."""
    # A cluster's client is typed as the one that it stands in for (see `client`).
    if isinstance(cast("object", client), RedisCluster):
        return _ClusterLane(client, sources, prefix)
    return _OwnConnection(client, sources, prefix)


@dataclass(slots=True)
class _OwnConnection:
    """One connection of the client's pool, kept."""

    client: Redis
    sources: Mapping[ScriptName, str]
    prefix: str
    _connection: AbstractConnection | None = None
    _shas: dict[ScriptName, str] = field(init=False)

    def __post_init__(self) -> None:
        self._shas = {name: _sha_of(source) for name, source in self.sources.items()}

    @property
    def depth(self) -> int:
        return 2

    async def connect(self, *, look: bool = False) -> None:
        """Take a connection, and tell the server the scripts: it may have forgotten them, or be another."""
        if look and self._connection is not None and not await self._is_clean():
            await self.drop()
        if self._connection is not None:
            return
        pool = self.client.connection_pool
        try:
            async with calling(_DOING):
                connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]  # Untyped.
                self._connection = connection
                for source in self.sources.values():
                    load = _packed(("SCRIPT", "LOAD", source))
                    await connection.send_packed_command(load, check_health=False)
                    await connection.read_response()
        except BaseException:
            await self.drop()
            raise

    async def _is_clean(self) -> bool:
        """Whether the connection is open and nothing that nobody asked for has come."""
        assert self._connection is not None
        try:
            return not await self._connection.can_read()
        except (RedisConnectionError, OSError):
            return False

    async def send(self, script: ScriptName, args: Sequence[Argument]) -> None:
        connection = self._connection
        if connection is None or not connection.is_connected:
            # The client would connect again by itself, and answers would go to the wrong calls.
            raise StoreUnavailableError("the connection to Redis was lost")
        packed = _packed(("EVALSHA", self._shas[script], 1, self.prefix, *args))
        with in_our_words(_DOING):
            await connection.send_packed_command(packed, check_health=False)

    async def receive(self) -> Any:
        assert self._connection is not None
        try:
            with in_our_words(_DOING):
                return await self._connection.read_response(disable_decoding=True)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            if isinstance(error.__cause__, NoScriptError):
                raise ScriptsForgottenError("Redis has forgotten its scripts") from error
            raise

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                await connection.disconnect(nowait=True)
            await self.client.connection_pool.release(connection)


@dataclass(slots=True)
class _ClusterLane:
    """Whatever connection the cluster's client takes, one call at a time."""

    client: Redis
    sources: Mapping[ScriptName, str]
    prefix: str
    _calls: deque[tuple[ScriptName, tuple[Argument, ...]]] = field(default_factory=deque)

    @property
    def depth(self) -> int:
        return 1

    async def connect(self, *, look: bool = False) -> None:
        pass  # The cluster's client does it.

    async def send(self, script: ScriptName, args: Sequence[Argument]) -> None:
        self._calls.append((script, tuple(args)))

    async def receive(self) -> Any:
        script, args = self._calls.popleft()
        source, keys_and_args = self.sources[script], (1, self.prefix, *args)
        with in_our_words(_DOING):
            try:
                return await self._run("EVALSHA", _sha_of(source), *keys_and_args)
            except NoScriptError:
                return await self._run("EVAL", source, *keys_and_args)

    async def drop(self) -> None:
        self._calls.clear()

    async def _run(self, *command: Argument) -> Any:
        # redis-py leaves this method untyped.
        return await self.client.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]


def _sha_of(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _packed(command: tuple[Argument, ...]) -> bytes:
    try:
        return cast("bytes", pack_command(cast("tuple[Any]", command)))
    except UnicodeEncodeError:  # Bytes of file names that are not text travel as surrogate escapes.
        words = tuple(w.encode(errors="surrogateescape") if isinstance(w, str) else w for w in command)
        return cast("bytes", pack_command(cast("tuple[Any]", words)))
