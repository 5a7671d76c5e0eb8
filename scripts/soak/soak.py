#!/usr/bin/env python3
"""A soak: thousands of scripted tasks through one daemon, with trouble all the time.

Trouble is `kill -9` of the daemon, ends and hangs of its Redis, steps of the wall clock by up to a day,
storms of clients. In the first two thirds of the time the daemon itself is let live, so that a leak can be
seen. It ends green when every task is done once, nothing was left to wait for, nothing grew that should
not, and nothing is left behind. Prints the seed it threw; `--seed` throws the same again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from soak_trouble import Trouble
from soak_watch import Sample, grown, look, processes_below
from soak_work import make_project, plan, write_script, wrong_in_tree

from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import AgentCoordError
from agentcoord.wire.call import call_once
from agentcoord.wire.messages import Method

STALL_S = 90.0
"""So long nothing was done, with work there, and it is a stall."""
WAVE = 30
"""So many tasks are loaded at a time."""
OPEN_MOST = 60
TASKS_A_MINUTE = 200
"""More than a machine of ours gets done; the server reads a script for each at its start."""
READY_S = 60.0
END_S = 240.0
"""How long the last tasks may take once the trouble is over."""
LOOK_EVERY_S = 2.0
NEVER_LOGGED = ("worker_crashed", "companion_failed", "request_failed", "scrape_failed", "stop_given_up")


class Soak:
    """One project, one daemon after another, and what was seen of them."""

    def __init__(self, base: Path, seed: int, tasks: int) -> None:
        self.base, self.tasks = base, tasks
        self.root, self.scripts = base / "repo", base / "scripts"
        self.temporary = base / "t"
        self.clock_file = base / "clock"
        self.port = _free_port()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "TMPDIR": str(self.temporary),
            "XDG_STATE_HOME": str(base / "s"),
            "XDG_RUNTIME_DIR": str(base / "r"),
            "AGENTCOORD_ALLOW_ROOT": "1",
            "AGENTCOORD_METRICS_PORT": str(self.port),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        for folder in (self.scripts, self.temporary):
            folder.mkdir()
        self.clock_file.write_text("0")
        make_project(self.root, self.env, tasks)
        for number in range(tasks):
            write_script(self.scripts, number)
        self.paths = ProjectPaths.of(self.root, self.env)
        self.loaded = 0
        self.done = 0
        self.samples: list[Sample] = []
        self.dice = random.Random(seed)
        self.trouble = Trouble(self.dice, self.paths, self.clock_file, self.kill_and_start)
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def start(self) -> None:
        """Start a daemon; returns when it is ready."""
        reading, writing = os.pipe()
        program = Path(__file__).with_name("stepping_daemon.py")
        words = [str(self.root), str(self.scripts), str(self.clock_file), str(writing)]
        log = (self.base / "daemon.err").open("ab")
        with log, os.fdopen(reading, "rb") as ready:
            self._daemon = subprocess.Popen(
                [sys.executable, str(program), *words], env=self.env, pass_fds=(writing,), stderr=log
            )
            os.close(writing)
            word = ready.readline()
        if not json.loads(word or b"{}").get("ready"):
            raise SystemExit(f"the daemon did not start: {word.decode()}")

    def kill_and_start(self) -> None:
        """Kill the daemon in whatever it does, and start the next."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()
        self.start()

    def stop(self) -> None:
        """End the daemon in order."""
        assert self._daemon is not None
        self._daemon.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._daemon.wait(READY_S)
            return
        self._daemon.kill()
        self._daemon.wait()
        raise SystemExit("the daemon did not stop when it was asked to")

    def ask(self, method: Method, **params: object) -> dict[str, Any]:
        """Ask the daemon, again while its Redis is away."""
        for _ in range(20):
            try:
                return call_once(self.paths.socket, method, params, 15.0)
            except AgentCoordError as error:
                self._check_alive()
                last = error
                time.sleep(0.5)
        raise SystemExit(f"{method} was refused twenty times: {last}")

    def _check_alive(self) -> None:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise SystemExit(f"the daemon ended by itself with {self._daemon.returncode}")

    def feed(self) -> None:
        """Load the next tasks when few are open; accept what is done, as a person does in the morning."""
        counts: dict[str, int] = self.ask(Method.STATUS)["counts"]
        self.done = counts.get("done", 0)
        if self.loaded < self.tasks and self.loaded - self.done < OPEN_MOST:
            wave = range(self.loaded, min(self.loaded + WAVE, self.tasks))
            self.ask(Method.LOAD, text=plan(wave), format="toml", source="soak")
            self.loaded = wave.stop
            self.ask(Method.ACCEPT, all=True)

    def sample(self, at_s: float) -> None:
        """Look, unless daemon or server are just away."""
        with suppress(OSError, RedisError):
            self.samples.append(look(self.paths, self.temporary, self.port, self.pid, at_s, self.done))


def main() -> int:
    """Soak, print what was seen, and return 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--tasks", type=int, default=0, help="at most so many; else by the minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two troubles, on average")
    parser.add_argument("--keep", action="store_true", help="leave the folder, to look into")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", flush=True)
    with _folder(keep=wanted.keep) as base:
        soak = Soak(base, wanted.seed, wanted.tasks or round(wanted.minutes * TASKS_A_MINUTE))
        soak.start()
        try:
            found = run(soak, wanted.minutes * 60, wanted.every)
        finally:
            if soak._daemon is not None and soak._daemon.poll() is None:  # noqa: SLF001 - our own
                soak._daemon.kill()  # noqa: SLF001 - our own
    for words in found:
        print(f"found: {words}")
    return 1 if found else 0


def run(soak: Soak, for_s: float, every_s: float) -> list[str]:
    """Soak for some seconds, then let all work end; returns what was found."""
    begun = time.monotonic()
    next_look, next_trouble = 0.0, every_s
    moved_at, moved_done = 0.0, 0
    stalls: list[str] = []
    while True:
        now = time.monotonic() - begun
        if soak.done != moved_done:
            moved_at, moved_done = now, soak.done
        elif now - moved_at > STALL_S:
            stalls.append(f"nothing was done for {STALL_S:.0f} s at {now:.0f} s: {_states(soak)}")
            break
        over = now >= for_s
        if over:
            soak.tasks = soak.loaded
        soak.feed()
        if soak.done >= soak.tasks or now >= for_s + END_S:
            break
        if now >= next_look:
            soak.sample(now)
            next_look = now + LOOK_EVERY_S
        if now >= next_trouble and not over:
            kind = soak.trouble.make(may_kill=now > for_s * 2 / 3)
            print(f"{now:7.1f} s  {soak.done:5} done  {kind}", flush=True)
            next_trouble = now + soak.dice.expovariate(1 / every_s)
        time.sleep(0.2)
    return stalls + judged(soak, time.monotonic() - begun)


def judged(soak: Soak, took_s: float) -> list[str]:
    """What is wrong at the end."""
    states = _states(soak)
    found = [f"{count} tasks are {state}" for state, count in states.items() if state != "done" and count]
    costs = soak.ask(Method.COSTS)
    if costs["reserved_usd"]:
        found.append(f"{costs['reserved_usd']} dollars are still set aside")
    if locks := soak.ask(Method.LOCKS)["locks"]:
        found.append(f"{len(locks)} file locks are still held")
    soak.stop()
    found += wrong_in_tree(soak.root, soak.env, range(soak.loaded))
    found += grown(soak.samples)
    found += [f"a process is left: {words}" for words in processes_below(soak.base)]
    for folder in (soak.temporary, soak.paths.runtime_dir):
        found += [f"{path} is left" for path in folder.iterdir()]
    found += [f"the log says {words}" for words in _log_words(soak.paths.log_file)]
    print(f"{soak.done} tasks in {took_s:.0f} s; trouble: {soak.trouble.made}")
    for sample in soak.samples[:: max(1, len(soak.samples) // 12)]:
        print(json.dumps({key: round(value, 1) for key, value in asdict(sample).items()}))
    return found


def _states(soak: Soak) -> dict[str, int]:
    return {state: count for state, count in soak.ask(Method.STATUS)["counts"].items() if count}


def _log_words(log_file: Path) -> Iterator[str]:
    for line in log_file.read_text().splitlines():
        record: Mapping[str, Any] = json.loads(line)
        if record.get("level") == "critical" or record.get("event") in NEVER_LOGGED:
            yield line[:2000]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="ac-soak-"))
    try:
        yield base
    finally:
        if keep:
            print(f"kept: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
