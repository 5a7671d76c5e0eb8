#!/usr/bin/env python3
"""A whole night against the ideal: sixty scripted tasks, six workers, real daemon, checks and landings.

The model's thinking times are drawn from a seeded log-normal distribution; some tasks need others; every
task writes a file of its own and a line of a module that it shares with nine others; the check takes
seconds. The ideal is the larger of the critical path and all work divided by six, where work is the
model's thinking and one check a task, and nothing else: no claims, copies, tools, landings or locks.
Printed beside it: what a scheduler reaches that has no overhead, but does not know durations either; where
the workers' time went, from the event log; and what six processes of another agent need for six
conversations that one daemon has too (`six_agents`).
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from night_account import account, span_s
from six_agents import compare

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.background_start import start_background
from agentcoord.daemon.start_args import StartArgs

BIN = Path(sys.executable).parent
EDITOR = "str_replace_based_edit_tool"
TASKS = 60
MODULES = 6
WORKERS = 6
TURNS = 4
NEEDS_SHARE = 0.3
MEDIAN_THINKING_S = 1.6
SPREAD = 0.5
"""Standard deviation of the logarithm: one turn in twenty takes more than twice the median."""
CHECK_S = 2.0
MOST_RATIO = 1.10
MOST_MIB = 150
WAIT_S = 900
SETTLE_S = 3.0
"""The private copies are built by then."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One task of the night."""

    number: int
    thinking_ms: tuple[int, ...]
    needs: tuple[int, ...]

    @property
    def work_s(self) -> float:
        return sum(self.thinking_ms) / 1_000 + CHECK_S

    @property
    def module(self) -> str:
        return f"shared_{self.number % MODULES}.py"


def draw(seed: int) -> list[Piece]:
    """Draw the night."""
    dice = random.Random(seed)
    pieces = []
    for number in range(TASKS):
        thinking = (dice.lognormvariate(math.log(MEDIAN_THINKING_S), SPREAD) for _ in range(TURNS))
        needs = (dice.randrange(number),) if number >= WORKERS and dice.random() < NEEDS_SHARE else ()
        pieces.append(Piece(number, tuple(round(s * 1_000) for s in thinking), needs))
    return pieces


def ideal_s(pieces: list[Piece]) -> tuple[float, float]:
    """Return the critical path and all work divided by the workers, in seconds."""
    done_at: dict[int, float] = {}
    for piece in pieces:
        done_at[piece.number] = piece.work_s + max((done_at[n] for n in piece.needs), default=0.0)
    return max(done_at.values()), sum(piece.work_s for piece in pieces) / WORKERS


def greedy_s(pieces: list[Piece]) -> float:
    """Return how long the night takes when nothing costs anything but thinking and checks, and each worker
    takes the first task in plan order whose needs are met and whose module nobody works on.

    What lies between this and the ideal is not waste: nobody knows beforehand how long a task takes, so
    that some workers run out of work before the last one ends.
    """
    waiting = {piece.number: set(piece.needs) for piece in pieces}
    running: list[tuple[float, int]] = []
    now_s = 0.0
    while waiting or running:
        ready = [n for n, needs in waiting.items() if not needs]
        while ready and len(running) < WORKERS:
            busy = {pieces[n].module for _, n in running}
            chosen = next((n for n in ready if pieces[n].module not in busy), ready[0])
            ready.remove(chosen)
            del waiting[chosen]
            heapq.heappush(running, (now_s + pieces[chosen].work_s, chosen))
        now_s, ended = heapq.heappop(running)
        for needs in waiting.values():
            needs.discard(ended)
    return now_s


def write_project(root: Path, env: dict[str, str]) -> None:
    """Write a repository whose modules have a line for each of their tasks, well apart."""
    root.mkdir()
    for module in range(MODULES):
        slots = (f"SLOT_{n} = 0\n\n\n# ----\n\n\n" for n in range(module, TASKS, MODULES))
        (root / f"shared_{module}.py").write_text("".join(slots))
    workers = "".join(
        f'[[worker]]\nname = "W{n}"\nrole = "backend-engineer"\ntags = ["any"]\n' for n in range(WORKERS)
    )
    (root / "agentcoord.toml").write_text(
        f'[project]\nscope = ["*.py"]\n[checks]\ntests = "sleep {CHECK_S} && python3 -m compileall -q ."\n'
        f"parallel = {WORKERS}\n{workers}"
    )
    (root / ".gitignore").write_text("__pycache__/\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *identity, *words], cwd=root, env=env, check=True)


def write_scripts(folder: Path, pieces: list[Piece]) -> None:
    folder.mkdir()
    for piece in pieces:
        n = piece.number
        line = {"command": "str_replace", "path": piece.module}
        line |= {"old_str": f"SLOT_{n} = 0\n", "new_str": f"SLOT_{n} = 1\n"}
        turns: list[list[tuple[str, dict[str, Any]]]] = [
            [(EDITOR, {"command": "view", "path": piece.module})],
            [(EDITOR, {"command": "create", "path": f"t{n}.py", "file_text": f"N = {n}\n"}), (EDITOR, line)],
            [("bash", {"command": f"python3 -c 'import t{n}'"})],
            [("finish_task", {"summary": "Did it.", "decisions": []})],
        ]
        rows = [f'task = "t{n}"']
        for thinking_ms, calls in zip(piece.thinking_ms, turns, strict=True):
            rows += ["[[turn]]", f"thinking_ms = {thinking_ms}"]
            for tool, arguments in calls:
                rows += ["[[turn.tool]]", f'name = "{tool}"', "[turn.tool.input]"]
                rows += [f"{key} = {json.dumps(value)}" for key, value in arguments.items()]
        (folder / f"t{n}.toml").write_text("\n".join(rows) + "\n")


def plan_of(pieces: list[Piece]) -> str:
    return "".join(
        f'[[task]]\nid = "t{p.number}"\ntitle = "Task {p.number}"\ntags = ["any"]\n'
        f"needs = {json.dumps([f't{n}' for n in p.needs])}\n"
        f"writes = {json.dumps([p.module, f't{p.number}.py'])}\n"
        for p in pieces
    )


def run(words: list[str], root: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def cpu_s(pid: int) -> float:
    """Processor time of one process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """What the daemon's own process has in memory."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return math.nan
    rows = dict(row.split(":", 1) for row in status.read_text().splitlines() if ":" in row)
    return int(rows["VmHWM"].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Played:
    """A night as it went."""

    wall_s: float
    memory_mib: float
    cpu_s: float
    """The daemon's own processor time, without what it started."""
    tasks: dict[str, Any]
    events: list[dict[str, Any]]


def play(base: Path, pieces: list[Piece]) -> Played:
    """Play the night."""
    root = base / "bench"
    env = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(base),
        "XDG_STATE_HOME": str(base / "s"),
        "XDG_RUNTIME_DIR": str(base / "r"),
        "AGENTCOORD_ALLOW_ROOT": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    write_project(root, env)
    write_scripts(base / "scripts", pieces)
    (base / "plan.toml").write_text(plan_of(pieces))
    ProjectPaths.of(root, env)
    started = start_background(root, args=StartArgs(rehearse=base / "scripts"), env=env)
    events = base / "events.jsonl"
    follow = [str(BIN / "agentcoord"), "logs", "-f", "--json", "-n", "0"]
    with events.open("wb") as out:
        follower = subprocess.Popen(follow, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=out)
    try:
        time.sleep(SETTLE_S)
        cpu = cpu_s(started.pid)
        begun = time.monotonic()
        loaded = run(["agentcoord", "load", str(base / "plan.toml")], root, env)
        assert loaded.returncode == 0, loaded.stderr
        waited = run(["agentcoord", "wait", "--timeout", str(WAIT_S)], root, env)
        wall_s = time.monotonic() - begun
        assert waited.returncode in (0, 7), waited.stdout + waited.stderr
        cpu = cpu_s(started.pid) - cpu
        tasks = json.loads(run(["agentcoord", "tasks", "--json"], root, env).stdout)["tasks"]
        memory_mib = resident_mib(started.pid)
    finally:
        run(["agentcoordd", "stop", "--now"], root, env)
        follower.kill()
        follower.wait()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    return Played(wall_s, memory_mib, cpu, {task["id"]: task for task in tasks}, told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-peer", action="store_true", help="without the six processes of another agent")
    parser.add_argument("--keep-events", type=Path, help="a file to write the night's event log to")
    wanted = parser.parse_args()
    pieces = draw(wanted.seed)
    critical_s, shared_s = ideal_s(pieces)
    best_s = max(critical_s, shared_s)
    needs = sum(len(piece.needs) for piece in pieces)
    print(f"{TASKS} tasks, {WORKERS} workers, {needs} needs, checks of {CHECK_S:g} s")
    print(f"critical path {critical_s:.1f} s, all work divided by {WORKERS}: {shared_s:.1f} s")
    least_s = greedy_s(pieces)
    print(f"with no overhead, tasks taken as they come: {least_s:.1f} s, {least_s / best_s:.2f} times that")
    sys.stdout.flush()
    base = Path(tempfile.mkdtemp(prefix="ac-"))  # A socket's path may have 107 bytes.
    try:
        played = play(base, pieces)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if wanted.keep_events:
        wanted.keep_events.write_text("".join(json.dumps(event) + "\n" for event in played.events))
    done = sum(task["state"] == "done" for task in played.tasks.values())
    night_s = span_s(played.events)
    ratio = night_s / best_s
    for line in account(played.events, WORKERS, night_s):
        print(line)
    print(f"done {done} of {TASKS}; with the commands `load` and `wait` around it {played.wall_s:.1f} s")
    print(
        f"from the plan's loading to the last landing {night_s:.1f} s, {ratio:.2f} times the ideal, ", end=""
    )
    print(f"{night_s / least_s:.2f} times the night without overhead")
    print(f"the daemon: {played.memory_mib:.0f} MiB at most, {played.cpu_s:.1f} s of processor time")
    held = done == TASKS and ratio <= MOST_RATIO and played.memory_mib <= MOST_MIB
    print(
        f"{'held' if held else 'NOT HELD'}: at most {MOST_RATIO:.2f} times the ideal, {MOST_MIB} MiB",
        flush=True,
    )
    if not wanted.no_peer:
        with tempfile.TemporaryDirectory(prefix="ac-") as folder:
            print("\n".join(compare(Path(folder))))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
