"""The real socket under the dashboard: a Unix server that speaks the codec, and what comes of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tui_fakes import EPOCH, HandClock, event, snapshot

from agentcoord.errors import DaemonNotRunningError, RpcError
from agentcoord.tui.app import run_dashboard
from agentcoord.tui.feed import BACKOFF_S, Feed
from agentcoord.tui.link import Link
from agentcoord.tui.model import DashboardModel, Position
from agentcoord.tui.source import SocketSource
from agentcoord.wire.codec import FrameDecoder, Request, encode_error, encode_notification, encode_result
from agentcoord.wire.messages import ExitCode, Method, Notification

HELLO = {"protocol": 1, "version": "0", "pid": 1, "epoch": EPOCH, "project": {}}


class SocketDaemon:
    """Answers on a real socket: a snapshot first, then replays from its log."""

    def __init__(self) -> None:
        self.snapshot = snapshot()
        self.log = [event(1), event(2)]
        self.asked: list[Request] = []
        self._subscribers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    assert isinstance(frame, Request)
                    self._reply(frame, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def happen(self, seq: int) -> None:
        self.log.append(event(seq))
        for writer in self._subscribers:
            writer.write(self._notification(self.log[-1]))

    def hang_up(self) -> None:
        for writer in self._subscribers:
            writer.close()
        self._subscribers.clear()

    def _reply(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.asked.append(request)
        match request.method:
            case Method.HELLO:
                writer.write(encode_result(request.id, HELLO))
            case Method.SUBSCRIBE:
                self._subscribe(request, writer)
            case Method.TASKS | Method.WORKERS:
                key = str(request.method)
                rows = cast("Mapping[str, Any]", self.snapshot)[key]
                writer.write(encode_result(request.id, {key: rows}))
            case Method.STATUS:
                writer.write(encode_result(request.id, self.snapshot["status"]))
            case _:
                data = {"exit_code": 5, "mend": ""}
                writer.write(encode_error(request.id, 3, "refused", cast("Any", data)))

    def _subscribe(self, request: Request, writer: asyncio.StreamWriter) -> None:
        since = request.params["since"]
        view = {
            "epoch": EPOCH,
            "seq": len(self.log),
            "mode": "replay" if since else "resync",
            "snapshot": None if since else self.snapshot,
        }
        writer.write(encode_result(request.id, view))
        for happened in self.log if since else ():
            if happened["seq"] > since["seq"]:
                writer.write(self._notification(happened))
        self._subscribers.append(writer)

    def _notification(self, happened: dict[str, Any]) -> bytes:
        return encode_notification(str(Notification.EVENT), {"epoch": EPOCH, "event": happened})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[SocketDaemon, Path]]:
    daemon = SocketDaemon()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        server = await asyncio.start_unix_server(daemon.serve, path)
        async with server:
            yield daemon, path


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until a condition holds; the caller's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - the model is plain data, nothing of it can be awaited
        await asyncio.sleep(0)


async def test_the_feed_lives_on_a_real_socket_and_resumes_after_a_hang_up() -> None:
    async with asyncio.timeout(15), serving() as (daemon, path):
        clock = HandClock()
        model = DashboardModel(now_ms=clock.now_ms())
        async with asyncio.TaskGroup() as group:
            running = group.create_task(Feed(SocketSource(path), model, clock).run())
            await until(lambda: model.live)
            daemon.happen(3)
            await until(lambda: model.position == Position(EPOCH, 3))
            daemon.hang_up()
            await until(lambda: model.link.link is Link.LOST)
            daemon.happen(4)
            clock.advance(BACKOFF_S[0])
            await until(lambda: model.position == Position(EPOCH, 4))
            await until(lambda: model.live)
            assert [e["seq"] for e in model.events] == [1, 2, 3, 4]
            running.cancel()
        subscribed = [r.params for r in daemon.asked if r.method == Method.SUBSCRIBE]
        assert [p["since"] for p in subscribed] == [None, {"epoch": EPOCH, "seq": 3}]
        assert set(subscribed[0]["topics"]) == {"events", "workers", "tasks", "status"}


async def test_a_question_travels_alone_and_a_refusal_is_an_error() -> None:
    async with asyncio.timeout(15), serving() as (_, path):
        source = SocketSource(path)
        assert (await source.call(Method.STATUS))["state"] == "running"
        with pytest.raises(RpcError, match="refused"):
            await source.call(Method.PAUSE)


async def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    source = SocketSource(tmp_path / "s")
    with pytest.raises(DaemonNotRunningError) as caught:
        await source.call(Method.STATUS)
    assert caught.value.mend == "agentcoordd start"
    with pytest.raises(DaemonNotRunningError):
        async with source.subscribe(None):
            raise AssertionError("it cannot be entered")


def test_without_a_terminal_it_refuses_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_dashboard(tmp_path / "s", project_name="shop") == ExitCode.USAGE
    assert "agentcoord status" in capsys.readouterr().err
