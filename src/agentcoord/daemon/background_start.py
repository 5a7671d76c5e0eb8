"""Starting a daemon in the background: a process of its own, which tells through a pipe that it is ready.

Separate from `service`, which that process runs: most of the program is imported there, and who only
starts it need not wait for that twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.project_lock import lock_of, read_identity, refuse_root
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import AgentCoordError, ConfigError, DaemonAlreadyRunningError, DaemonError
from agentcoord.values import dataclass

READY_TIMEOUT_S = 90.0
LOG_TAIL_LINES = 20
_OF_A_SERVICE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "XPC_SERVICE_NAME"})
"""What a service manager tells a service. Who starts us may run in one; we are none for that."""


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
        {name: value for name, value in env.items() if name not in _OF_A_SERVICE},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(paths.startup_log), log_flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


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
