"""The stream of events: gaps are told, nothing comes twice, a daemon that stays away is given up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agentcoord
from agentcoord.api import DaemonNotRunningError, EventStream, Position, RpcError
from agentcoord.api.events import AWAY_S
from agentcoord.wire.codec import FrameDecoder, Request, encode_error, encode_notification, encode_result
from agentcoord.wire.messages import Method, Notification, RpcCode


class HandClock:
    """Sleeps at once."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


def raw(seq: int) -> dict[str, Any]:
    return {"kind": "task.done", "at_ms": seq, "task": f"t{seq}", "worker": None, "data": {}, "seq": seq}


def line(seq: int, epoch: str = "e") -> bytes:
    return encode_notification(Notification.EVENT, {"epoch": epoch, "event": raw(seq)})


def snapshot(epoch: str, *seqs: int) -> dict[str, Any]:
    return {"epoch": epoch, "seq": seqs[-1], "events": [raw(seq) for seq in seqs]}


class ScriptedDaemon:
    """Each connection takes the next script: its answer to `subscribe`, and what follows; then it ends."""

    def __init__(self, *scripts: tuple[dict[str, Any] | None, list[bytes]]) -> None:
        self._scripts = iter(scripts)
        self.since: list[Any] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    assert isinstance(frame, Request)
                    if frame.method == Method.HELLO:
                        writer.write(encode_result(frame.id, {"protocol": 1, "epoch": "e"}))
                        continue
                    self.since.append(frame.params["since"])
                    answer, notices = next(self._scripts)
                    view = {"epoch": "e", "seq": 5, "mode": "replay", "snapshot": answer}
                    writer.write(encode_result(frame.id, view) + b"".join(notices))
                    await writer.drain()
                    return
        finally:
            writer.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aca") as folder:
        yield Path(folder) / "s"


async def take(stream: EventStream, count: int) -> list[tuple[str, int, bool]]:
    events = [await anext(stream) for _ in range(count)]
    assert stream.position == events[-1].position
    return [(*event.position, event.after_gap) for event in events]


async def test_a_lost_connection_is_gone_on_with_after_the_last_event(path: Path) -> None:
    daemon = ScriptedDaemon((None, [line(6), line(7)]), (None, [line(7), line(8)]))
    async with (
        await asyncio.start_unix_server(daemon.serve, path),
        EventStream(path, HandClock()) as stream,
    ):
        assert stream.position == ("e", 5)
        assert await take(stream, 3) == [("e", 6, False), ("e", 7, False), ("e", 8, False)]
    assert daemon.since == [None, {"epoch": "e", "seq": 7}]


async def test_events_that_are_gone_are_told_as_a_gap(path: Path) -> None:
    lagged = encode_notification(Notification.LAGGED, {"snapshot": snapshot("e", 4, 5, 6, 7)})
    far = encode_notification(Notification.LAGGED, {"snapshot": snapshot("e", 20, 21)})
    daemon = ScriptedDaemon((None, [lagged, far, line(22)]), (snapshot("f", 1, 2), [line(3, "f")]))
    async with (
        await asyncio.start_unix_server(daemon.serve, path),
        EventStream(path, HandClock(), since=Position("e", 5)) as stream,
    ):
        assert await take(stream, 5) == [
            *(("e", 6, False), ("e", 7, False)),
            *(("e", 20, True), ("e", 21, False), ("e", 22, False)),
        ]
        assert await take(stream, 3) == [("f", 1, True), ("f", 2, False), ("f", 3, False)]


async def test_waiting_that_is_cancelled_loses_no_event(path: Path) -> None:
    said, say = asyncio.Event(), asyncio.Event()

    class Daemon(ScriptedDaemon):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await say.wait()
            await super().serve(reader, writer)
            said.set()

    async with await asyncio.start_unix_server(Daemon((None, [line(6), line(7)])).serve, path):
        stream = EventStream(path, HandClock(), since=Position("e", 5))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(take(stream, 1))
            await asyncio.sleep(0)
            waiting.cancel()
            say.set()
        async with stream:
            assert await take(stream, 2) == [("e", 6, False), ("e", 7, False)]
        await said.wait()


async def test_nobody_listening_is_an_error_at_once_and_one_who_left_is_waited_for(path: Path) -> None:
    clock = HandClock()
    with pytest.raises(DaemonNotRunningError, match="no daemon runs"):
        await anext(EventStream(path, clock, since=Position("e", 5)))
    assert clock.now_s == 0
    async with await asyncio.start_unix_server(ScriptedDaemon((None, [line(6)])).serve, path):
        stream = EventStream(path, clock)
        assert await take(stream, 1) == [("e", 6, False)]
    path.unlink(missing_ok=True)
    with pytest.raises(DaemonNotRunningError, match="did not come back") as caught:
        await anext(stream)
    assert AWAY_S <= clock.now_s < AWAY_S + 3
    assert caught.value.mend == "agentcoordd start"


@pytest.mark.parametrize(
    ("code", "name"), [(RpcCode.INVALID_PARAMS, "RpcError"), (RpcCode.REFUSED, "RefusedError")]
)
async def test_a_refusal_is_not_tried_again(path: Path, code: RpcCode, name: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for frame in FrameDecoder().feed(await reader.read(65536)):
            assert isinstance(frame, Request)
            writer.write(encode_error(frame.id, code, "old protocol", {"exit_code": 5, "mend": "restart"}))
        await writer.drain()
        writer.close()

    clock = HandClock()
    async with await asyncio.start_unix_server(refuse, path):
        with pytest.raises(RpcError, match="old protocol") as caught:
            await anext(EventStream(path, clock))
    assert (clock.now_s, caught.value.mend, type(caught.value).__name__) == (0, "restart", name)


def test_the_package_is_cheap_to_import_and_hands_on_its_api() -> None:
    program = (
        "import sys, agentcoord; before = set(sys.modules); agentcoord.AgentCoord; "
        "assert 'agentcoord.api' not in before and 'asyncio' not in before; "
        "heavy = {'redis', 'anthropic', 'textual', 'typer', 'pydantic', 'structlog'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert set(agentcoord.__all__) <= set(dir(agentcoord))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        agentcoord.nothing  # type: ignore[attr-defined]  # noqa: B018
