#!/usr/bin/env python3
"""What a daemon costs while nobody uses it: time to ready, processor when idle, memory, and how fast
the reading commands answer, without tasks and with many.

Starts real daemons on a small repository in a folder of its own, beside a bare interpreter that is
timed in the same run: the ratio holds on a busy machine, the milliseconds do not. `--seconds` is how
long the idle daemon is watched. Prints one JSON object. Linux only (`/proc`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

BIN: Final = Path(sys.executable).parent
TICKS: Final = os.sysconf("SC_CLK_TCK")
COMMANDS: Final = (("status",), ("tasks",), ("workers",), ("tasks", "--json"))
MANY_TASKS: Final = 2_000
"""Loaded while the daemon is paused, so that nothing else goes on meanwhile."""


def main() -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch the idle daemon")
    parser.add_argument("--rounds", type=int, default=5, help="how often to start, and to ask")
    wanted = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="ac-b-"))
    try:
        print(json.dumps(measured(base, wanted.seconds, wanted.rounds), indent=2))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return 0


def measured(base: Path, seconds: float, rounds: int) -> dict[str, object]:
    """All figures, from daemons on a new repository below `base`."""
    root, env = make_project(base)

    def run(*words: str) -> str:
        command = [str(BIN / words[0]), *words[1:]]
        return subprocess.run(command, cwd=root, env=env, capture_output=True, check=True, text=True).stdout

    starts, cpu = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        pid = json.loads(run("agentcoordd", "start", "--json"))["pid"]
        starts.append(time.perf_counter() - begun)
        cpu.append(cpu_s(pid))
        run("agentcoordd", "stop")
    pid = json.loads(run("agentcoordd", "start", "--json"))["pid"]
    try:
        time.sleep(10.0)  # Its private copies are built by then, and the model's SDK is imported.
        server = children(pid)
        before, begun = cpu_s(pid) + sum(map(cpu_s, server)), time.perf_counter()
        time.sleep(seconds)
        idle = (cpu_s(pid) + sum(map(cpu_s, server)) - before) / (time.perf_counter() - begun)
        bare = median_s(rounds, lambda: subprocess.run([sys.executable, "-c", "pass"], env=env, check=True))

        def asked() -> dict[str, float]:
            asks = {words: partial(run, "agentcoord", *words) for words in COMMANDS}
            return {f"agentcoord {' '.join(words)}": median_s(rounds, ask) for words, ask in asks.items()}

        empty, memory, redis_memory = asked(), memory_mb(pid), sum(map(memory_mb, server))
        run("agentcoord", "ctl", "pause")
        run("agentcoord", "load", str(make_plan(base, MANY_TASKS)))
        full = {f"{name}, {MANY_TASKS:,} tasks": each for name, each in asked().items()}
        return {
            "start_ms": round(statistics.median(starts) * 1000),
            "start_least_ms": round(min(starts) * 1000),
            "daemon_cpu_at_ready_ms": round(statistics.median(cpu) * 1000),
            "idle_cpu_percent": round(idle * 100, 3),
            "memory_mb": round(memory, 1),
            "redis_memory_mb": round(redis_memory, 1),
            "bare_interpreter_ms": round(bare * 1000),
            "commands_ms": {name: round(each * 1000) for name, each in (empty | full).items()},
            "commands_over_bare": {name: round(each / bare, 2) for name, each in (empty | full).items()},
        }
    finally:
        run("agentcoordd", "stop")


def make_project(base: Path) -> tuple[Path, Mapping[str, str]]:
    """A committed repository of one file, and the environment to work in."""
    root = base / "repo"
    root.mkdir()
    env = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(base),
        "XDG_STATE_HOME": str(base / "s"),
        "XDG_RUNTIME_DIR": str(base / "r"),
        "AGENTCOORD_ALLOW_ROOT": "1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    (root / "a.py").write_text("A = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *words], cwd=root, env=env, check=True)
    return root, env


def make_plan(base: Path, tasks: int) -> Path:
    """A plan of so many tasks."""
    plan = base / "plan.toml"
    plan.write_text("".join(f'[[task]]\nid = "t{n}"\ntitle = "Task {n}"\n' for n in range(tasks)))
    return plan


def median_s(rounds: int, act: Callable[[], object]) -> float:
    """The median wall time of `act`, after one round that warms the caches."""
    act()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def cpu_s(pid: int) -> float:
    """Processor time of one process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Proportional set size: shared pages are shared out among those that have them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main())
