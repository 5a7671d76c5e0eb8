"""The daemon as a process: one a project, in the foreground or in the background.

`flock` on the lock file decides who is the daemon; a process id is never trusted, only told.
The background process reports through a pipe that it is ready, or why not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog

from agentcoord import __version__
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.root_rule import root_allowed
from agentcoord.daemon.compose import composed
from agentcoord.daemon.loop_watch import StopTimer, watched_loop
from agentcoord.daemon.notifications import SECRET_VARIABLES
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import AgentCoordError, ConfigError, DaemonAlreadyRunningError, DaemonError
from agentcoord.telemetry.logs import logging_to

READY_TIMEOUT_S = 90.0
LOG_TAIL_LINES = 20
THREADS = 32
"""For blocking work: copies of six workers must not hold up what a command wants to read."""
_PR_SET_DUMPABLE = 4

log = structlog.get_logger("daemon")

__all__ = ["StartArgs", "Started", "run_foreground", "start_background"]


@dataclass(frozen=True, slots=True)
class Started:
    """A daemon that is ready."""

    pid: int
    socket: Path
    log_file: Path


def start_background(root: Path, *, args: StartArgs, env: Mapping[str, str]) -> Started:
    """Start a daemon for the repository at `root` and return when it is ready.

    Raises DaemonAlreadyRunningError, ConfigError for folders that cannot be made, or DaemonError
    with the last 20 log lines.
    """
    paths = ProjectPaths.of(root, env)
    refuse_root(args, env)
    paths.make()
    with lock_of(paths):
        pass  # Free: nobody runs. The child takes it; two starts at once are told apart there.
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as ready:
        try:
            pid = _spawn(paths, args, env, writing)
        finally:
            os.close(writing)
        word = _read_word(ready)
    if word.get("ready"):
        return Started(read_identity(paths).get("pid", pid), paths.socket, paths.log_file)
    raise _why_not(word, pid, paths)


def _spawn(paths: ProjectPaths, args: StartArgs, env: Mapping[str, str], ready_fd: int) -> int:
    """Start the background process; its output goes to the start-up log. Returns its pid."""
    os.set_inheritable(ready_fd, True)
    module = "agentcoord.daemon.supervisor" if args.supervised else "agentcoord.daemon"
    command = [
        *(sys.executable, "-m", module, "--root", os.fspath(paths.root)),
        *("--ready-fd", str(ready_fd), "--args", args.to_json()),
    ]
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        sys.executable,
        command,
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(paths.startup_log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def run_foreground(
    root: Path, *, args: StartArgs, env: Mapping[str, str], ready_fd: int | None = None
) -> int:
    """Be the daemon until it is stopped; returns the exit code.

    Raises the same errors as `start_background`, told through `ready_fd` too when there is one.
    """
    starter = _Starter(ready_fd)
    say_where_it_stands_on_signals()
    try:
        paths = ProjectPaths.of(root, env)
        refuse_root(args, env)
        paths.make()
        secrets = [env[name] for name in SECRET_VARIABLES if env.get(name)]
        with (
            lock_of(paths),
            logging_to(paths.log_file, secrets=secrets, terminal=ready_fd is None),
            _identity(paths),
        ):
            _serve_in_words(paths, args, env, starter)
    except AgentCoordError as error:
        starter.tell({"error": error.message, "mend": error.mend, "kind": type(error).__name__})
        raise
    except OSError as error:
        refused = DaemonError(
            f"the system refused: {error}", mend="free some disk space, and look at the folder"
        )
        starter.tell({"error": refused.message, "mend": refused.mend, "kind": type(refused).__name__})
        raise refused from error
    return 0


def _serve_in_words(paths: ProjectPaths, args: StartArgs, env: Mapping[str, str], starter: _Starter) -> None:
    """Serve; what ends it is logged, and leaves as the one error that a person can act on, if it is one."""
    stop_timer = StopTimer()
    try:
        forbid_reading_our_memory()
        asyncio.run(_serve(paths, args, env, starter, stop_timer))
    except AgentCoordError as error:
        log.error("daemon_cannot_go_on", error=error.message, mend=error.mend)
        raise
    except BaseExceptionGroup as group:
        expected, rest = group.split((AgentCoordError, OSError))
        if expected is None or rest is not None:
            log.critical("daemon_died", exc_info=True)
            raise
        cause = _first_leaf(expected)
        log.error("daemon_cannot_go_on", error=str(cause), exc_info=True)
        raise cause from group
    except BaseException:
        log.critical("daemon_died", exc_info=True)
        raise
    finally:
        stop_timer.cancel()


def _first_leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _serve(
    paths: ProjectPaths, args: StartArgs, env: Mapping[str, str], starter: _Starter, stop_timer: StopTimer
) -> None:
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="work")
    asyncio.get_running_loop().set_default_executor(threads)
    with watched_loop():
        async with composed(paths, args, env) as daemon:
            daemon.shutdown.on_ask = stop_timer.start
            with daemon.shutdown.on_signals():
                await daemon.run(lambda: starter.tell({"ready": True}))
    log.info("daemon_stopped")


class _Starter:
    """The process that started this one, which waits for one line; without one, nobody is told."""

    def __init__(self, ready_fd: int | None) -> None:
        self._ready_fd = ready_fd

    def tell(self, word: dict[str, Any]) -> None:
        """Say one line, once: afterwards the descriptor's number may be somebody else's."""
        ready_fd, self._ready_fd = self._ready_fd, None
        if ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(ready_fd, json.dumps(word).encode() + b"\n")
            os.close(ready_fd)


def say_where_it_stands_on_signals() -> None:
    """Have SIGQUIT print every thread's stack to standard error, and a fatal signal too."""
    faulthandler.enable()
    faulthandler.register(signal.SIGQUIT, all_threads=True)


def refuse_root(args: StartArgs, env: Mapping[str, str]) -> None:
    """Raises DaemonError when this is root and nobody said that it may be."""
    if os.geteuid() == 0 and not root_allowed(env, flag=args.allow_root):
        raise DaemonError(
            "this is root; workers' commands would run with root's reach",
            mend="run as an ordinary user, or say --allow-root (or AGENTCOORD_ALLOW_ROOT=1)",
        )


def forbid_reading_our_memory() -> None:
    """Keep other processes of this user from our memory and environment, where the API key is.

    Linux only; elsewhere the system's own rules stand. See prctl(2), PR_SET_DUMPABLE.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextlib.contextmanager
def lock_of(paths: ProjectPaths) -> Iterator[None]:
    """Hold the project's lock. Raises DaemonAlreadyRunningError when somebody else does."""
    descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            identity = read_identity(paths)
            who = f"pid {identity['pid']}" if "pid" in identity else "another process"
            raise DaemonAlreadyRunningError(
                f"a daemon runs for {paths.root} already ({who})",
                mend="agentcoordd status shows it, agentcoordd stop ends it",
            )
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Take the lock; a daemon that is dying at this moment gets half a second to be gone."""
    for pause_s in (0.05,) * 10 + (0.0,):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(pause_s)
    return False


def read_identity(paths: ProjectPaths) -> dict[str, Any]:
    """What the newest daemon said of itself; empty when it said nothing readable."""
    try:
        found = json.loads(paths.identity_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def _identity(paths: ProjectPaths) -> Iterator[None]:
    said = {
        "pid": os.getpid(),
        "version": __version__,
        "socket": os.fspath(paths.socket),
        "root": os.fspath(paths.root),
    }
    paths.identity_file.write_text(json.dumps(said), encoding="utf-8")
    try:
        yield
    finally:
        paths.identity_file.unlink(missing_ok=True)


def _read_word(ready: IO[bytes]) -> dict[str, Any]:
    """Read the child's one line; empty when it died or took too long."""
    heard = b""
    until = time.monotonic() + READY_TIMEOUT_S
    while not heard.endswith(b"\n") and time.monotonic() < until:
        if select.select([ready], [], [], 0.5)[0]:
            piece = ready.read(65536)
            if not piece:
                break
            heard += piece
    try:
        word: dict[str, Any] = json.loads(heard)
    except ValueError:
        return {}
    return word


def _why_not(word: dict[str, Any], pid: int, paths: ProjectPaths) -> AgentCoordError:
    if word.get("kind") == DaemonAlreadyRunningError.__name__:
        return DaemonAlreadyRunningError(str(word["error"]), mend=str(word["mend"]))
    if word.get("kind") == ConfigError.__name__:
        return ConfigError(str(word["error"]), mend=str(word["mend"]))
    if word:
        return DaemonError(str(word["error"]), mend=str(word["mend"]) or f"read {paths.log_file}")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    tail = _tail(paths.startup_log) or _tail(paths.log_file)
    return DaemonError(f"the daemon ended before it was ready\n{tail}", mend=f"read {paths.log_file}")


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_TAIL_LINES:])
