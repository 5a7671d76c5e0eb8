"""Measures other Python queues, each in an environment of its own, with one worker process.

Their programs and pinned versions are in `peers/`; the settings below are the best that we found for
no-op tasks of each (threads, concurrency, uvloop where it has an asyncio worker).
Deliberately absent: a judgement; `bench_store.py` draws the ratios.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from store_server import BenchServer, bench_server

HERE = Path(__file__).resolve().parent / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentcoord" / "bench-peers"
RUN_DEADLINE_S = 240.0
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to run one peer."""

    name: str
    concurrency: int
    options: dict[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        extra = "".join(f" {k}={v}" if v is not True else f" {k}" for k, v in self.options.items())
        return f"{self.name} c{self.concurrency}{extra}"


PEERS = (
    Peer("dramatiq", 8),
    Peer("taskiq", 100),
    Peer("taskiq", 100, {"uvloop": True}),
    Peer("bullmq", 50),
    Peer("bullmq", 50, {"uvloop": True}),
    Peer("saq", 10),
    Peer("saq", 10, {"uvloop": True}),
    Peer("arq", 100, {"poll_delay": 0.01}),
    Peer("streaq", 64, {"uvloop": True}),
    Peer("celery", 2, {"pool": "prefork"}),
    Peer("celery", 8, {"pool": "threads"}),
    Peer("rq", 1),
)


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What one run of one peer gave."""

    tasks_per_s: float
    commands_per_task: float
    bytes_per_task: float
    pickup_ms: tuple[float, ...]
    """Sorted."""


def prepare(peer: Peer) -> Path:
    """Return the peer's Python, installing its pinned list when that is new."""
    pins = HERE / f"{peer.name}.txt"
    folder = CACHE / peer.name
    stamp = folder / "pins.txt"
    if not stamp.exists() or stamp.read_text() != pins.read_text():
        print(f"installing {peer.name} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [folder / "bin/python", "-m", "pip", "install", "--quiet", "-r", str(pins)], check=True
        )
        stamp.write_text(pins.read_text())
    return folder / "bin" / "python"


def measure_peer(peer: Peer, kind: str, prose: Path, *, tasks: int, samples: int) -> PeerFigures:
    """Fill a fresh server, let one worker process empty it, then time single tasks on the idle worker."""
    python = prepare(peer)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        with bench_server(kind) as server:
            run = _Run(peer, python, server, Path(folder) / "fill", prose)
            before = server.used_bytes()
            run.send("fill", tasks)
            bytes_per_task = (server.used_bytes() - before) / tasks
            server.reset_statistics()
            ended = run.collect(tasks)
            commands = sum(calls for calls, _ in server.calls().values()) / tasks
        with bench_server(kind) as server:
            run = _Run(peer, python, server, Path(folder) / "drip", prose)
            delays = run.drip(samples)
    moments = sorted(ended)
    per_s = (len(moments) - 1) / ((moments[-1] - moments[0]) / 1e9)
    return PeerFigures(per_s, commands, bytes_per_task, tuple(sorted(d / 1e6 for d in delays)))


@dataclass(frozen=True, slots=True)
class _Run:
    peer: Peer
    python: Path
    server: BenchServer
    out: Path
    prose: Path

    def send(self, how: str, count: int) -> None:
        command = [str(self.python), str(self._program), how, str(count)]
        ran = subprocess.run(
            command, check=False, env=self._environment(), cwd=HERE, capture_output=True, text=True
        )
        if ran.returncode:
            raise RuntimeError(f"{self.peer.label} could not {how}: {ran.stderr[-2000:]}")

    def collect(self, count: int) -> list[int]:
        worker = self._start()
        try:
            self._wait_for(worker, count)
            time.sleep(0.3)
        finally:
            _kill(worker)
        return self._records()

    def drip(self, samples: int) -> list[int]:
        warm_up = 10
        worker = self._start()
        try:
            time.sleep(SETTLE_S)
            self.send("drip", warm_up)
            self._wait_for(worker, warm_up)
            self.send("drip", samples)
            self._wait_for(worker, warm_up + samples)
        finally:
            _kill(worker)
        return self._records()[warm_up:]

    @property
    def _program(self) -> Path:
        return HERE / f"p_{self.peer.name}.py"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BENCH_URL": f"redis://127.0.0.1:{self.server.port}/0",
            "BENCH_OUT": str(self.out),
            "BENCH_PROSE": str(self.prose),
            "BENCH_CONCURRENCY": str(self.peer.concurrency),
            "BENCH_OPTIONS": json.dumps(self.peer.options),
            "PYTHONPATH": str(HERE),
            "PYTHONWARNINGS": "ignore",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.python), str(self._program), "worker"],
            env=self._environment(),
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_for(self, worker: subprocess.Popen[bytes], count: int) -> None:
        deadline = time.monotonic() + RUN_DEADLINE_S
        while not self.out.exists() or self.out.stat().st_size // 8 < count:
            if time.monotonic() > deadline or worker.poll() is not None:
                raise RuntimeError(f"{self.peer.label} did not finish {count} tasks")
            time.sleep(0.02)

    def _records(self) -> list[int]:
        raw = self.out.read_bytes()
        return list(struct.unpack(f"<{len(raw) // 8}q", raw))


def _kill(worker: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
