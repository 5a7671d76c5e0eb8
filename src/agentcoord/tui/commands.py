"""The `:` line: which commands there are, what completes them, and what a typed line means. Pure.

A line becomes a `Command` or a `Problem` in words. The words are those of the `agentcoord` program,
so that a person learns them once. Deliberately absent: carrying a command out (`screens/command_run`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Final

from agentcoord.domain.worker import Role
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.themes import THEME_NAMES
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """What was typed, understood."""

    name: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line means nothing."""

    words: str


@dataclass(frozen=True, slots=True)
class Spec:
    """One command."""

    help: str
    usage: str = ""
    least: int = 0
    most: int | None = 0
    """How many words may follow; None: any number."""
    choices: Callable[[DashboardModel], Sequence[str]] = lambda _model: ()
    """What its words can be."""


def _tasks(model: DashboardModel) -> Sequence[str]:
    return list(model.tasks)


def _workers(model: DashboardModel) -> Sequence[str]:
    return [*(worker["name"] for worker in model.workers), "--all"]


def _tasks_and_workers(model: DashboardModel) -> Sequence[str]:
    return [*model.tasks, *(worker["name"] for worker in model.workers)]


def _roles(_model: DashboardModel) -> Sequence[str]:
    return list(Role)


COMMANDS: Final[dict[str, Spec]] = {
    "accept": Spec("mark landed tasks as good", "ID...", 0, None, _tasks),
    "answer": Spec("answer a task's question", "ID TEXT", 1, None, _tasks),
    "cancel": Spec("end tasks; nothing of them lands", "ID...", 0, None, _tasks),
    "cleanup": Spec("release what ended tasks left behind", "[--all]", 0, 1, lambda _model: ("--all",)),
    "comment": Spec("ask for a change on top of a task", "ID [TEXT]", 1, None, _tasks),
    "diff": Spec("what a task changed", "[ID]", 0, 1, _tasks),
    "drain": Spec("stop the daemon when the running tasks have ended"),
    "filter": Spec("show some tasks", "[TERMS]", 0, None),
    "goto": Spec("go to a moment of a replay", "TIME", 1, 1),
    "help": Spec("what every key does"),
    "kill": Spec("stop a worker; its task goes back", "WORKER", 1, 1, _workers),
    "land": Spec("let a flagged change land as it is", "ID...", 0, None, _tasks),
    "log": Spec("the daemon's log, of one task or worker", "[NAME]", 0, 1, _tasks_and_workers),
    "pause": Spec("begin nothing new"),
    "quit": Spec("leave the view; the daemon goes on"),
    "reject": Spec("take a task back and have it done again", "ID [REASON]", 1, None, _tasks),
    "resume": Spec("begin tasks again"),
    "retry": Spec("queue tasks again", "ID...", 0, None, _tasks),
    "review": Spec("walk through what landed, riskiest first"),
    "spawn": Spec("add workers", "ROLE [N]", 1, 2, _roles),
    "speed": Spec("how fast a replay goes", "TIMES", 1, 1),
    "task": Spec("open a task", "ID", 1, 1, _tasks),
    "theme": Spec("other colours", "NAME", 1, 1, lambda _model: THEME_NAMES),
    "undo": Spec("take tasks back, each alone", "ID...", 0, None, _tasks),
    "worker": Spec("watch a worker", "NAME", 1, 1, _workers),
}


def parse_command(line: str) -> Command | Problem | None:
    """Understand a line; None for an empty one. A unique beginning of a name is enough."""
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    if not words:
        return None
    name, *rest = words
    fitting = [name] if name in COMMANDS else [each for each in COMMANDS if each.startswith(name)]
    if not fitting:
        return Problem(f"There is no command {name}. Known: {', '.join(COMMANDS)}.")
    if len(fitting) > 1:
        return Problem(f"{name} could be {' or '.join(fitting)}.")
    spec = COMMANDS[fitting[0]]
    if len(rest) < spec.least or (spec.most is not None and len(rest) > spec.most):
        return Problem(f"Usage: {' '.join((fitting[0], spec.usage)).strip()}")
    return Command(fitting[0], tuple(rest))


def complete(line: str, model: DashboardModel) -> str | None:
    """The line with its last word completed; None when nothing fits."""
    before, space, last = line.rpartition(" ")
    if not space:
        candidates: Sequence[str] = list(COMMANDS)
    else:
        command = parse_first(before)
        candidates = COMMANDS[command].choices(model) if command else ()
    found = next((each for each in candidates if each.startswith(last) and each != last), None)
    return None if found is None or not last else f"{before}{space}{found}"


def parse_first(line: str) -> str | None:
    """The command that a line begins with."""
    first = line.split(maxsplit=1)[0] if line.strip() else ""
    fitting = (
        [first] if first in COMMANDS else [each for each in COMMANDS if first and each.startswith(first)]
    )
    return fitting[0] if len(fitting) == 1 else None
