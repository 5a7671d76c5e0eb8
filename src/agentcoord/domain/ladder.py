"""The ladder: which model, at which effort, each attempt of a task is made with.

An entry is a model's name, and an effort after a space where the rung has one of its own. No model's
name holds a space, while `:`, `@` and `/` do occur in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentcoord.values import dataclass

EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder."""

    model: str
    effort: str
    """Empty: not sent."""

    @classmethod
    def of(cls, entry: str, default_effort: str) -> Rung:
        """Read one entry. Raises ValueError, in words, when it is none."""
        words = entry.split()
        if len(words) not in (1, 2):
            raise ValueError(f"{entry!r} is no model's name, with or without an effort after a space")
        if len(words) == 2 and words[1] not in EFFORTS:
            raise ValueError(f"the effort of {entry!r} is none of {', '.join(EFFORTS)}")
        return cls(words[0], words[1] if len(words) == 2 else default_effort)


def rung_for(attempt: int, ladder: Sequence[Rung]) -> Rung:
    """Return the rung of an attempt, from 1; the last one is kept."""
    return ladder[min(max(attempt, 1), len(ladder)) - 1]
