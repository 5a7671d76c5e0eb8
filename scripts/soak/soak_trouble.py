"""What goes wrong in a soak: each kind of trouble, and the dice that choose among them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from agentcoord.config.paths import ProjectPaths

SERVER_DEATHS = 3
SERVER_DEATHS_WITHIN_S = 75.0
"""The daemon gives up on a server that dies five times within a minute; the soak stays below."""
STEPS_S = (-86_400, -3_600, -600, -5, 5, 600, 3_600, 86_400)
STORM_CLIENTS = 40


@dataclass
class Trouble:
    """Makes trouble for one daemon."""

    dice: random.Random
    paths: ProjectPaths
    clock_file: Path
    kill_daemon: Callable[[], None]
    """Kills it and starts another."""
    made: dict[str, int] = field(default_factory=dict)
    """How often each kind was made."""
    _server_deaths: list[float] = field(default_factory=list)

    def make(self, *, may_kill: bool) -> str:
        """Make trouble of some kind; returns which."""
        kinds: dict[str, Callable[[], None]] = {
            "client storm": self.storm,
            "clock step": self.step_clock,
            "server killed": lambda: self.end_server(signal.SIGKILL),
            "server stopped": lambda: self.end_server(signal.SIGTERM),
            "server hung": self.hang_server,
        }
        now = time.monotonic()
        self._server_deaths = [at for at in self._server_deaths if now - at < SERVER_DEATHS_WITHIN_S]
        if len(self._server_deaths) >= SERVER_DEATHS:
            del kinds["server killed"], kinds["server stopped"]
        if may_kill:
            kinds["daemon killed"] = self.kill_daemon
        kind = self.dice.choice(sorted(kinds))
        kinds[kind]()
        self.made[kind] = self.made.get(kind, 0) + 1
        return kind

    def step_clock(self) -> None:
        """Set the daemon's wall clock forward or back, and leave it there."""
        offset_ms = int(self.clock_file.read_text()) + self.dice.choice(STEPS_S) * 1000
        new = self.clock_file.with_suffix(".new")
        new.write_text(str(offset_ms))
        new.replace(self.clock_file)

    def end_server(self, number: signal.Signals) -> None:
        """End the embedded server; the daemon starts it again."""
        self._server_deaths.append(time.monotonic())
        for pid in self._server():
            os.kill(pid, number)

    def hang_server(self) -> None:
        """Stop the embedded server for a moment, as a machine does that has no memory left."""
        for pid in self._server():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.5, 6.0))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _server(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                # Valkey rewrites its title to its name and its socket.
                if b"valkey" in words and os.fsencode(self.paths.redis_socket) in words:
                    found.append(int(folder.name))
        return found

    def storm(self) -> None:
        """Many clients at once: some ask, some talk nonsense, some subscribe and never read."""
        hello = _line({"id": 0, "method": "hello", "params": {"protocol": [1], "client": "soak"}})
        with ExitStack() as stack:
            for _ in range(STORM_CLIENTS):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(5.0)
                with suppress(OSError):
                    client.connect(os.fspath(self.paths.socket))
                    client.sendall(hello + self._words())
            if self.dice.random() < 0.5:
                time.sleep(self.dice.uniform(0.0, 2.0))

    def _words(self) -> bytes:
        return self.dice.choice(
            (
                _line({"id": 1, "method": "tasks", "params": {}}),
                _line({"id": 1, "method": "status", "params": {}}) * 50,
                _line({"id": 1, "method": "subscribe", "params": {"topics": ["events", "tasks"]}}),
                _line({"id": 1, "method": "no such", "params": {}}),
                b"\xff\x00 this is no JSON\n" * 20,
                b'{"jsonrpc":"2.0","id":1,"method":"status","params":{',
                b"x" * 200_000,
                b"",
            )
        )


def _line(message: dict[str, object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
