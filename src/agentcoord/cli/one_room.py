"""The Typer side of one command alone: of the files of commands only that one is imported that holds it.

Most commands ask the daemon one thing, and what they need is imported in a tenth of a second; what all others
need beside it takes as long again. Whatever is not the plain call of a command (`--help`, `help`, a name that
there is not) gets the whole program of `agentcoord_app`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Final

import typer

from agentcoord.cli.help_pages import group
from agentcoord.cli.options import surroundings

ROOMS: Final = {
    "adopt_command": ("adopt",),
    "changing_commands": (
        *("spawn", "retry", "cancel", "answer", "land", "accept", "undo", "reject", "cleanup"),
        "ctl",
    ),
    "commit_command": ("commit",),
    "night_commands": ("run", "rehearse", "load", "wait", "demo"),
    "plan_commands": ("add", "plan"),
    "project_commands": ("init", "config", "doctor"),
    "reading_commands": (
        *("status", "tasks", "workers", "costs", "stats", "locks", "task", "diff", "blame", "logs"),
        "dashboard",
    ),
    "report_command": ("report",),
    "review_command": ("review",),
    "shell_commands": ("completions", "schema"),
}
"""Which command stands in which file, as `agentcoord_app` has it of the files themselves."""

GROUPS: Final = ("ctl", "plan")


def program_for(words: Sequence[str]) -> typer.Typer:
    """The smallest program that answers `words` as the whole one does; `-C DIR` stands in front."""
    name = _command_in(words)
    for room, names in ROOMS.items():
        if name in names:
            return _one_room(room)
    from agentcoord.cli.agentcoord_app import app

    return app


@cache
def _one_room(room: str) -> typer.Typer:
    found = import_module(f"agentcoord.cli.{room}")
    program = group("")
    program.callback()(surroundings)
    program.add_typer(found.commands)
    for name in GROUPS:
        if name in ROOMS[room]:
            program.add_typer(getattr(found, name), name=name)
    return program


def _command_in(words: Sequence[str]) -> str:
    """The first word behind the project; "" where another option stands there."""
    rest = iter(words)
    for word in rest:
        if word in ("-C", "--project"):
            next(rest, None)
        elif not word.startswith(("-C", "--project=")):
            return "" if word.startswith("-") else word
    return ""
