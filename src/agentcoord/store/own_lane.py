"""A lane on one connection of the client's pool, which it keeps.

Separate from `lane`, which says what a lane is. Theory of operation: redis-py makes the connection, whatever
kind it is, and greets the server; then the transport under it is given another protocol, ours, and the
client's own reader never hears of it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any, cast

from hiredis import HiredisError, PushNotification, Reader, pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.client import count_round_trip
from agentcoord.store.lane import DOING, Argument, LaneCall, Listener, ScriptsForgottenError
from agentcoord.store.odd_text import ODD_TEXT
from agentcoord.store.refusals import error_for
from agentcoord.store.scripts import ScriptName, calling, sha_of
from agentcoord.values import dataclass

_NOT_YET = object()


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
            self._listener.lost(StoreUnavailableError(str(error_for(DOING, error))))


def _in_our_words(reply: Exception) -> StoreError:
    if isinstance(reply, NoScriptError):
        return ScriptsForgottenError("Redis has forgotten its scripts")
    return error_for(DOING, reply)


@dataclass(slots=True)
class OwnLane:
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
    _untold: set[ScriptName] = field(default_factory=set)
    """Scripts that the server may have forgotten since, whose next call takes the whole text along."""

    def __post_init__(self) -> None:
        self._shas = {name: sha_of(source) for name, source in self.sources.items()}
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
            async with calling(DOING):
                connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]  # Untyped.
                self._connection = connection
                for source in self.sources.values():
                    load = _packed(("SCRIPT", "LOAD", source))
                    await connection.send_packed_command(load, check_health=False)
                    await connection.read_response()
                self._untold.clear()
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
        # After some ten idle milliseconds everything of the server is cold: its looking once costs no time of
        # ours, and the call itself takes less then.
        assert self._wire is not None
        assert self._transport is not None
        self._wire.pass_over_one_more()
        self._transport.write(self._bare[script])

    def send(self, calls: Sequence[LaneCall]) -> None:
        assert self._transport is not None
        # One piece: each costs both sides a system call, and the server a waking up.
        shas, prefix, untold = self._shas, self.prefix, self._untold
        packed: list[bytes] = []
        for script, args in calls:
            if untold and script in untold:
                untold.discard(script)
                packed.append(_packed(("EVAL", self.sources[script], 1, prefix, *args)))
            else:
                packed.append(_packed(("EVALSHA", shas[script], 1, prefix, *args)))
        self._transport.write(b"".join(packed))
        count_round_trip(self.client)

    def tell_again(self) -> None:
        self._untold.update(self.sources)

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


def _packed(command: tuple[Argument, ...]) -> bytes:
    try:
        return cast("bytes", pack_command(cast("tuple[Any]", command)))
    except UnicodeEncodeError:
        words = tuple(w.encode(errors=ODD_TEXT) if isinstance(w, str) else w for w in command)
        return cast("bytes", pack_command(cast("tuple[Any]", words)))
