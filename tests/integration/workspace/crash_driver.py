"""A process that lands (or undoes) and is killed with `kill -9` before each of its steps in turn.

Run by `test_workspace_crashes.py` as a real subprocess. It forks a child for each step,
before it has any thread; the child kills itself at that step, and further children recover, each killed
one step later, until one of them gets through. What the tree looked like in between and at
the end is printed as JSON for the test to judge. With a number of runs it is killed before so many
system calls instead, spread over all that change something, and recovery is killed at random ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

from agentcoord.domain.ids import TaskId
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.renames import KernelRenames, PlainRenames, Renames
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


CHANGING = {
    *("open", "write", "flush", "fsync", "rename", "replace", "link", "unlink", "remove", "mkdir", "rmdir"),
    *("chmod", "fchmod", "chown", "utime", "setxattr", "ftruncate", "ioctl", "copy_file_range"),
}
"""C functions behind which a system call changes the disk, wherever in the program they are called."""
RECOVERIES_KILLED = 2


KINDS = ("open", "write", "fsync", "move")
"""Kinds of call of which one at least is killed before: calls beside each other come in any order."""


class Calls:
    """Kills the process before the `fatal`-th call that changes the disk; 0: only counts.

    `kind`: of the calls with this name.
    """

    def __init__(self, fatal: int, kind: str = "") -> None:
        self._fatal = fatal
        self._kind = kind
        self.counts: Counter[str] = Counter()
        self.deaf = False
        """While the user saves: that is another program, which nobody kills."""
        self._guard = threading.RLock()  # Writing below is a call as well.

    def hear(self, name: str) -> None:
        with self._guard:
            if self.deaf:
                return
            self.counts[name] += 1
            count = self.counts[name] if self._kind else self.counts.total()
            if count == self._fatal and self._kind in ("", name):
                os.write(2, f"{name}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def profile(self, _frame: FrameType, event: str, called: object) -> None:
        if event == "c_call":
            name = getattr(called, "__name__", "")
            if name in CHANGING:
                self.hear(name)

    def watch(self) -> None:
        """Hear every call of this thread and of those that it will start."""
        threading.setprofile(self.profile)
        sys.setprofile(self.profile)


class HeardRenames:
    """Renames that tell `hear` first: the profiler does not see calls into the C library."""

    def __init__(self, renames: Renames, hear: Callable[[str], None]) -> None:
        self._renames = renames
        self._hear = hear

    def exchange(self, folder: int, one: str, other: str) -> None:
        self._hear("exchange")
        self._renames.exchange(folder, one, other)

    def move(self, folder: int, source: str, target: str) -> None:
        self._hear("move")
        self._renames.move(folder, source, target)


class HeardWithoutLinks(PlainRenames):
    """As on a disk without links, and of each move within an exchange `hear` is told too."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(links=False)
        self._hear = hear

    def move(self, folder: int, source: str, target: str) -> None:
        self._hear("move")
        super().move(folder, source, target)


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
        self._hear: Callable[[str], None] = never_saves
        for path, content in BEFORE.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)

    def lander(self, fault: Callable[[str], None]) -> Lander:
        ways: dict[str, Renames] = {
            "kernel": HeardRenames(KernelRenames(), self._hear),
            "plain": HeardRenames(PlainRenames(), self._hear),
            "no links": HeardWithoutLinks(self._hear),
        }
        git_dir = self.root / ".git"
        repo = Repository(self.root, git_dir, git_dir, git_dir / "objects", "main")
        return Lander(repo, self.journal, clock=HandClock(), renames=ways[self._renames], fault=fault)

    async def land(self, fault: Callable[[str], None]) -> None:
        lander = self.lander(fault)
        files = {path: (BEFORE.get(path), content) for path, content in NEW.items()}
        repo = Repository(self.root, self.root, self.root, self.root, "main")
        ready = staged(repo, files)
        await lander.land(TASK, TOKEN, "t", ready, verify=nothing_to_verify)

    async def killed(self, calls: Calls, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` while `calls` listens; note how many calls it took, if it lived."""
        self._hear = calls.hear
        calls.watch()
        await work()
        sys.setprofile(None)
        counted = self.root.parent / "calls"
        if not counted.exists():  # The first is the landing or the undo; recoveries follow.
            counted.write_text(json.dumps(calls.counts))

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


def play_calls(
    home: Path, scenario: str, renames: str, fatal: int, dice: random.Random, kind: str = ""
) -> dict[str, Any]:
    """Kill before call `fatal` (of one kind), kill recoveries before random calls, recover, and tell."""
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
    calls = Calls(fatal, kind)

    def save_unharmed(step: str) -> None:
        calls.deaf = True
        saver(step)
        calls.deaf = False

    lived = in_child(night.killed(calls, lambda: work(save_unharmed)))
    middle = snapshot(night.root)
    if scenario == "save before recovery":
        save(night.root, "a.py", USERS["a.py"])
    kills = 0
    for _ in range(RECOVERIES_KILLED):
        kills += not in_child(night.killed(Calls(dice.randrange(1, 40)), lambda: night.recover(never_saves)))
    assert in_child(night.recover(never_saves))
    return {
        "lived": lived,
        "middle": {p: c.decode() for p, c in middle.items()},
        "end": {p: c.decode() for p, c in snapshot(night.root).items()},
        "kills": kills,
        **asyncio.run(night.ask()),
    }


def play_runs(home: Path, scenario: str, renames: str, runs: int) -> list[dict[str, Any]]:
    """Kill at `runs` calls: amid some kinds, then evenly over all, or each several times."""
    lived = play_calls(home / "whole", scenario, renames, 0, random.Random(0))
    assert lived["lived"]
    counts = Counter(json.loads((home / "whole/calls").read_text()))
    told, calls = [], counts.total()
    for run in range(runs):
        kind = KINDS[run] if run < len(KINDS) else ""
        fatal = run * calls // runs + 1 if runs <= calls else run % calls + 1
        fatal = (counts[kind] + 1) // 2 if kind else fatal
        told.append(play_calls(home / str(run), scenario, renames, fatal, random.Random(run), kind))
        shutil.rmtree(home / str(run))
    return told


def main() -> None:
    home, scenario, renames = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if len(sys.argv) > 4:
        print(json.dumps(play_runs(home, scenario, renames, int(sys.argv[4]))))
        return
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
