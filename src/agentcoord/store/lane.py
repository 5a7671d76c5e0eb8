"""The dispatcher's own way to the server: a few scripts, sent again and again, answered in order.

Separate from `Scripts`, which takes a connection from the pool for each call, waits for its answer in a
coroutine of its own and reads it as text: most of what a call costs is spent there. A lane keeps one
connection, sends without awaiting, and hands on each answer from the event loop's own call when its bytes
arrive, as bytes. Up to `depth` calls may be under way; after any failure it must be dropped, because nobody
knows which answer would come next.

Theory of operation. redis-py makes the connection, whatever kind it is, and greets the server; then the
transport under it is given another protocol, ours, and the client's own reader never hears of it again.
Deliberately absent: bounds of time, and repeating a call; only `traffic` knows that this is harmless.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol, cast

from hiredis import HiredisError, PushNotification, Reader, pack_command
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.odd_text import ODD_TEXT
from agentcoord.store.refusals import error_for
from agentcoord.store.scripts import ScriptName, calling
from agentcoord.values import dataclass

Argument = str | int | bytes
LaneCall = tuple[ScriptName, Sequence[Argument]]
"""A script and its arguments."""
_DOING = "dispatch"
_NOT_YET = object()


class ScriptsForgottenError(StoreUnavailableError):
    """The call did not run: the server does not know the script any more. A new connection tells it again."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of what comes back. Neither may raise."""

    answered: Callable[[Any], None]
    """The oldest call's answer, strings as bytes; or the StoreError that it came to."""
    lost: Callable[[StoreUnavailableError], None]
    """The connection is gone: what is under way will not be answered. A cluster's calls fail one by one."""


class Lane(Protocol):
    """Calls of the scripts that it was made for, in order."""

    @property
    def depth(self) -> int:
        """The most calls that may be under way."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether `send` may be called without `connect` before it."""
        ...

    def listen(self, listener: Listener) -> None:
        """Say who hears; before anything else, once."""
        ...

    def begin(self, parent: asyncio.TaskGroup) -> None:
        """Say whose is what runs beside the caller; before `connect`, once. `drop` ends all of it."""
        ...

    async def connect(self) -> None:
        """Be ready to send; does nothing when that is so. Only while nothing is under way, if it does.

        Raises StoreUnavailableError or StoreError.
        """
        ...

    def rouse(self, script: ScriptName) -> None:
        """Have a server that sleeps wake up while the caller puts a call of `script` together.

        The script is run without arguments, and what it answers nobody hears: it should look where it would
        look, and do nothing. Only while `is_open` and nothing is under way.
        """
        ...

    def send(self, calls: Sequence[LaneCall]) -> None:
        """Send calls, in order and together; they may or may not run. Only while `is_open`."""
        ...

    def hang_up(self) -> None:
        """Hear no more of the calls under way, which the caller has taken back; `connect` begins anew."""
        ...

    async def drop(self) -> None:
        """Hang up, and give back what it holds."""
        ...


def lane_for(client: Redis, sources: Mapping[ScriptName, str], prefix: str) -> Lane:
    """Return the lane that fits what stands behind `client`."""
    # A cluster's client is typed as the one that it stands in for (see `client`).
    if isinstance(cast("object", client), RedisCluster):
        return _ClusterLane(client, sources, prefix)
    return _OwnConnection(client, sources, prefix)


class _Wire(asyncio.Protocol):
    """What the transport tells: bytes, which are answers, and its end."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = Reader(notEnoughData=_NOT_YET, replyError=DefaultParser.parse_error)
        self._over = False
        self._unheard = 0
        """How many of the next answers nobody waits for."""

    def pass_over_one_more(self) -> None:
        """Hand on nothing of one more of the answers that are due: those that come first."""
        self._unheard += 1

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while not self._over and (reply := self._reader.gets()) is not _NOT_YET:
                if isinstance(reply, PushNotification):
                    continue
                if self._unheard:
                    self._unheard -= 1
                    continue
                self._listener.answered(_in_our_words(reply) if isinstance(reply, Exception) else reply)
        except HiredisError as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or RedisConnectionError("the server closed the connection"))

    def hang_up(self) -> None:
        """Tell nothing any more."""
        self._over = True

    def _end(self, error: Exception) -> None:
        if not self._over:
            self._over = True
            self._listener.lost(StoreUnavailableError(str(error_for(_DOING, error))))


def _in_our_words(reply: Exception) -> StoreError:
    if isinstance(reply, NoScriptError):
        return ScriptsForgottenError("Redis has forgotten its scripts")
    return error_for(_DOING, reply)


@dataclass(slots=True)
class _OwnConnection:
    """One connection of the client's pool, kept."""

    client: Redis
    sources: Mapping[ScriptName, str]
    prefix: str
    _listener: Listener = field(init=False)
    _connection: AbstractConnection | None = None
    _wire: _Wire | None = None
    _transport: asyncio.Transport | None = None
    _shas: dict[ScriptName, str] = field(init=False)
    _bare: dict[ScriptName, bytes] = field(init=False)
    """Each script's call without arguments."""

    def __post_init__(self) -> None:
        self._shas = {name: _sha_of(source) for name, source in self.sources.items()}
        self._bare = {name: _packed(("EVALSHA", sha, 1, self.prefix)) for name, sha in self._shas.items()}

    @property
    def depth(self) -> int:
        return 2

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def begin(self, parent: asyncio.TaskGroup) -> None:
        pass  # The event loop calls.

    async def connect(self) -> None:
        """Take a connection, and tell the server the scripts: it may have forgotten them, or be another."""
        if self.is_open:
            return
        await self.drop()
        pool = self.client.connection_pool
        try:
            async with calling(_DOING):
                connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]  # Untyped.
                self._connection = connection
                for source in self.sources.values():
                    load = _packed(("SCRIPT", "LOAD", source))
                    await connection.send_packed_command(load, check_health=False)
                    await connection.read_response()
                self._take_over(connection)
        except BaseException:
            await self.drop()
            raise

    def _take_over(self, connection: AbstractConnection) -> None:
        writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001 - redis-py shows its transport nowhere else.
        if writer is None or writer.transport.is_closing():
            raise RedisConnectionError("the server closed the connection")
        transport = cast("asyncio.Transport", writer.transport)
        self._wire, self._transport = _Wire(self._listener), transport
        transport.set_protocol(self._wire)

    def rouse(self, script: ScriptName) -> None:
        # On a machine with few cores everything is cold after some ten milliseconds: the server's looking
        # once costs no time of ours, and the call itself takes half as long then.
        assert self._wire is not None
        assert self._transport is not None
        self._wire.pass_over_one_more()
        self._transport.write(self._bare[script])

    def send(self, calls: Sequence[LaneCall]) -> None:
        assert self._transport is not None
        # One piece: each costs both sides a system call, and the server a waking up.
        shas, prefix = self._shas, self.prefix
        self._transport.write(
            b"".join([_packed(("EVALSHA", shas[script], 1, prefix, *args)) for script, args in calls])
        )

    def hang_up(self) -> None:
        if self._wire is not None:
            self._wire.hang_up()
        if self._transport is not None:
            self._transport.abort()
        self._wire = self._transport = None

    async def drop(self) -> None:
        self.hang_up()
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
    _listener: Listener = field(init=False)
    _waiting: deque[LaneCall] = field(default_factory=deque)
    _parent: asyncio.TaskGroup = field(init=False)
    _calling: asyncio.Task[None] | None = None
    _hung_up: bool = True
    _shas: dict[ScriptName, str] = field(init=False)

    def __post_init__(self) -> None:
        self._shas = {name: _sha_of(source) for name, source in self.sources.items()}

    @property
    def depth(self) -> int:
        return 1

    @property
    def is_open(self) -> bool:
        return not self._hung_up

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def begin(self, parent: asyncio.TaskGroup) -> None:
        self._parent = parent

    async def connect(self) -> None:
        """Wait until nothing is heard of earlier calls; the cluster's client connects by itself."""
        if self._hung_up:
            await self.drop()
            self._hung_up = False

    def rouse(self, script: ScriptName) -> None:
        pass  # Nobody knows yet which connection it will be.

    def send(self, calls: Sequence[LaneCall]) -> None:
        self._waiting.extend(calls)
        if self._calling is None or self._calling.done():
            self._calling = self._parent.create_task(self._call_all(), name="store calls")

    async def _call_all(self) -> None:
        while self._waiting:
            answer = await self._call(*self._waiting.popleft())
            if self._hung_up:
                return
            self._listener.answered(answer)

    async def _call(self, script: ScriptName, args: Sequence[Argument]) -> Any:
        source, keys_and_args = self.sources[script], (1, self.prefix, *args)
        try:
            try:
                return await self._run("EVALSHA", self._shas[script], *keys_and_args)
            except NoScriptError:
                return await self._run("EVAL", source, *keys_and_args)
        except (RedisError, RedisClusterException, OSError) as error:
            return error_for(_DOING, error)

    def hang_up(self) -> None:
        self._hung_up = True
        self._waiting.clear()
        if self._calling is not None:
            self._calling.cancel()

    async def drop(self) -> None:
        self.hang_up()
        calling, self._calling = self._calling, None
        if calling is not None:
            await asyncio.wait({calling})

    async def _run(self, *command: Argument) -> Any:
        # redis-py leaves this method untyped.
        return await self.client.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]


def _sha_of(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _packed(command: tuple[Argument, ...]) -> bytes:
    try:
        return cast("bytes", pack_command(cast("tuple[Any]", command)))
    except UnicodeEncodeError:
        words = tuple(w.encode(errors=ODD_TEXT) if isinstance(w, str) else w for w in command)
        return cast("bytes", pack_command(cast("tuple[Any]", words)))
