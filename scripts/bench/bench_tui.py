#!/usr/bin/env python3
"""The dashboard under load, beside the same rows in Textual's `DataTable`, in the same run.

First data after the command, in a real (pseudo) terminal; 20,000 events a second in, with keys pressed
meanwhile; the processor at a normal night's rate, with nobody at it and with a person at the keys; memory
over 100,000 events. Each look is a process of its own, and so is what it looks at (`tui_flood`), which
speaks the daemon's protocol. Prints one JSON object. Linux only.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
BIN: Final = Path(sys.executable).parent
FLOOD_A_S: Final = 20_000
ROWS_A_S: Final = 4.0
"""As often as the daemon tells rows at most."""
NIGHT_EVENTS_A_S: Final = 3.0
NIGHT_ROWS_A_S: Final = 1.0
"""Six workers with a turn of three calls every ten seconds or so; something changes each second."""
NIGHT_TASKS: Final = 6
ALL_TASKS: Final = 40
KEYS_A_S: Final = 10.0
WATCHER_KEYS_A_S: Final = 0.5
"""A person who is at it now and then: the dashboard draws four times a second for them."""
PATIENCE_S: Final = 60.0


@contextmanager
def flood(
    events_a_s: float, rows_a_s: float, tasks_a_time: int, socket: Path | None = None
) -> Iterator[Path]:
    """Something that talks so fast, on a socket."""
    with tempfile.TemporaryDirectory(prefix="ac-t-") as folder:
        path = socket or Path(folder) / "s"
        command = [sys.executable, str(HERE / "tui_flood.py"), str(path), str(events_a_s), str(rows_a_s)]
        command.append(str(tasks_a_time))
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield path
            finally:
                process.kill()


def look(socket: Path, kind: str, seconds: float, keys_a_s: float) -> dict[str, Any]:
    """What a dashboard of this kind took, and lost."""
    command = [sys.executable, str(HERE / "tui_look.py"), str(socket), kind, str(seconds), str(keys_a_s)]
    # What it says on standard error goes to the person: without it a look that failed cannot be mended.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, timeout=seconds + PATIENCE_S
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until_it_shows(command: list[str], wanted: bytes, cwd: Path, env: dict[str, str]) -> tuple[float, float]:
    """Run a command in a pseudo terminal until these bytes are written to it; wall and processor seconds."""
    begun = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(command[0], command, env)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 150, 0, 0))
    seen = b""
    try:
        while wanted not in seen:
            ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
            if not ready:
                raise SystemExit(f"{command[-1]} never showed {wanted!r}")
            seen = (seen + os.read(descriptor, 65536))[-200_000:]
        wall = time.perf_counter() - begun
    finally:
        os.kill(pid, 9)
        os.close(descriptor)
        usage = os.wait4(pid, 0)[2]
    return wall, usage.ru_utime + usage.ru_stime


def first_data(rounds: int) -> dict[str, Any]:
    """`agentcoord dashboard` until the first task is on the screen, beside a bare interpreter and Textual."""
    from agentcoord.config.paths import ProjectPaths

    with tempfile.TemporaryDirectory(prefix="ac-t-") as folder:
        root = Path(folder) / "repo"
        (root / ".git").mkdir(parents=True)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "XDG_STATE_HOME": f"{folder}/s",
            "XDG_RUNTIME_DIR": f"{folder}/r",
            "AGENTCOORD_ALLOW_ROOT": "1",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        paths = ProjectPaths.of(root, env)
        paths.make()
        with flood(NIGHT_EVENTS_A_S, NIGHT_ROWS_A_S, NIGHT_TASKS, paths.socket):
            ours = [str(BIN / "agentcoord"), "dashboard"]
            bare = [sys.executable, "-c", "print('task-00')"]
            textual = [sys.executable, "-c", "import textual.app, textual.widgets; print('task-00')"]
            times = {
                name: [until_it_shows(command, b"task-00", root, env) for _ in range(rounds)]
                for name, command in (("dashboard", ours), ("bare", bare), ("textual_imported", textual))
            }
    return {
        name: {
            "median_ms": round(1000 * statistics.median(wall for wall, _ in each)),
            "least_ms": round(1000 * min(wall for wall, _ in each)),
            "processor_ms": round(1000 * statistics.median(cpu for _, cpu in each)),
        }
        for name, each in times.items()
    }


def main() -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5, help="how often to start")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each look is")
    wanted = parser.parse_args()
    found: dict[str, Any] = {"first_data": first_data(wanted.rounds)}
    for name, events, rows, tasks, keys, seconds in (
        ("flood", FLOOD_A_S, ROWS_A_S, ALL_TASKS, KEYS_A_S, wanted.seconds),
        ("night", NIGHT_EVENTS_A_S, NIGHT_ROWS_A_S, NIGHT_TASKS, 0.0, 2 * wanted.seconds),
        ("watched", NIGHT_EVENTS_A_S, NIGHT_ROWS_A_S, NIGHT_TASKS, WATCHER_KEYS_A_S, 2 * wanted.seconds),
    ):
        found[name] = {}
        for kind in ("ours", "datatable"):
            with flood(events, rows, tasks) as socket:
                found[name][kind] = look(socket, kind, seconds, keys)
    for name in ("night", "watched"):
        ours, peer = found[name]["ours"]["cpu_percent"], found[name]["datatable"]["cpu_percent"]
        found[name]["datatable_over_ours_cpu"] = round(peer / ours, 2) if ours else None
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
