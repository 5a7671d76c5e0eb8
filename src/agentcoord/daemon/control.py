"""The control socket: who may connect, requests in, answers and notifications out.

Theory of operation. A connection is one reader, one writer. Requests are answered in order.
After `subscribe`, a publisher sends what is new: every event, and views of workers, tasks and
status at most a few times a second. Writing waits on the client's own socket and nowhere else,
so a slow client only fills its own bounded queue; then it is told `lagged` and given a snapshot.
A client that does not read for 30 s is dropped. Nothing that a client sends can raise past here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from agentcoord.clock import Clock
from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.requests import Requests
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.domain.events import Event
from agentcoord.errors import (
    AgentCoordError,
    DaemonError,
    PlanError,
    RpcError,
    StoreUnavailableError,
    WireError,
)
from agentcoord.store.event_log import EventLog
from agentcoord.wire.codec import (
    FrameDecoder,
    Malformed,
    Request,
    encode_error,
    encode_notification,
    encode_result,
)
from agentcoord.wire.messages import (
    ErrorData,
    ExitCode,
    Method,
    Notification,
    RpcCode,
    SubscribeView,
    Topic,
)

MAX_CLIENTS = 64
READ_BYTES = 64 * 1024
WRITE_TIMEOUT_S = 30.0
PUBLISH_PERIOD_S = 0.25
STATUS_PERIOD_S = 1.0
REPLAY_EVENTS = 5_000
EVENTS_A_WRITE = 200

log = structlog.get_logger("control")


class ControlServer:
    """Listens on the project's socket. Use `serving()`."""

    def __init__(
        self,
        *,
        requests: Requests,
        views: Views,
        hub: EventHub,
        event_log: EventLog,
        board: FleetBoard,
        clock: Clock,
    ) -> None:
        self._requests = requests
        self.views = views
        self.hub = hub
        self.event_log = event_log
        self.board = board
        self.clock = clock
        self._clients = 0
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Accept clients on `path` (mode 0600) until the block ends; then close and remove it.

        The caller holds the project's lock, so a socket that is there is a dead daemon's.
        Raises DaemonError when the socket cannot be bound.
        """
        await asyncio.to_thread(path.unlink, missing_ok=True)
        try:
            listener = _bind_private(path)
        except OSError as error:
            raise DaemonError(
                f"cannot bind the control socket {path}: {error.strerror}",
                mend="set XDG_RUNTIME_DIR to a folder of yours",
            ) from error
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(self._accept(listener, group), name="control:accept")
            try:
                yield
            finally:
                accepting.cancel()
                for connection in self._connections:
                    connection.cancel()
                listener.close()
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listener)
            except OSError as error:  # Out of descriptors, for one: others go on, this one waits.
                log.warning("accept_failed", error=str(error))
                await self.clock.sleep(0.5)
                continue
            if peer_uid(peer) not in (os.getuid(), None) or self._clients >= MAX_CLIENTS:
                log.warning("client_refused", uid=peer_uid(peer), clients=self._clients)
                peer.close()
                continue
            connection = group.create_task(self._serve(peer), name="control:client")
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _serve(self, peer: socket.socket) -> None:
        """One connection's life; what goes wrong in it ends here."""
        self._clients += 1
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=peer)
            await _Connection(self, reader, writer).run()
        except* (OSError, TimeoutError, WireError) as gone:
            log.info("client_gone", error=repr(gone.exceptions[0]))
        except* Exception as failed:  # The connection's boundary: one client's end is nobody else's.
            log.error("client_failed", exc_info=failed)
        finally:
            self._clients -= 1
            if writer is not None:
                writer.close()
            else:
                peer.close()

    async def respond(self, request: Request) -> bytes:
        """The answer to one request, as a line. The request boundary: nothing passes it but cancellation."""
        try:
            return encode_result(request.id, await self._requests.answer(request.method, request.params))
        except Exception as error:
            code, message, data = failure_of(error)
            if code is RpcCode.INTERNAL:
                log.error("request_failed", method=request.method, exc_info=error)
            return encode_error(request.id, code, message, data)

    async def begin(self, params: dict[str, Any]) -> tuple[SubscribeView, list[Event]]:
        """Answer `subscribe`: the events after `since`, or a snapshot where they are gone."""
        since = params.get("since")
        epoch, seq = self.hub.epoch, self.hub.seq
        if isinstance(since, dict) and since.get("epoch") == epoch:
            after = since.get("seq")
            if isinstance(after, int) and 0 <= seq - after <= REPLAY_EVENTS:
                missed = await self.event_log.read(after=after, limit=REPLAY_EVENTS)
                if not missed or missed[0].seq == after + 1:
                    return {"epoch": epoch, "seq": after, "mode": "replay", "snapshot": None}, missed
        snapshot = await self.views.snapshot()
        return {"epoch": epoch, "seq": snapshot["seq"], "mode": "resync", "snapshot": snapshot}, []


class _Connection:
    """One client: reads requests, and publishes once it has subscribed."""

    def __init__(
        self, server: ControlServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._publishing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._seen = 0

    async def run(self) -> None:
        decoder = FrameDecoder()
        async with asyncio.TaskGroup() as group:
            try:
                while chunk := await self._reader.read(READ_BYTES):
                    for frame in decoder.feed(chunk):
                        match frame:
                            case Request(method=Method.SUBSCRIBE):
                                await self._subscribe(frame, group)
                            case Request():
                                await self._send(await self._server.respond(frame))
                            case Malformed():
                                data: ErrorData = {"exit_code": int(ExitCode.ERROR), "mend": ""}
                                await self._send(encode_error(frame.id, frame.code, frame.message, data))
                            case _:
                                pass  # Answers and notices mean nothing from a client.
            finally:
                if self._publishing is not None:
                    self._publishing.cancel()

    async def _send(self, line: bytes) -> None:
        async with self._writing, asyncio.timeout(WRITE_TIMEOUT_S):
            self._writer.write(line)
            await self._writer.drain()

    async def _subscribe(self, request: Request, group: asyncio.TaskGroup) -> None:
        topics = request.params.get("topics", list(Topic))
        if not isinstance(topics, list) or any(topic not in list(Topic) for topic in topics):
            data: ErrorData = {"exit_code": int(ExitCode.USAGE), "mend": f"topics are {', '.join(Topic)}"}
            await self._send(encode_error(request.id, RpcCode.INVALID_PARAMS, "unknown topic", data))
            return
        if self._publishing is not None:
            self._publishing.cancel()
        started = asyncio.Event()
        self._publishing = group.create_task(
            self._publish(request, frozenset(topics), started), name="control:publish"
        )
        await started.wait()

    async def _publish(self, request: Request, topics: frozenset[str], started: asyncio.Event) -> None:
        server = self._server
        try:
            with server.hub.subscribed() as subscription:
                try:
                    view, missed = await server.begin(request.params)
                except AgentCoordError as error:
                    code, message, data = failure_of(error)
                    await self._send(encode_error(request.id, code, message, data))
                    return
                finally:
                    started.set()
                await self._send(encode_result(request.id, view))
                self._seen = view["seq"]
                if Topic.EVENTS in topics:
                    await self._send_events(missed)
                await self._follow(subscription, topics)
        except (OSError, TimeoutError):
            self._writer.close()  # The reader then ends too.

    async def _follow(self, subscription: Subscription, topics: frozenset[str]) -> None:
        """Send what is new, for ever."""
        server = self._server
        pacer = _Pacer(server, topics)
        wake = subscription.ready.set
        server.board.on_change.append(wake)
        try:
            while True:
                await self._send_new(subscription, topics, pacer)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PUBLISH_PERIOD_S if pacer.is_owed() else None):
                        await subscription.ready.wait()
        finally:
            server.board.on_change.remove(wake)

    async def _send_new(self, subscription: Subscription, topics: frozenset[str], pacer: _Pacer) -> None:
        server = self._server
        if subscription.lagged:
            subscription.lagged = False
            subscription.take_all()
            snapshot = await server.views.snapshot()
            self._seen = snapshot["seq"]
            await self._send(encode_notification(Notification.LAGGED, {"snapshot": snapshot}))
        events = subscription.take_all()
        if Topic.EVENTS in topics:
            await self._send_events(events)
        for line in await pacer.lines_due():
            await self._send(line)

    async def _send_events(self, events: list[Event]) -> None:
        """Send those not seen yet, in order."""
        epoch = self._server.hub.epoch
        lines = []
        for event in events:
            if event.seq > self._seen:
                self._seen = event.seq
                lines.append(
                    encode_notification(Notification.EVENT, {"epoch": epoch, "event": event.to_dict()})
                )
        for start in range(0, len(lines), EVENTS_A_WRITE):
            await self._send(b"".join(lines[start : start + EVENTS_A_WRITE]))


class _Pacer:
    """Decides which views a subscriber is owed: changed ones, no oftener than their period."""

    def __init__(self, server: ControlServer, topics: frozenset[str]) -> None:
        self._server = server
        self._topics = topics
        self._version = -1
        self._status_version = -1
        self._sent_at = 0.0
        self._status_at = 0.0
        self._last: dict[str, object] = {}

    def is_owed(self) -> bool:
        version = self._server.board.version
        return self._version != version or self._status_version != version

    async def lines_due(self) -> list[bytes]:
        """Encode the views that are due now."""
        server, now = self._server, self._server.clock.monotonic()
        version = server.board.version
        lines = []
        if version != self._version and now - self._sent_at >= PUBLISH_PERIOD_S:
            self._version, self._sent_at = version, now
            if Topic.WORKERS in self._topics:
                workers = server.views.workers()
                if self._last.get("workers") != workers:
                    self._last["workers"] = workers
                    lines.append(encode_notification(Notification.WORKERS, {"workers": workers}))
            if Topic.TASKS in self._topics:
                lines += await self._task_lines()
        if version != self._status_version and now - self._status_at >= STATUS_PERIOD_S:
            self._status_version, self._status_at = version, now
            if Topic.STATUS in self._topics:
                lines.append(encode_notification(Notification.STATUS, await server.views.status()))
        return lines

    async def _task_lines(self) -> list[bytes]:
        tasks = await self._server.views.tasks()
        known = self._last.setdefault("tasks", {})
        assert isinstance(known, dict)
        rows = [task for task in tasks if known.get(task["id"]) != task]
        known.clear()
        known.update({task["id"]: task for task in tasks})
        return [
            encode_notification(Notification.TASKS, {"tasks": rows[start : start + EVENTS_A_WRITE]})
            for start in range(0, len(rows), EVENTS_A_WRITE)
        ]


def failure_of(error: BaseException) -> tuple[RpcCode, str, ErrorData]:
    """Say an exception in the protocol's terms."""
    match error:
        case RpcError():
            data: ErrorData = {"exit_code": error.exit_code, "mend": error.mend}
            return RpcCode(error.code), error.message, data
        case PlanError():
            return (
                RpcCode.BAD_PLAN,
                error.message,
                {"exit_code": int(ExitCode.USAGE), "mend": error.mend, "problems": list(error.problems)},
            )
        case StoreUnavailableError():
            return RpcCode.UNAVAILABLE, error.message, {"exit_code": int(ExitCode.ERROR), "mend": error.mend}
        case AgentCoordError():
            return RpcCode.REFUSED, error.message, {"exit_code": int(ExitCode.REFUSED), "mend": error.mend}
        case _:
            return (
                RpcCode.INTERNAL,
                f"the daemon failed at this: {type(error).__name__}: {error}",
                {"exit_code": int(ExitCode.ERROR), "mend": "agentcoordd logs"},
            )


def peer_uid(peer: socket.socket) -> int | None:
    """The user id at the other end; None where the system cannot tell (the folder's mode guards then)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    raw = peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def _bind_private(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.setblocking(False)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
