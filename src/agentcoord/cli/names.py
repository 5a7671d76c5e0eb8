"""The names that a completion script asks for: a running daemon's tasks and workers, at once or not at all.

Separate from `completions`, which makes the scripts, because a shell waits for this with every press of
Tab: it imports next to nothing and keeps to a time, after which there are simply no names.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from agentcoord.cli.invocation import Invocation
from agentcoord.errors import AgentCoordError
from agentcoord.wire.protocol import ExitCode, Method

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any

WORDS = ("completions", "--names")
"""What the scripts call this with; a kind and a number of milliseconds follow."""
_ASKED = {"tasks": (Method.TASKS, "id"), "workers": (Method.WORKERS, "name")}
_OF_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def answer_names(argv: Sequence[str], invocation: Invocation) -> int | None:
    """Print the names of a kind, one a line; None when something else was asked for."""
    words = list(argv)
    while len(words) >= 2 and words[0] in ("-C", "--project"):
        invocation = invocation.at(words[1])
        del words[:2]
    if tuple(words[:2]) != WORDS or len(words) != 4 or words[2] not in _ASKED or not words[3].isdecimal():
        return None
    most_s = int(words[3][:5]) / 1000
    if most_s > 0:
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, most_s)
        try:
            _print(words[2], invocation)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return ExitCode.OK


def _print(kind: str, invocation: Invocation) -> None:
    method, key = _ASKED[kind]
    try:
        view: dict[str, Any] = invocation.ask(method)
    except (AgentCoordError, OSError):
        return
    # The shell expands what it is given, so nothing but plain names may be in it.
    names = [str(each[key]) for each in view[kind] if _OF_NAMES.issuperset(str(each[key]))]
    invocation.terminal.text("\n".join(names))


def _give_up(_number: int, _frame: object) -> None:
    os._exit(ExitCode.OK)
