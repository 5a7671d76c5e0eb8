"""A proxy on loopback between a client and its server that cuts, half-closes, delays and loses what passes.

What passes one way until something passes the other way is one question, or its answers. Traps are
single shots at a number of bytes; dice make faults at random, from a seed that the test prints; a gate
decides about each question and answer by its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHUNK = 1 << 16
_GREETING = re.compile(rb"\*\d+\r\n\$\d+\r\n(?:HELLO|AUTH|SELECT|CLIENT)\r\n")
"""What a client says on a new connection; not counted, since it goes on before the answer comes."""


class Way(StrEnum):
    """In which direction bytes pass."""

    QUESTION = "question"
    ANSWER = "answer"


class Fault(StrEnum):
    """What a trap does."""

    CUT = "cut"
    """Both ways end at once."""
    HALF_CLOSE = "half_close"
    """This way ends and what else comes is dropped; the other way stays open."""
    DELAY = "delay"
    """What comes waits until the trap is let go."""


@dataclass(eq=False, slots=True)
class Trap:
    """One fault, at a place in what passes one way; used once."""

    fault: Fault
    way: Way
    after_bytes: int = 0
    """How many bytes still pass."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)


def lost_answer() -> Trap:
    """The next answer does not arrive, and its connection ends."""
    return Trap(Fault.CUT, Way.ANSWER)


def lost_question() -> Trap:
    """The next question does not arrive, and its connection ends."""
    return Trap(Fault.CUT, Way.QUESTION)


Gate = Callable[[Way, int], Awaitable[bool]]


@dataclass(eq=False, slots=True)
class FaultProxy:
    """Carries bytes between clients and one server, and makes faults on the way."""

    server: str
    """The URL of the server, on a Unix socket or a TCP port."""
    trap: Trap | None = None
    away: bool = False
    """Connections are accepted and cut."""
    dice: random.Random | None = None
    """While set, about every thirtieth chunk is cut, half-closed or delayed."""
    gate: Gate | None = None
    """Asked at the beginning of each question and answer; False: nothing passes any more."""
    questions: int = 0
    passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    """Bytes, each way."""
    faults: int = 0
    """How many traps were sprung and dice fell badly."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what one client and the server have to say to each other."""
        if self.away:
            writer.close()
            return
        me = asyncio.current_task()
        assert me is not None
        self._serving.add(me)
        me.add_done_callback(self._serving.discard)
        server_reader, server_writer = await self._connect()
        ends = {writer, server_writer}
        self._open |= ends
        line = _Line(self)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(line.carry(Way.QUESTION, reader, server_writer, ends))
                both.create_task(line.carry(Way.ANSWER, server_reader, writer, ends))
        except* OSError:
            pass
        finally:
            for end in ends:
                end.close()
            self._open -= ends

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.server)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path)
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def close(self) -> None:
        """End every connection, and return when none is left."""
        self.away = True
        self.cut_all()
        if self._serving:
            await asyncio.wait(self._serving)

    def cut_all(self) -> None:
        """End every connection that is open now."""
        for writer in list(self._open):
            writer.transport.abort()


@dataclass(eq=False, slots=True)
class _Line:
    """One connection through the proxy."""

    proxy: FaultProxy
    talking: Way = Way.ANSWER

    async def carry(
        self,
        way: Way,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        proxy = self.proxy
        dropping = False
        while data := await source.read(CHUNK):
            if proxy.away or not await self._may_pass(way, data):
                break
            if dropping:
                continue
            trap = self._trap_for(way, len(data))
            if trap is None:
                proxy.passed[way] += len(data)
                sink.write(data)
                continue
            proxy.faults += 1
            sink.write(data[: trap.after_bytes])
            proxy.passed[way] += trap.after_bytes
            trap.sprung.set()
            match trap.fault:
                case Fault.CUT:
                    break
                case Fault.HALF_CLOSE:
                    dropping = True
                    with contextlib.suppress(OSError):
                        sink.write_eof()
                case Fault.DELAY:
                    await trap.let_go.wait()
                    proxy.passed[way] += len(data) - trap.after_bytes
                    sink.write(data[trap.after_bytes :])
        else:
            with contextlib.suppress(OSError):  # The source has no more to say; the other way may have.
                if sink.can_write_eof():
                    sink.write_eof()
            if way is Way.QUESTION:
                return
        for end in ends:
            end.close()

    async def _may_pass(self, way: Way, data: bytes) -> bool:
        if way is self.talking or (way is Way.QUESTION and _GREETING.match(data)):
            return True
        self.talking = way
        self.proxy.questions += way is Way.QUESTION
        return self.proxy.gate is None or await self.proxy.gate(way, self.proxy.questions)

    def _trap_for(self, way: Way, size: int) -> Trap | None:
        proxy = self.proxy
        trap = proxy.trap
        if trap is not None and trap.way is way:
            if trap.after_bytes > size:
                trap.after_bytes -= size
                return None
            proxy.trap = None
            return trap
        if proxy.dice is None or proxy.dice.random() > 1 / 30:
            return None
        thrown = Trap(proxy.dice.choice(list(Fault)), way, proxy.dice.randrange(size + 1))
        if thrown.fault is Fault.DELAY:
            _let_go_later(thrown, proxy.dice.randrange(40))
        return thrown


def _let_go_later(trap: Trap, spins: int) -> None:
    """Let a delayed chunk go after the loop has turned that often."""
    loop = asyncio.get_running_loop()
    if spins == 0:
        trap.let_go.set()
    else:
        loop.call_soon(_let_go_later, trap, spins - 1)


@asynccontextmanager
async def fault_proxy(url: str, folder: Path, *, user: str = "") -> AsyncIterator[tuple[str, FaultProxy]]:
    """Run a proxy before the server of `url`, on the same kind of socket; gives the proxy's URL too."""
    proxy = FaultProxy(url)
    who = f"{user}:secret@" if user else ""
    server: Any
    if url.startswith("unix:"):
        path = folder / f"p{len(list(folder.iterdir()))}.sock"
        server = await asyncio.start_unix_server(proxy.serve_one, path)
        there = f"unix://{who}{path}"
    else:
        server = await asyncio.start_server(proxy.serve_one, "127.0.0.1", 0)
        there = f"redis://{who}127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield there, proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
