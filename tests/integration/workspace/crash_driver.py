"""A process that lands (or undoes) and is killed with `kill -9` before each of its steps in turn.

Run by `test_workspace_crashes.py` as a real subprocess. It forks a child for each step,
before it has any thread; the child kills itself at that step, and further children recover, each killed
one step later, until one of them gets through. What the tree looked like in between and at
the end is printed as JSON for the test to judge.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.renames import KernelRenames, PlainRenames
from agentcoord.workspace.repository import Repository
from workspace_kit import LINES, TOKEN, HandClock, nothing_to_verify, save, snapshot, staged

TASK = TaskId("crashed")
BEFORE = {"a.py": LINES, "d/b.py": b"b\n", "keep.py": b"keep\n"}
NEW = {"a.py": LINES + b"task\n", "d/b.py": b"B\n", "n/e/c.py": b"c\n"}
AFTER = {**BEFORE, **NEW}
USERS = {"a.py": b"user\n" + LINES, "d/b.py": b"the user's own\n"}
MAX_STEPS = 200


Saver = Callable[[str], None]
KILLED_AGAIN = ("land", "save in between")
"""In these, recovery itself is killed at each of its steps too."""


class Steps:
    """The fault hook: kills the process before step `fatal`, and tells `saver` of each step."""

    def __init__(self, fatal: int, saver: Saver) -> None:
        self._left = fatal
        self._saver = saver

    def __call__(self, step: str) -> None:
        self._saver(step)
        self._left -= 1
        if self._left == 0:
            os.write(2, f"{step}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def never_saves(step: str) -> None:
    """The user sleeps."""


def saving_at(root: Path, chosen: str, path: str) -> Saver:
    """The user saves `path` once, when the first step named `chosen` is about to be taken."""
    saved: list[str] = []

    def hear(step: str) -> None:
        if step == chosen and not saved:
            saved.append(step)
            save(root, path, USERS[path])

    return hear


def in_child(work: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine in a child process; whether it lived to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(work)
            code = 0
        finally:
            os._exit(code)
    work.close()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the child failed instead of being killed"
    return True


class Night:
    """One attempt: a fresh tree and journal, and what is done to them."""

    def __init__(self, home: Path, renames: str) -> None:
        self.root = home / "repo"
        self.journal = home / "journal"
        self._renames = renames
        for path, content in BEFORE.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)

    def lander(self, fault: Callable[[str], None]) -> Lander:
        renames = PlainRenames() if self._renames == "plain" else KernelRenames()
        git_dir = self.root / ".git"
        repo = Repository(self.root, git_dir, git_dir, git_dir / "objects", "main")
        return Lander(repo, self.journal, clock=HandClock(), renames=renames, fault=fault)

    async def land(self, fault: Callable[[str], None]) -> None:
        lander = self.lander(fault)
        files = {path: (BEFORE.get(path), content) for path, content in NEW.items()}
        repo = Repository(self.root, self.root, self.root, self.root, "main")
        ready = staged(repo, files)
        await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)

    async def undo(self, fault: Callable[[str], None]) -> None:
        await self.lander(fault).undo(TASK)

    async def recover(self, fault: Callable[[str], None]) -> None:
        await self.lander(fault).recover()

    async def ask(self) -> dict[str, Any]:
        lander = self.lander(never_saves)
        history = await lander.history()
        return {
            "landed": await lander.landed(TASK) is not None,
            "undone": [r.undone_at_ms is not None for r in history],
            "recovered_again": await lander.recover(),
        }


def play(home: Path, scenario: str, renames: str, fatal: int) -> dict[str, Any] | None:
    """Kill at step `fatal`, recover, and tell; None when the work has fewer steps."""
    night = Night(home, renames)
    saver: Saver = never_saves
    work = night.land
    if scenario == "undo":
        assert in_child(night.land(never_saves))
        work = night.undo
    if scenario == "save in between":
        saver = saving_at(night.root, "swap 1", "d/b.py")
    if scenario == "save behind the swap":
        saver = saving_at(night.root, "swap 1", "a.py")
    if in_child(work(Steps(fatal, saver))):
        return None
    middle = snapshot(night.root)
    if scenario == "save before recovery":
        save(night.root, "a.py", USERS["a.py"])
    kills = 0
    first = 1 if scenario in KILLED_AGAIN and renames == "kernel" else MAX_STEPS
    while not in_child(night.recover(Steps(first + kills, never_saves))):
        kills += 1
        assert kills < MAX_STEPS
    return {
        "middle": {p: c.decode() for p, c in middle.items()},
        "end": {p: c.decode() for p, c in snapshot(night.root).items()},
        "kills": kills,
        **asyncio.run(night.ask()),
    }


def main() -> None:
    home, scenario, renames = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    told = []
    for fatal in range(1, MAX_STEPS):
        outcome = play(home / str(fatal), scenario, renames, fatal)
        shutil.rmtree(home / str(fatal))
        if outcome is None:
            break
        told.append(outcome)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
