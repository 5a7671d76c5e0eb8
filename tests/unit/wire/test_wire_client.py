"""Both clients against a real Unix-socket server that speaks the codec and misbehaves on request."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agentcoord.errors import (
    ConnectionLostError,
    DaemonNotRunningError,
    NoAnswerError,
    RpcError,
    WireError,
)
from agentcoord.wire.call import SOCKET_PATH_BYTES
from agentcoord.wire.client import TAKEN_AT_ONCE, ControlClient, call_once
from agentcoord.wire.codec import (
    Frame,
    FrameDecoder,
    Notice,
    Request,
    encode_error,
    encode_notification,
    encode_result,
)
from agentcoord.wire.messages import Method, Notification, RpcCode, Topic

HELLO = {"protocol": 1, "version": "0", "pid": 1, "epoch": "e1", "project": {}}
Answer = Callable[[Request], list[bytes] | None]
"""Lines to send for a request; None hangs up."""


class Server:
    """Says `hello` by itself; all else is the test's."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.seen: list[Request] = []
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    if not self._reply(frame, writer):
                        return
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _reply(self, frame: Frame, writer: asyncio.StreamWriter) -> bool:
        assert isinstance(frame, Request)
        self.seen.append(frame)
        self.arrived.set()
        if frame.method == Method.HELLO:
            writer.write(encode_result(frame.id, HELLO))
            return True
        lines = self._answer(frame)
        for line in lines or []:
            writer.write(line)
        return lines is not None


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, Path]]:
    with tempfile.TemporaryDirectory(prefix="acw") as folder:
        path = Path(folder) / "s"
        server = Server(answer)
        async with await asyncio.start_unix_server(server.serve, path):
            yield server, path


def echo(request: Request) -> list[bytes]:
    return [encode_result(request.id, {"method": request.method, "params": request.params})]


async def test_nothing_is_said_to_a_socket_on_which_another_user_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    path = tmp_path / "s"
    async with await asyncio.start_unix_server(listen, path):
        us = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: us + 1)
        with pytest.raises(WireError, match="belongs to another user"):
            await asyncio.to_thread(call_once, path, Method.STATUS)
        with pytest.raises(WireError, match="belongs to another user"):
            async with ControlClient.connect(path, client_name="test"):
                pass
    assert not any(heard)


async def test_a_call_returns_its_answer_and_hello_is_said_first() -> None:
    async with serving(echo) as (server, path), ControlClient.connect(path, client_name="t") as client:
        assert client.hello["epoch"] == "e1"
        assert await client.call(Method.TASK, id="a") == {"method": "task", "params": {"id": "a"}}
        assert server.seen[0].params == {"protocol": [1], "client": "t"}


async def test_calls_that_overlap_get_their_own_answers_in_any_order() -> None:
    held: list[Request] = []

    def second_first(request: Request) -> list[bytes]:
        held.append(request)
        return [line for r in reversed(held) for line in echo(r)] if len(held) == 2 else []

    async with serving(second_first) as (_, path), ControlClient.connect(path, client_name="t") as client:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.call(Method.TASK, id="1"))
            second = group.create_task(client.call(Method.TASK, id="2"))
        assert (first.result()["params"]["id"], second.result()["params"]["id"]) == ("1", "2")


async def test_an_error_answer_carries_code_exit_code_problems_and_mend() -> None:
    def refuse(request: Request) -> list[bytes]:
        data: Any = {"exit_code": 2, "mend": "fix it", "problems": ["line 1: no", "line 2: no"]}
        return [encode_error(request.id, RpcCode.BAD_PLAN, "2 problems", data)]

    async with serving(refuse) as (_, path):
        async with ControlClient.connect(path, client_name="t") as client:
            with pytest.raises(RpcError) as caught:
                await client.call(Method.LOAD, text="")
        with pytest.raises(RpcError) as caught_once:
            await asyncio.to_thread(call_once, path, Method.LOAD, {"text": ""}, 5)
    for error in (caught.value, caught_once.value):
        assert (error.code, error.exit_code, error.mend) == (1, 2, "fix it")
        assert error.problems == ("line 1: no", "line 2: no")
        assert str(error) == "2 problems"


async def test_notices_keep_their_order_and_do_not_hinder_calls() -> None:
    def talk(request: Request) -> list[bytes]:
        if request.method != Method.SUBSCRIBE:
            return echo(request)
        view = {"epoch": "e1", "seq": 4, "mode": "replay", "snapshot": None}
        notices = [encode_notification(Notification.EVENT, {"n": n}) for n in range(6000)]
        return [encode_result(request.id, view), *notices]

    async with serving(talk) as (server, path), ControlClient.connect(path, client_name="t") as client:
        subscription = await client.subscribe([Topic.EVENTS], since=("e1", 4))
        assert server.seen[-1].params == {"topics": ["events"], "since": {"epoch": "e1", "seq": 4}}
        assert subscription.view["seq"] == 4
        # More notices wait than are held: the answer still gets through.
        assert (await client.call(Method.STATUS))["method"] == "status"
        seen = [await anext(subscription)]
        batches = 0
        while len(seen) < 6000:
            together = await subscription.together()
            assert 1 <= len(together) <= TAKEN_AT_ONCE
            seen += together
            batches += 1
        assert seen == [Notice("event", {"n": n}) for n in range(6000)]
        assert batches < 600, "who listens to a flood is awakened for many at once"


async def test_a_daemon_that_hangs_up_fails_the_call_and_ends_the_subscription() -> None:
    def leave(request: Request) -> list[bytes] | None:
        if request.method == Method.SUBSCRIBE:
            return [encode_result(request.id, {"epoch": "e", "seq": 0, "mode": "replay", "snapshot": None})]
        return None

    async with serving(leave) as (_, path):
        async with ControlClient.connect(path, client_name="t") as client:
            subscription = await client.subscribe()
            with pytest.raises(ConnectionLostError):
                await client.call(Method.STATUS)
            with pytest.raises(ConnectionLostError):
                await anext(subscription)
            with pytest.raises(ConnectionLostError):
                await client.call(Method.STATUS)
        with pytest.raises(ConnectionLostError):
            await asyncio.to_thread(call_once, path, Method.STATUS, {}, 5)


async def test_a_daemon_that_stays_silent_is_given_up_in_words() -> None:
    async with serving(lambda _: []) as (_, path):
        async with ControlClient.connect(path, client_name="t") as client:
            client_fast = ControlClient(client._connection, 0.05)
            with pytest.raises(WireError, match=r"did not answer `status` within 0\.05 s"):
                await client_fast.call(Method.STATUS)
        with pytest.raises(WireError, match=r"did not answer `status` within 0\.05 s"):
            await asyncio.to_thread(call_once, path, Method.STATUS, {}, 0.05)


@contextmanager
def crowded() -> Iterator[tuple[Path, socket.socket]]:
    """A socket at which as many stand in line as may, and the one that listens there and lets nobody in."""
    with (
        tempfile.TemporaryDirectory(prefix="acw") as folder,
        ExitStack() as waiting,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(folder) / "s"
        listener.bind(os.fspath(path))
        listener.listen(1)
        with suppress(BlockingIOError):
            while True:
                each = waiting.enter_context(socket.socket(socket.AF_UNIX))
                each.setblocking(False)
                each.connect(os.fspath(path))
        yield path, listener


async def test_a_daemon_at_which_too_many_stand_in_line_is_one_that_does_not_answer() -> None:
    with crowded() as (path, _):
        with pytest.raises(NoAnswerError, match=r"did not answer `status` within 0\.05 s"):
            await asyncio.to_thread(call_once, path, Method.STATUS, {}, 0.05)
        with pytest.raises(NoAnswerError, match=r"did not answer `hello` within 0\.05 s"):
            async with ControlClient.connect(path, client_name="t", call_timeout_s=0.05):
                pass


async def test_who_stands_in_line_is_let_in_when_the_daemon_turns_to_them() -> None:
    with crowded() as (path, listener):
        server = Server(echo)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(asyncio.to_thread(call_once, path, Method.STATUS, {}, 5))
            connected = ControlClient.connect(path, client_name="t")
            client = group.create_task(connected.__aenter__())
            await asyncio.sleep(0)  # It has met the crowd.
            async with await asyncio.start_unix_server(server.serve, sock=listener):
                assert (await asked)["method"] == Method.STATUS
                assert (await (await client).call(Method.TASKS))["method"] == Method.TASKS
                await connected.__aexit__(None, None, None)


async def test_a_call_cancelled_midway_leaves_the_connection_usable() -> None:
    def only_tasks(request: Request) -> list[bytes]:
        return echo(request) if request.method == Method.TASKS else []

    async with serving(only_tasks) as (server, path), ControlClient.connect(path, client_name="t") as client:
        server.arrived.clear()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.call(Method.STATUS))
            await server.arrived.wait()
            waiting.cancel()
        assert waiting.cancelled()
        assert (await client.call(Method.TASKS))["method"] == "tasks"


async def test_a_late_answer_to_a_cancelled_call_is_dropped() -> None:
    late: list[Request] = []

    def answer_late(request: Request) -> list[bytes]:
        late.append(request)
        return [] if len(late) == 1 else [*echo(late[0]), *echo(request)]

    async with serving(answer_late) as (server, path), ControlClient.connect(path, client_name="t") as client:
        server.arrived.clear()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(client.call(Method.STATUS))
            await server.arrived.wait()
            waiting.cancel()
        assert (await client.call(Method.TASKS))["method"] == "tasks"


async def test_nonsense_from_the_daemon_is_an_error_and_not_a_hang() -> None:
    async with serving(lambda _: [b"what?\n"]) as (_, path):
        async with ControlClient.connect(path, client_name="t") as client:
            with pytest.raises(WireError, match="not in the protocol"):
                await client.call(Method.STATUS)
        with pytest.raises(WireError, match="cannot be read"):
            await asyncio.to_thread(call_once, path, Method.STATUS, {}, 5)


async def test_call_once_reads_an_answer_as_large_as_a_frame_may_be() -> None:
    text = "x" * 1_000_000
    async with serving(lambda r: [encode_result(r.id, {"text": text})]) as (_, path):
        answer = await asyncio.to_thread(call_once, path, Method.DIFF, {"id": "a"}, 5)
    assert answer == {"text": text}


async def test_leaving_with_notices_unread_is_an_end_to_the_daemon_and_no_reset() -> None:
    ends: list[BaseException | None] = []
    ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    assert isinstance(frame, Request)
                    view = {"epoch": "e", "seq": 0, "mode": "replay", "snapshot": None, "protocol": 1}
                    writer.write(encode_result(frame.id, view))
                    if frame.method == Method.SUBSCRIBE:
                        writer.write(encode_notification("event", {"x": "y" * 1000}) * 20_000)
            ends.append(None)
        except ConnectionError as error:
            ends.append(error)
        finally:
            writer.close()
            ended.set()

    with tempfile.TemporaryDirectory(prefix="acw") as folder:
        path = Path(folder) / "s"
        async with await asyncio.start_unix_server(flood, path):
            async with ControlClient.connect(path, client_name="t") as client:
                await client.subscribe()
            await ended.wait()
    assert ends == [None]


async def test_no_daemon_is_told_with_the_command_that_starts_one(tmp_path: Path) -> None:
    with pytest.raises(DaemonNotRunningError) as caught:
        call_once(tmp_path / "none", Method.STATUS)
    assert caught.value.mend == "agentcoordd start"
    with pytest.raises(DaemonNotRunningError):
        async with ControlClient.connect(tmp_path / "none", client_name="t"):
            pass


async def test_a_stale_socket_file_counts_as_no_daemon() -> None:
    async with serving(echo) as (_, path):
        stale = path.with_name("stale")
        server = await asyncio.start_unix_server(Server(echo).serve, stale)
        server.close()
        await server.wait_closed()
        with pytest.raises(DaemonNotRunningError):
            call_once(stale, Method.STATUS)
        with pytest.raises(DaemonNotRunningError):
            async with ControlClient.connect(stale, client_name="t"):
                pass


async def test_a_socket_path_that_the_kernel_cannot_hold_is_told_in_words() -> None:
    path = Path("/tmp") / ("ü" * SOCKET_PATH_BYTES)
    with pytest.raises(WireError, match=f"this system allows {SOCKET_PATH_BYTES}"):
        call_once(path, Method.STATUS)
    with pytest.raises(WireError, match=f"this system allows {SOCKET_PATH_BYTES}"):
        async with ControlClient.connect(path, client_name="t"):
            pass


async def test_the_bodys_own_error_leaves_connect_unwrapped() -> None:
    async with serving(echo) as (_, path):
        with pytest.raises(KeyError, match="mine"):
            async with ControlClient.connect(path, client_name="t"):
                raise KeyError("mine")
