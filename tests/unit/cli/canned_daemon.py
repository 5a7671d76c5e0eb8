"""A daemon that says what a test wants, on a real control socket, and commands run against it."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentcoord.cli import agentcoord, agentcoordd
from agentcoord.config.paths import ProjectPaths
from agentcoord.wire.codec import FrameDecoder, Request, encode_error, encode_notification, encode_result
from agentcoord.wire.messages import Method, Notification

Canned = dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]]


class RefusedError(Exception):
    """Raised by a canned answer: what the daemon answers with instead."""

    def __init__(self, code: int, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


@dataclass
class CannedDaemon:
    """Answers each method with what stands in `answers`; records what it was asked."""

    socket: Path
    answers: dict[str, Canned] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    replayed: list[dict[str, Any]] = field(default_factory=list)
    """Events that it tells whoever subscribes from a number on."""

    def refuse(self, method: Method, code: int, message: str, **data: Any) -> None:
        """Answer `method` with an error from now on."""

        def answer(_params: dict[str, Any]) -> dict[str, Any]:
            raise RefusedError(code, message, **data)

        self.answers[method] = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    assert isinstance(frame, Request)
                    writer.write(self._line(frame))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _line(self, request: Request) -> bytes:
        if request.method == Method.HELLO:
            return encode_result(request.id, {"protocol": 1, "version": "0", "pid": 1, "epoch": "e1"})
        self.asked.append((request.method, request.params))
        canned = self.answers[request.method]
        try:
            answer = encode_result(request.id, canned(request.params) if callable(canned) else canned)
        except RefusedError as refused:
            data: Any = {"exit_code": 1, "mend": "", **refused.data}
            return encode_error(request.id, refused.code, str(refused), data)
        since = request.params.get("since") if request.method == Method.SUBSCRIBE else None
        told = [each for each in self.replayed if since is not None and each["seq"] > since["seq"]]
        return answer + b"".join(
            encode_notification(Notification.EVENT, {"epoch": "e", "event": each}) for each in told
        )


@dataclass(frozen=True)
class Project:
    """A repository in a folder with a difficult name, and the environment of its commands."""

    root: Path
    env: dict[str, str]

    @property
    def paths(self) -> ProjectPaths:
        return ProjectPaths.of(self.root, self.env)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An (empty) repository; its sockets lie in a folder with a short name."""
    root = tmp_path / "mein Projekt ä"
    (root / ".git").mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="acc") as runtime:
        env = {
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "XDG_RUNTIME_DIR": runtime,
            "PATH": "/usr/bin:/bin",
            "AGENTCOORD_ALLOW_ROOT": "1",
        }
        yield Project(root, env)


@pytest.fixture
def daemon(project: Project) -> Iterator[CannedDaemon]:
    """A canned daemon that listens for `project`."""
    canned = CannedDaemon(project.paths.socket)
    canned.socket.parent.mkdir(parents=True, exist_ok=True)
    listening, stopped = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with await asyncio.start_unix_server(canned.serve, canned.socket):
            listening.set()
            await stopped.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert listening.wait(10)
    yield canned
    loop.call_soon_threadsafe(stopped.set)
    thread.join(10)
    loop.close()


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(project: Project, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `agentcoord` (or `agentcoordd`) with these words on the project."""

    def run(*words: str, program: str = "agentcoord", **env: str) -> Outcome:
        main = {"agentcoord": agentcoord.main, "agentcoordd": agentcoordd.main}[program]
        code = main(["-C", str(project.root), *words], {**project.env, **env})
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no descriptor")
