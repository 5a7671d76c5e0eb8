"""What `agentcoord doctor` finds: one thing looked at, how it looks, and what may mend it.

Separate so that those who look (`looks_machine`, `looks_project`) and who tells (`doctor`) share it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from agentcoord.errors import AgentCoordError
from agentcoord.values import dataclass


class Verdict(StrEnum):
    """How one thing looks."""

    OK = "ok"
    WARN = "warn"
    """A night can begin, with less."""
    FAIL = "fail"
    """No night can begin."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that `--fix` may do: it touches nothing but our own files, or the user's own session."""

    words: str
    """What will be done, said before it is: `remove the socket ...`."""
    act: Callable[[], None]
    """Does it. Raises OSError or AgentCoordError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    verdict: Verdict
    words: str
    mend: str = ""
    repair: Repair | None = None


def guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """Look; what cannot even be looked at is a finding too."""
    try:
        return look()
    except AgentCoordError as error:
        return Finding(name, Verdict.FAIL, str(error), error.mend)
    except OSError as error:
        return Finding(name, Verdict.FAIL, f"cannot be looked at: {error}")
