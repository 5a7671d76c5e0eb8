"""A small real project, its scripted model and its daemon, all in folders of one test.

Everything is driven as a user would: the two commands of this environment, real processes,
real sockets. Waiting is done on the daemon's own events, never on time alone. Only plans are mostly loaded
by the command's function: dozens of tests begin with one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcoord.cli.agentcoord import main as agentcoord_main
from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import WireError
from agentcoord.wire.call import call_once
from agentcoord.wire.client import ControlClient
from agentcoord.wire.messages import Method, Topic

BIN = Path(sys.executable).parent
COMMAND_TIMEOUT_S = 90
EVENT_TIMEOUT_S = 45.0
EDITOR = "str_replace_based_edit_tool"
PYTHON = "python3"
CHECK = f"{PYTHON} -m unittest discover -s tests -q"
CONFIG = f"""
[project]
scope = ["*.py", "tests/**"]

[checks]
tests = "{CHECK}"
"""
CALC = '''"""Sums."""


def add(a, b):
    return a + b


# middle


def mul(a, b):
    return a * b
'''
TESTS = """import unittest

import calc


class Sums(unittest.TestCase):
    def test_add(self):
        self.assertEqual(calc.add(1, 2), 3)
"""

PROJECT = {"calc.py": CALC, "tests/test_calc.py": TESTS, "agentcoord.toml": CONFIG, ".gitignore": "*.pyc\n"}


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document of `--json`."""
        assert self.code == 0, self.err
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Night:
    """One project and everything around it."""

    def __init__(self, base: Path, *, name: str = "shop") -> None:
        self.base = base
        self.root = base / name
        self.scripts = base / "scripts"
        self.env = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(base),
            "XDG_STATE_HOME": str(base / "s"),
            "XDG_RUNTIME_DIR": str(base / "r"),
            "AGENTCOORD_ALLOW_ROOT": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "COLUMNS": "160",
            # `make coverage` counts what the daemon and the commands do, too.
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
        }
        self.scripts.mkdir()
        self.script("unused", {"text": "The server wants at least one script."})
        self._pids: set[int] = set()

    @property
    def paths(self) -> ProjectPaths:
        return ProjectPaths.of(self.root, self.env)

    def make_project(self, files: Mapping[str, str] | None = None, *, commit: bool = True) -> None:
        """Write the small project (or `files`) as a git repository."""
        wanted = {
            "calc.py": CALC,
            "tests/test_calc.py": TESTS,
            "agentcoord.toml": CONFIG,
            ".gitignore": "*.pyc\n",
        }
        for path, text in (wanted if files is None else files).items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        self.root.mkdir(exist_ok=True)
        self.git("init", "-q")
        if commit:
            self.git("add", "-A")
            self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start", "--allow-empty")

    def git(self, *words: str) -> str:
        """Run git in the project as its user would."""
        done = subprocess.run(["git", *words], cwd=self.root, env=self.env, capture_output=True, check=True)
        return done.stdout.decode()

    def script(self, task: str, *turns: Mapping[str, Any]) -> None:
        """Write what the scripted model does for `task`; JSON is TOML's inline value syntax, nearly."""
        lines = [f"task = {json.dumps(task)}"]
        for turn in turns:
            lines.append("[[turn]]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in turn.items() if key != "tools"]
            for tool, arguments in turn.get("tools", ()):
                lines += ["[[turn.tool]]", f"name = {json.dumps(tool)}", "[turn.tool.input]"]
                lines += [f"{key} = {json.dumps(value)}" for key, value in arguments.items()]
        (self.scripts / f"{task}.toml").write_text("\n".join(lines) + "\n")

    def plan(self, text: str) -> Path:
        """Write a plan beside the project."""
        path = self.base / "plan.toml"
        path.write_text(text)
        return path

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Done:
        """Run one of our commands in the project."""
        command = [str(BIN / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(
            command,
            cwd=cwd or self.root,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *, latency: float = 1.0) -> int:
        """Start the daemon on the scripts, in the background; return its pid. `latency` scales thinking."""
        from agentcoord.daemon.background_start import start_background
        from agentcoord.daemon.start_args import StartArgs

        args = StartArgs(rehearse=self.scripts, rehearsal_latency=latency)
        started = start_background(self.root, args=args, env=self.env)
        self._pids.add(started.pid)
        return started.pid

    def load(self, text: str) -> None:
        """Load a plan through the command, in this process: to start another takes most of the time."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = agentcoord_main(["-C", str(self.root), "load", str(self.plan(text))], self.env)
        assert code == 0, said.getvalue()

    def call(self, method: Method, **params: object) -> dict[str, Any]:
        return call_once(self.paths.socket, method, params, 10.0)

    def tasks(self) -> dict[str, dict[str, Any]]:
        """All tasks by id, as `agentcoord tasks --json` prints them."""
        return {task["id"]: task for task in self.run("agentcoord", "tasks", "--json").document["tasks"]}

    async def wait_for(self, kind: str, task: str | None = None, **data: object) -> dict[str, Any]:
        """Wait for an event of this run, past ones included; return it."""
        async with (
            asyncio.timeout(EVENT_TIMEOUT_S),
            ControlClient.connect(self.paths.socket, client_name="test") as client,
        ):
            subscription = await client.subscribe([Topic.EVENTS], since=(client.hello["epoch"], 0))
            async for notice in subscription:
                event = notice.params.get("event")
                if event is None or event["kind"] != kind or (task is not None and event["task"] != task):
                    continue
                if all(event["data"].get(key) == value for key, value in data.items()):
                    return dict(event)
        raise AssertionError("the subscription ended")

    async def all_events(self) -> list[dict[str, Any]]:
        """Every event so far, in order."""
        events: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(EVENT_TIMEOUT_S),
            ControlClient.connect(self.paths.socket, client_name="test") as client,
        ):
            subscription = await client.subscribe([Topic.EVENTS], since=(client.hello["epoch"], 0))
            newest = (await client.call(Method.STATS))["events"]
            async for notice in subscription:
                events.append(notice.params["event"])
                if events[-1]["seq"] >= newest:
                    break
        return events

    def check(self) -> None:
        """The project's own check passes in the real tree."""
        done = subprocess.run(
            CHECK.split(),
            cwd=self.root,
            env={**self.env, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def wait_until_stopped(self) -> None:
        """Wait until every daemon that this night started is gone."""
        assert all(wait_gone(pid, 30.0) for pid in self._pids)

    def stop(self) -> None:
        """End whatever of this night still runs."""
        with contextlib.suppress(WireError):
            self.call(Method.STOP, now=True)
        with contextlib.suppress(OSError, ValueError):
            self._pids.add(json.loads(self.paths.identity_file.read_text())["pid"])
        for pid in self._pids:
            with contextlib.suppress(OSError):
                wait_gone(pid, 15.0)
                os.kill(pid, signal.SIGKILL)


def until(is_so: Callable[[], bool]) -> None:
    """Look again until it is so; bounded."""
    give_up_at = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < give_up_at


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait until a process has ended, child of ours or not."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            import select

            if not select.select([descriptor], [], [], timeout_s)[0]:
                return False
        finally:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return True


@contextlib.contextmanager
def night(name: str = "shop") -> Iterator[Night]:
    """A night in a folder with a short path (a socket's path may have 107 bytes)."""
    base = Path(tempfile.mkdtemp(prefix="ac-"))
    made = Night(base, name=name)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(base, ignore_errors=True)


def view(path: str) -> tuple[str, dict[str, Any]]:
    return EDITOR, {"command": "view", "path": path}


def replace(path: str, old: str, new: str) -> tuple[str, dict[str, Any]]:
    return EDITOR, {
        "command": "str_replace",
        "path": path,
        "old_str": old,
        "new_str": new,
    }


def create(path: str, text: str) -> tuple[str, dict[str, Any]]:
    return EDITOR, {"command": "create", "path": path, "file_text": text}


def bash(command: str) -> tuple[str, dict[str, Any]]:
    return "bash", {"command": command}


def finish(summary: str = "done") -> tuple[str, dict[str, Any]]:
    return "finish_task", {"summary": summary, "decisions": []}


def one_task(task: str = "t", *, extra: str = "") -> str:
    """A plan with one task."""
    return f'[[task]]\nid = "{task}"\ntitle = "Task {task}"\n{extra}\n'
