"""Who comes first: the score of a waiting task, and the form in which its declared writes are compared.

Pure, and separate from the queue, because these two rules decide what a night does first.

The rule of service. A task's score is its rank minus `PRIORITY_LEVEL_MS` for each level of priority;
the lowest score goes first. Ranks are milliseconds since the epoch, made strictly increasing in the
order of loading, so that within one priority the older task wins, and a task that has waited one hour
longer than another overtakes a priority one level above its own: nothing starves. The score never
changes by claiming: a task that comes back has its old place. When a clock that was ahead is put right, ranks
go on a millisecond apart until it has caught up: priorities count as ever then, and waiting does not.
"""

from __future__ import annotations

from collections.abc import Iterable

PRIORITY_LEVEL_MS = 3_600_000
"""How much age one level of priority is worth."""
HEADS_COMPARED = 8
"""How many tasks at the head of a route are looked at for one whose writes nobody declares."""
PASSED_OVER_MS = 5 * PRIORITY_LEVEL_MS
"""How far behind in line one may be that goes before a task whose writes somebody declares: more than all
levels of priority are worth, and not without end, or a task that declares a whole folder would starve."""
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
        clean = _clean(pattern)
        lines.add(f"={clean}" if _is_one_file(clean) else f"^{clean[: _first_glob_character(clean)]}")
    return "\n".join(sorted(lines))


def single_files(writes: Iterable[str]) -> tuple[str, ...]:
    """Return those of the declared writes that are one file each, sorted."""
    return tuple(sorted({clean for pattern in writes if _is_one_file(clean := _clean(pattern))}))


def _clean(pattern: str) -> str:
    return pattern.removeprefix("./").lstrip("/").replace("\n", "?")


def _first_glob_character(clean: str) -> int:
    return min((clean.index(c) for c in _GLOB_CHARACTERS if c in clean), default=len(clean))


def _is_one_file(clean: str) -> bool:
    return clean != "" and not clean.endswith("/") and _first_glob_character(clean) == len(clean)
