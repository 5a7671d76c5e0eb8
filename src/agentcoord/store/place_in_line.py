"""Who comes first: the score of a waiting task, and the form in which its declared writes are compared.

Pure, and separate from the queue, because these two rules decide what a night does first.

The rule of service. A task's score is its rank minus `PRIORITY_LEVEL_MS` for each level of priority;
the lowest score goes first. Ranks are milliseconds since the epoch, made strictly increasing in the
order of loading, so that within one priority the older task wins, and a task that has waited one hour
longer than another overtakes a priority one level above its own: nothing starves. The score never
changes by claiming: a task that comes back has its old place.
"""

from __future__ import annotations

from collections.abc import Iterable

PRIORITY_LEVEL_MS = 3_600_000
"""How much age one level of priority is worth."""
HEADS_COMPARED = 8
"""How many tasks at the head of a route are looked at for one whose writes nobody declares."""
_GLOB_CHARACTERS = "*?["


def priority_bonus_ms(priority: int) -> int:
    """How far ahead in line this priority puts a task."""
    return priority * PRIORITY_LEVEL_MS


def encode_writes(writes: Iterable[str]) -> str:
    """Return declared writes as `dispatch.lua` compares them, one a line; empty when there are none.

    `=path` is one file. `^prefix` stands for a glob (the text before its first special character) or a
    folder: it collides with every path and prefix that begins with it, or that it begins with. Judged
    too widely at times, never too narrowly, which is right for a hint.
    """
    lines = set()
    for pattern in writes:
        clean = pattern.removeprefix("./").lstrip("/").replace("\n", "?")
        cut = min((clean.index(c) for c in _GLOB_CHARACTERS if c in clean), default=len(clean))
        is_literal = cut == len(clean) and clean != "" and not clean.endswith("/")
        lines.add(f"={clean}" if is_literal else f"^{clean[:cut]}")
    return "\n".join(sorted(lines))
