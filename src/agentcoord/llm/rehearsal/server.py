"""The rehearsal server: the Messages API on a loopback port, in the caller's event loop.

Separate from the application because it owns the socket and the server's life. It runs on
uvicorn with h11, whose signal handling is left out: the caller decides when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from agentcoord.clock import Clock, SystemClock
from agentcoord.llm.rehearsal.app import MessagesApi, Options
from agentcoord.llm.rehearsal.books import Books
from agentcoord.llm.rehearsal.exchange import TRANSPORT_KEY
from agentcoord.llm.rehearsal.scripts import Script, load_scripts

_BACKLOG = 1_024


def serve(
    scripts: Path | Mapping[str, Script],
    *,
    port: int = 0,
    latency_scale: float | None = None,
    options: Options | None = None,
    clock: Clock | None = None,
) -> RehearsalServer:
    """Return a server for `async with`; it listens on 127.0.0.1 while the block runs.

    `scripts` is a file, a folder of files, or scripts by task. Port 0: any free one.
    `latency_scale` overrides that of `options`; 0 makes every answer immediate. Raises
    RehearsalScriptError when the scripts cannot be played, OSError when the port is taken.
    """
    loaded = load_scripts(scripts) if isinstance(scripts, Path) else dict(scripts)
    chosen = options or Options()
    if latency_scale is not None:
        chosen = replace(chosen, latency_scale=latency_scale)
    return RehearsalServer(loaded, port, chosen, clock or SystemClock())


class RehearsalServer:
    """A running server. Entered and left in the same event loop."""

    def __init__(self, scripts: Mapping[str, Script], port: int, options: Options, clock: Clock) -> None:
        self._api = MessagesApi(scripts, clock, options)
        self._port = port
        self._group = asyncio.TaskGroup()
        self._server: _Server | None = None
        self.base_url = ""
        """`http://127.0.0.1:PORT`, once it listens."""

    @property
    def books(self) -> Books:
        """What was asked and what it would have cost."""
        return self._api.books

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=_BACKLOG)
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._api.application(),
            http=_ResettableProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        await self._group.__aenter__()
        self._group.create_task(self._server.serve(sockets=[listener]), name="rehearsal-server")
        await self._server.listening.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None, "left without having been entered"
        self._server.should_exit = True
        # Not told of the block's error: the group would wrap it, and the server ends by itself.
        await self._group.__aexit__(None, None, None)


class _Server(uvicorn.Server):
    """A uvicorn server that says when it listens and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _ResettableProtocol(H11Protocol):
    """Puts the connection's transport into the scope, so that a fault can reset it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        self.app = _with_transport(self.app, transport)


def _with_transport(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT_KEY] = transport
        await app(scope, receive, send)

    return handle
