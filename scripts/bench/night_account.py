"""Where a night's workers spent their time, from its event log.

Each task that lands tells what its claim was at, in milliseconds a stretch. A worker has no work where it has
no claim; while its last task is proven it may have two, and that time is counted twice, in a line of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_ENDS = {"task.done", "task.requeued", "task.parked", "task.failed", "task.cancelled"}
_OTHER = "tools, transcript, store"
_IDLE = "no work, or between two tasks"
_TWO = "of all this, two tasks at once"
_BEFORE = ("declared", "copy")
"""Stretches that are over when the claim is told."""


def span_s(events: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds from the plan's loading to the last landing."""
    at_ms = defaultdict(list)
    for event in events:
        at_ms[event["kind"]].append(event["at_ms"])
    return float(max(at_ms["task.done"]) - min(at_ms["plan.loaded"])) / 1000


def account(events: Iterable[Mapping[str, Any]], workers: int, wall_s: float) -> list[str]:
    """Return lines: seconds a stretch over all workers, a task, and of all the time that there was."""
    spent: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    busy_s, done = 0.0, 0
    claimed_ms: dict[str, int] = {}
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        kind, data = event["kind"], event.get("data", {})
        counts[kind] += 1
        if kind == "task.claimed":
            claimed_ms[event["task"]] = event["at_ms"]
        elif kind in _ENDS and event["task"] in claimed_ms:
            whole_s = (event["at_ms"] - claimed_ms.pop(event["task"])) / 1000
            stretches = {name: ms / 1000 for name, ms in data.get("time_spent_ms", {}).items()}
            whole_s += sum(stretches.get(name, 0.0) for name in _BEFORE)
            ended_s = event["at_ms"] / 1000
            spans[event["worker"]].append((ended_s - whole_s, ended_s))
            done += kind == "task.done"
            for name, seconds in stretches.items():
                spent[name] += seconds
            spent[_OTHER] += whole_s - sum(stretches.values())
            busy_s += whole_s
    at_work_s = sum(_covered_s(each) for each in spans.values())
    spent[_IDLE] = workers * wall_s - at_work_s
    spent[_TWO] = busy_s - at_work_s
    everything_s = workers * wall_s
    lines = ["where the workers' time went       seconds   a task   share"]
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        share = 100 * seconds / everything_s
        lines.append(f"  {name:<30} {seconds:>9.1f} {seconds / max(done, 1):>8.2f} {share:>6.1f}%")
    lines.append(
        f"{counts['task.checked']} checks for {done} landings, {counts['lock.waited']} waits for a lock, "
        f"{counts['task.requeued']} requeued"
    )
    return lines


def _covered_s(spans: list[tuple[float, float]]) -> float:
    """Return how much time lies in any of these spans."""
    covered_s, until_s = 0.0, 0.0
    for begin_s, end_s in sorted(spans):
        covered_s += max(0.0, end_s - max(begin_s, until_s))
        until_s = max(until_s, end_s)
    return covered_s
