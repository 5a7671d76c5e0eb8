"""What part of the workers' time passed without a task, from the events of tasks. Pure.

A worker may hold two tasks for a moment: the next one begins while the last is proven. What was before the
first event that we know is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentcoord.domain.events import EventKind

_ENDS: Final = frozenset(
    {
        EventKind.TASK_DONE,
        EventKind.TASK_REQUEUED,
        EventKind.TASK_PARKED,
        EventKind.TASK_FAILED,
        EventKind.TASK_CANCELLED,
    }
)
_HOLDS: Final = frozenset(
    {
        EventKind.TASK_CLAIMED,
        EventKind.TASK_TURN,
        EventKind.TASK_TOOL,
        EventKind.TASK_CHECKING,
        EventKind.TASK_CHECKED,
        EventKind.TASK_LANDING,
    }
)
_Span = tuple[int, int]


def idle_parts(
    events: Iterable[Mapping[str, Any]], *, begin_ms: int, now_ms: int, parts: int, workers: int
) -> tuple[float | None, ...]:
    """Return the idle share, 0 to 1, of each of `parts` equal parts from `begin_ms` to `now_ms`.

    None for a part of which we know nothing. `events` are in order; `workers`: how many there are now.
    """
    known_from, spans = _busy_spans(events, now_ms)
    part_ms = (now_ms - begin_ms) / parts
    busy_ms = [0.0] * parts
    for start, end in spans:
        first = max(0, int((start - begin_ms) / part_ms))
        last = min(parts - 1, int((end - begin_ms) / part_ms))
        for part in range(first, last + 1):
            from_ms = begin_ms + part * part_ms
            busy_ms[part] += max(0.0, min(end, from_ms + part_ms) - max(start, from_ms))
    return tuple(
        None
        if workers == 0 or known_from is None or begin_ms + (part + 1) * part_ms <= known_from
        else min(1.0, max(0.0, 1 - busy / (workers * part_ms)))
        for part, busy in enumerate(busy_ms)
    )


def _busy_spans(events: Iterable[Mapping[str, Any]], now_ms: int) -> tuple[int | None, list[_Span]]:
    """Return when what we know begins, and from when until when each worker held a task."""
    known_from: int | None = None
    held: dict[str, set[str]] = {}
    since: dict[str, int] = {}
    spans: list[_Span] = []
    for event in events:
        at_ms, kind = int(event.get("at_ms") or 0), event.get("kind")
        known_from = at_ms if known_from is None else known_from
        worker, task = str(event.get("worker") or ""), str(event.get("task") or "")
        if not worker or not task:
            continue
        if kind in _HOLDS:
            if worker not in since:
                # Whoever is first heard of in the middle of a task had it before we looked.
                unseen = worker not in held and kind != EventKind.TASK_CLAIMED
                since[worker] = known_from if unseen else at_ms
            held.setdefault(worker, set()).add(task)
        elif kind in _ENDS:
            begun = since.get(worker, known_from if worker not in held else at_ms)
            tasks = held.setdefault(worker, set())
            tasks.discard(task)
            if not tasks:
                spans.append((begun, at_ms))
                since.pop(worker, None)
    spans += [(start, now_ms) for start in since.values()]
    return known_from, spans
