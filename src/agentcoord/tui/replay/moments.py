"""What a person types to name a moment of the night, and which moments stand out in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.tui.glyphs import LIVE, NEEDS_YOU, TROUBLE
from agentcoord.tui.styled import Span, Tone

_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_SHIFT: Final = re.compile(r"([+-])(\d+(?:\.\d+)?)(h|m|min|s)?")
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)%")
_UNIT_S: Final = {"h": 3600, "m": 60, "min": 60, "s": 1, None: 60}
USAGE: Final = "04:30, 04:30:15, +10m, -30s or 50%"

MARKS: Final[Mapping[str, Span]] = {
    EventKind.TASK_DONE: Span("✔", Tone.GOOD),
    EventKind.TASK_PARKED: Span(NEEDS_YOU, Tone.WARN),
    EventKind.QUESTION_ASKED: Span(NEEDS_YOU, Tone.WARN),
    EventKind.BUDGET_REACHED: Span(TROUBLE, Tone.BAD),
    EventKind.TASK_FAILED: Span("✗", Tone.BAD),
    EventKind.WORKER_CRASHED: Span("✗", Tone.BAD),
    EventKind.DAEMON_STARTED: Span(LIVE, Tone.MUTED),
}
"""What is marked on the scrubber; where several fall together, the later one in this table shows."""
_WEIGHT: Final = {kind: i for i, kind in enumerate((EventKind.DAEMON_STARTED, *MARKS))}


def moment_of(text: str, *, begin_ms: int, now_ms: int, zone: tzinfo | None) -> int | None:
    """The moment that a person means; None when the words mean none.

    A time of day is the first such time of the night; `+` and `-` count from the moment that is shown,
    in minutes where no unit stands; a share is asked of `share_of`.
    """
    text = text.strip().lower()
    if found := _SHIFT.fullmatch(text):
        sign, amount, unit = found.groups()
        return now_ms + round(float(f"{sign}{amount}") * _UNIT_S[unit] * 1000)
    if not (found := _CLOCK.fullmatch(text)):
        return None
    hour, minute, second = (int(part or 0) for part in found.groups())
    if hour > 23 or minute > 59 or second > 59:
        return None
    begin = datetime.fromtimestamp(begin_ms / 1000, tz=UTC).astimezone(zone)
    wanted = begin.replace(hour=hour, minute=minute, second=second, microsecond=0)
    if wanted < begin.replace(microsecond=0):
        wanted += timedelta(days=1)
    return round(wanted.timestamp() * 1000)


def share_of(text: str) -> float | None:
    """`50%` as 0.5; None for anything else."""
    found = _SHARE.fullmatch(text.strip())
    return float(found.group(1)) / 100 if found else None


def marks_of(events: Iterable[Mapping[str, Any]]) -> list[tuple[int, Span, int]]:
    """The moments that stand out: when, which sign, and its weight."""
    return [
        (int(event["at_ms"]), MARKS[event["kind"]], _WEIGHT[event["kind"]])
        for event in events
        if event.get("kind") in MARKS
    ]
