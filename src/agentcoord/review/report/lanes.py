"""The night of each worker, put together from events: what it worked on, waited for, and idled. Pure.

A stretch begins with a claim and ends with whatever ended the claim. Inside it, checking lasts from
`task.checking` to the next fact that ends it, and a wait for a lock lies before the event that tells
of it. Two stretches of one worker overlap while it is at a task and its last one is proven; that
time is counted once. Where events are no longer kept, a task's own start and end stand in for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.usage import usd
from agentcoord.review.report.facts import (
    Doing,
    Lane,
    Outcome,
    Part,
    Stretch,
    StretchEnd,
    TaskStory,
    Timeline,
)
from agentcoord.values import dataclass

NIGHT_GAP_MS: Final = 6 * 3600 * 1000
"""A hole so long between two claims separates two nights; the newest is told."""
LEAST_WAIT_MS: Final = 1000
RATE_LIMITS_SHOWN: Final = 400
Event = Mapping[str, Any]

_ENDS: Final[dict[str, StretchEnd]] = {
    EventKind.TASK_DONE: StretchEnd.LANDED,
    EventKind.TASK_PARKED: StretchEnd.PARKED,
    EventKind.TASK_FAILED: StretchEnd.FAILED,
    EventKind.TASK_REQUEUED: StretchEnd.REQUEUED,
    EventKind.TASK_CANCELLED: StretchEnd.CANCELLED,
    EventKind.TASK_QUEUED: StretchEnd.REQUEUED,
}
_CHECKS_OVER: Final = frozenset({EventKind.TASK_LANDING, EventKind.TASK_TURN, EventKind.TASK_TOOL, *_ENDS})
_STORY_ENDS: Final[dict[Outcome, StretchEnd]] = {
    Outcome.LANDED: StretchEnd.LANDED,
    Outcome.ACCEPTED: StretchEnd.LANDED,
    Outcome.UNDONE: StretchEnd.LANDED,
    Outcome.PARKED: StretchEnd.PARKED,
    Outcome.FAILED: StretchEnd.FAILED,
    Outcome.CANCELLED: StretchEnd.CANCELLED,
}


def timeline_of(
    events: Sequence[Event], tasks: Sequence[TaskStory], workers: Sequence[str], *, now_ms: int
) -> Timeline | None:
    """Return all lanes of the newest night; None when nothing was claimed in it.

    `workers` are those who get a lane even if they did nothing, in order; others follow by name.
    """
    found = _stretches(events, now_ms)
    found += _unwitnessed(tasks, {stretch.task for _, stretch in found}, now_ms)
    found = _newest_night(found)
    if not found:
        return None
    from_ms = min(stretch.from_ms for _, stretch in found)
    to_ms = max(*(stretch.to_ms for _, stretch in found), from_ms + 1)
    spent = _spent_by_worker(events, from_ms)
    names = [*workers, *sorted({worker for worker, _ in found} - set(workers))]
    return Timeline(
        from_ms,
        to_ms,
        tuple(_lane(name, found, spent.get(name, 0.0), to_ms - from_ms) for name in names),
        _rate_limits(events, from_ms, to_ms),
    )


@dataclass(slots=True)
class _Open:
    """A stretch that has begun."""

    worker: str
    task: str
    from_ms: int
    parts: list[Part] = field(default_factory=list)
    checking_since_ms: int | None = None

    def close_checks(self, at_ms: int) -> None:
        if self.checking_since_ms is not None:
            self.parts.append(Part(Doing.CHECKING, self.checking_since_ms, at_ms))
            self.checking_since_ms = None

    def ended(self, at_ms: int, end: StretchEnd) -> tuple[str, Stretch]:
        self.close_checks(at_ms)
        return self.worker, Stretch(self.task, self.from_ms, max(at_ms, self.from_ms), end, tuple(self.parts))


def _stretches(events: Iterable[Event], now_ms: int) -> list[tuple[str, Stretch]]:
    """Every (worker, stretch) that the events tell of."""
    running: dict[str, _Open] = {}
    closed: list[tuple[str, Stretch]] = []
    for event in events:
        kind, task, at_ms = str(event.get("kind")), event.get("task"), int(event.get("at_ms") or 0)
        if not task:
            continue
        opened = running.get(task)
        if kind == EventKind.TASK_CLAIMED:
            if opened is not None:
                closed.append(opened.ended(at_ms, StretchEnd.REQUEUED))
            running[task] = _Open(str(event.get("worker") or ""), task, at_ms)
            continue
        if opened is None:
            continue
        if kind in _CHECKS_OVER:
            opened.close_checks(at_ms)
        if kind in _ENDS:
            closed.append(running.pop(task).ended(at_ms, _ENDS[kind]))
        elif kind == EventKind.TASK_CHECKING:
            opened.close_checks(at_ms)
            opened.checking_since_ms = at_ms
        elif kind == EventKind.LOCK_WAITED:
            _add_wait(opened, at_ms, event.get("data") or {})
    closed += [opened.ended(now_ms, StretchEnd.OPEN) for opened in running.values()]
    return closed


def _add_wait(opened: _Open, at_ms: int, data: Mapping[str, Any]) -> None:
    waited_ms = int(data.get("ms") or 0)
    if waited_ms >= LEAST_WAIT_MS:
        what = f"for {data.get('path', 'a file')}, held by {data.get('holder', 'another task')}"
        opened.parts.append(Part(Doing.WAITING, max(opened.from_ms, at_ms - waited_ms), at_ms, what))


def _unwitnessed(tasks: Iterable[TaskStory], witnessed: set[str], now_ms: int) -> list[tuple[str, Stretch]]:
    """Stretches of tasks whose events are gone, from their start and end alone."""
    return [
        (
            task.worker,
            Stretch(
                task.id,
                task.started_at_ms,
                task.ended_at_ms or now_ms,
                _STORY_ENDS.get(task.outcome, StretchEnd.OPEN),
            ),
        )
        for task in tasks
        if task.id not in witnessed and task.worker and task.started_at_ms is not None
    ]


def _newest_night(found: list[tuple[str, Stretch]]) -> list[tuple[str, Stretch]]:
    """What belongs to the newest night, in order of time."""
    ordered = sorted(found, key=lambda each: each[1].from_ms)
    first, latest_end = 0, 0
    for i, (_, stretch) in enumerate(ordered):
        if i and stretch.from_ms - latest_end > NIGHT_GAP_MS:
            first = i
        latest_end = max(latest_end, stretch.to_ms)
    return ordered[first:]


def _spent_by_worker(events: Iterable[Event], from_ms: int) -> dict[str, float]:
    spent: dict[str, float] = {}
    for event in events:
        if event.get("kind") == EventKind.TASK_TURN and event.get("worker") and event["at_ms"] >= from_ms:
            micros = int((event.get("data") or {}).get("cost_usd_micros") or 0)
            spent[event["worker"]] = spent.get(event["worker"], 0.0) + usd(micros)
    return spent


def _rate_limits(events: Iterable[Event], from_ms: int, to_ms: int) -> tuple[int, ...]:
    times = [int(e["at_ms"]) for e in events if e.get("kind") == EventKind.RATE_LIMITED]
    return tuple(at for at in times if from_ms <= at <= to_ms)[-RATE_LIMITS_SHOWN:]


def _lane(name: str, found: Iterable[tuple[str, Stretch]], cost_usd: float, night_ms: int) -> Lane:
    own = tuple(stretch for worker, stretch in found if worker == name)
    busy_ms = _covered_ms(own)
    waiting_ms = sum(
        part.to_ms - part.from_ms for stretch in own for part in stretch.parts if part.doing is Doing.WAITING
    )
    return Lane(name, own, cost_usd, busy_ms, waiting_ms, max(0, night_ms - busy_ms))


def _covered_ms(stretches: Iterable[Stretch]) -> int:
    """How much time lies in any of these stretches."""
    covered_ms, until_ms = 0, 0
    for each in sorted(stretches, key=lambda stretch: stretch.from_ms):
        covered_ms += max(0, each.to_ms - max(each.from_ms, until_ms))
        until_ms = max(until_ms, each.to_ms)
    return covered_ms
