"""The asynchronous side of the control socket that asks: calls, and a subscription.

Used by the dashboard and by the commands that follow a run. It is an `asyncio.Protocol` at heart,
so that no background task is needed to read: bytes arrive, answers wake their callers, notices
queue up. Bounded: while more than `NOTICES_HELD` wait and nobody is in a call, reading pauses, and
the daemon sees a slow subscriber (and says `lagged`).
Deliberately absent: reconnecting. Whoever follows knows what it has seen (`cli/follow`, `tui/feed`).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from agentcoord.errors import ConnectionLostError, RpcError, WireError
from agentcoord.wire.call import (
    CROWDED_S,
    call_once,
    check_listener,
    check_socket_path,
    connected,
    hello_params,
    no_answer,
    rpc_error_of,
    unreachable,
)
from agentcoord.wire.codec import Failure, FrameDecoder, Notice, RequestId, Result, encode_request
from agentcoord.wire.messages import Hello, Method, RpcCode, SubscribeView, Topic
from agentcoord.wire.quick_json import read_json

__all__ = ["ControlClient", "Subscription", "call_once"]

CALL_TIMEOUT_S: Final = 60.0
"""How long a call waits unless `connect` was told otherwise; the caller's own deadline may be shorter."""
NOTICES_HELD: Final = 4_096
"""How many unread notices pause reading."""
TAKEN_AT_ONCE: Final = 200
"""How many notices `Subscription.together` returns at most: others have their turn between."""
HANG_UP_S: Final = 0.5
"""How long a connection that we close may take to end in order."""


class Subscription:
    """What the daemon says from now on: iterate over it. It ends with ConnectionLostError."""

    def __init__(self, connection: _Connection, view: SubscribeView) -> None:
        self._connection = connection
        self.view = view
        """The answer to `subscribe`: epoch, seq, mode, and the snapshot to start from, if any."""

    def __aiter__(self) -> AsyncIterator[Notice]:
        return self

    async def __anext__(self) -> Notice:
        """Return the next notice. Raises ConnectionLostError when the daemon is gone."""
        return (await self._connection.next_notices(1))[0]

    async def together(self) -> list[Notice]:
        """Return the next notices: one, and those that wait behind it already, up to `TAKEN_AT_ONCE`.

        For who listens to a flood: it is awakened once for all that came. Raises as iterating does.
        """
        return await self._connection.next_notices(TAKEN_AT_ONCE)


class ControlClient:
    """One connection to the daemon. Open it with `connect`; calls may overlap."""

    def __init__(self, connection: _Connection, call_timeout_s: float) -> None:
        self._connection = connection
        self._call_timeout_s = call_timeout_s
        self.hello: Hello = cast("Hello", {})
        """What the daemon said of itself."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, socket_path: Path, *, client_name: str, call_timeout_s: float = CALL_TIMEOUT_S
    ) -> AsyncIterator[ControlClient]:
        """Connect, say `hello`, and close at the end.

        Raises DaemonNotRunningError when nobody listens, RpcError when the daemon speaks no protocol
        that we do, and WireError when the path is too long, another user listens, or the daemon stays silent.
        """
        check_socket_path(socket_path)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(call_timeout_s):
                opened = await _open_socket(socket_path)
            transport, connection = await loop.create_unix_connection(_Connection, sock=opened)
        except TimeoutError as error:
            raise no_answer(Method.HELLO, call_timeout_s) from error
        except OSError as error:
            raise unreachable(socket_path, error) from error
        try:
            check_listener(transport.get_extra_info("socket"), socket_path)
            client = cls(connection, call_timeout_s)
            client.hello = cast("Hello", await client.call(Method.HELLO, **hello_params(client_name)))
            yield client
        finally:
            await connection.hang_up()

    async def call(self, method: Method, /, **params: object) -> dict[str, Any]:
        """Ask and return the answer.

        Raises RpcError when the daemon answers with an error, ConnectionLostError when it hangs up,
        WireError when it does not answer in time. Safe to cancel: a late answer is dropped.
        """
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await self._connection.ask(str(method), params)
        except TimeoutError as error:
            raise no_answer(method, self._call_timeout_s) from error

    async def tasks(self, **params: object) -> list[dict[str, Any]]:
        """Ask for the tasks, page by page, and return all of them: `TaskView`s. Raises what `call` raises."""
        rows: list[dict[str, Any]] = []
        offset: int | None = 0
        while offset is not None:
            page = await self.call(Method.TASKS, offset=offset, **params)
            rows += page["tasks"]
            offset = page.get("next_offset")
        return rows

    async def subscribe(
        self,
        topics: Sequence[Topic] = tuple(Topic),
        *,
        since: tuple[str, int] | None = None,
        last_words: bool = False,
    ) -> Subscription:
        """Ask for notices about `topics`; `since` is the (epoch, seq) of the last event seen.

        Iterate over the result: `async for notice in await client.subscribe()`. One a connection.
        `last_words`: after `daemon.stopping` the daemon answers until we hang up, for 3 s at most.
        """
        params: dict[str, object] = {"topics": [str(topic) for topic in topics]}
        params["since"] = None if since is None else {"epoch": since[0], "seq": since[1]}
        if last_words:
            params["last_words"] = True
        view = await self.call(Method.SUBSCRIBE, **params)
        return Subscription(self._connection, cast("SubscribeView", view))


async def _open_socket(socket_path: Path) -> socket.socket:
    """Connect. Not asyncio's way: it takes one that is not let in for connected. Raises OSError."""
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.setblocking(False)
        while not connected(opened, socket_path):  # noqa: ASYNC110 - nothing tells when there is room
            await asyncio.sleep(CROWDED_S)
    except BaseException:
        opened.close()
        raise
    return opened


class _Connection(asyncio.Protocol):
    """Matches answers to askers, and holds notices until somebody reads them."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder(read=read_json)
        self._asked: dict[RequestId, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self._notices: deque[Notice] = deque()
        self._news = asyncio.Event()
        """Set while a notice waits or the connection is lost."""
        self._lost: WireError | None = None
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self._leaving = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        for frame in self._decoder.feed(data):
            match frame:
                case Result(request_id, result):
                    self._answer(request_id, result)
                case Failure(None, RpcCode.UNAVAILABLE, message, told):
                    self._lose(ConnectionLostError(message, mend=str(told.get("mend", ""))))
                case Failure(None, _, message, _):
                    self._lose(WireError(f"the daemon could not read what we said: {message}"))
                case Failure(request_id):
                    self._answer(request_id, rpc_error_of(frame))
                case Notice():
                    self._notices.append(frame)
                    self._news.set()
                case _:
                    self._lose(WireError("the daemon said something that is not in the protocol"))
        self._regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._lose(ConnectionLostError("the daemon closed the connection", mend="agentcoordd status"))

    # What the client calls.

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._lost is not None:
            raise self._lost
        assert self._transport is not None
        self._last_id += 1
        request_id = self._last_id
        line = encode_request(request_id, method, params)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = answer
        try:
            self._transport.write(line)
            self._regulate()
            return await answer
        finally:
            self._asked.pop(request_id, None)
            self._regulate()

    async def next_notices(self, most: int) -> list[Notice]:
        while not self._notices:
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()
        taken = [self._notices.popleft() for _ in range(min(most, len(self._notices)))]
        self._regulate()
        return taken

    async def hang_up(self) -> None:
        """Close so that the daemon reads an end: closing on unread bytes would reset the connection."""
        assert self._transport is not None
        self._leaving = True
        try:
            if not self._transport.is_closing():
                self._transport.resume_reading()
                self._transport.write_eof()
                async with asyncio.timeout(HANG_UP_S):
                    await self._gone.wait()
        except TimeoutError:
            pass  # A daemon that does not hang up in turn gets the reset.
        finally:
            self._transport.abort()

    def _answer(self, request_id: RequestId | None, answer: dict[str, Any] | RpcError) -> None:
        waiting = self._asked.get(request_id) if request_id is not None else None
        if waiting is None or waiting.done():
            return
        if isinstance(answer, RpcError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _lose(self, error: WireError) -> None:
        """Fail everybody who waits, once; the transport closes with it."""
        if self._lost is not None:
            return
        self._lost = error
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._news.set()
        if self._transport is not None:
            self._transport.abort()

    def _regulate(self) -> None:
        """Read on unless too many notices wait; never pause under a caller whose answer must get through."""
        if self._transport is None or self._transport.is_closing():
            return
        if len(self._notices) > NOTICES_HELD and not self._asked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
