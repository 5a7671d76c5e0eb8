"""Where a night's workers spent their time, from its event log.

Each task that lands tells what its claim was at, in milliseconds a stretch; between two claims a worker
waits for work, which is counted from the end of one to the beginning of the next.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_ENDS = {"task.done", "task.requeued", "task.parked", "task.failed", "task.cancelled"}
_OTHER = "tools, transcript, store"
_IDLE = "no work, or between two tasks"


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
    for event in events:
        kind, data = event["kind"], event.get("data", {})
        counts[kind] += 1
        if kind == "task.claimed":
            claimed_ms[event["task"]] = event["at_ms"]
        elif kind in _ENDS and event["task"] in claimed_ms:
            whole_s = (event["at_ms"] - claimed_ms.pop(event["task"])) / 1000
            # The copy is made before the claim is told.
            stretches = {name: ms / 1000 for name, ms in data.get("time_spent_ms", {}).items()}
            busy_s += whole_s + stretches.get("copy", 0.0)
            done += kind == "task.done"
            for name, seconds in stretches.items():
                spent[name] += seconds
            spent[_OTHER] += whole_s + stretches.get("copy", 0.0) - sum(stretches.values())
    spent[_IDLE] = workers * wall_s - busy_s
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
