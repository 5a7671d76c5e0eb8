"""What a run will have cost at its end, from what tasks have cost so far. Pure.

Theory of operation. What ended tasks cost is the sample, those of this run first, filled up with the
newest of earlier runs where there are too few. The end is simulated: each time the sample is drawn anew
from itself (so that a small sample makes a wide forecast), and each open task draws its cost from that,
among the costs above what it has spent already, and no more than its own cap, at which it parks. Half
of the simulated ends lie below P50, nine in ten below P90. Very many open tasks are drawn as one, by the
sample's mean and spread. The dice always start from the same seed: the same state, the same forecast.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence

from agentcoord.domain.usage import UsdMicros
from agentcoord.values import dataclass

ENOUGH = 8
"""So many ended tasks of this run need no help of earlier ones."""
FEWEST = 3
"""With fewer ended tasks in all, nothing can be said."""
SIMULATIONS = 200
DRAWN_ONE_BY_ONE = 48
"""So many open tasks draw for themselves; the others are drawn together."""
MOST_SAMPLES = 60
"""Of ended tasks, the newest: all of them would take the event loop tens of milliseconds."""
_SEED = 1


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that has not ended."""

    spent_usd_micros: int = 0
    cap_usd_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Spend at the end of the run."""

    p50_usd_micros: UsdMicros
    p90_usd_micros: UsdMicros
    tasks_of_this_run: int
    """Ended tasks that it rests on."""
    tasks_of_earlier_runs: int


def forecast(
    spent_usd_micros: int, ended: Sequence[int], earlier: Sequence[int], open_tasks: Sequence[OpenTask]
) -> Forecast | None:
    """Return the forecast; None where too little is known.

    `spent_usd_micros` is what the run has cost so far, open tasks included. `ended` is what ended tasks
    of this run cost, `earlier` those of earlier runs; both newest first.
    """
    own = list(ended[:MOST_SAMPLES])
    borrowed = list(earlier[: max(0, ENOUGH - len(own))])
    sample = own + borrowed
    if len(sample) < FEWEST:
        return None
    dice = random.Random(_SEED)  # noqa: S311 - a simulation, no secret
    ordered = sorted(open_tasks, key=lambda task: -task.spent_usd_micros)
    alone, together = ordered[:DRAWN_ONE_BY_ONE], ordered[DRAWN_ONE_BY_ONE:]
    ends = sorted(
        spent_usd_micros + _still_to_come(dice, sorted(dice.choices(sample, k=len(sample))), alone, together)
        for _ in range(SIMULATIONS)
    )
    return Forecast(
        UsdMicros(ends[SIMULATIONS // 2]),
        UsdMicros(ends[SIMULATIONS * 9 // 10]),
        tasks_of_this_run=len(own),
        tasks_of_earlier_runs=len(borrowed),
    )


def _still_to_come(
    dice: random.Random, sample: Sequence[int], alone: Sequence[OpenTask], together: Sequence[OpenTask]
) -> int:
    """Draw what open tasks will yet cost; `sample` is sorted."""
    left = sum(_draw(dice, sample, task) for task in alone)
    if together:
        mean = sum(sample) / len(sample)
        variance = sum((cost - mean) ** 2 for cost in sample) / len(sample)
        drawn = dice.gauss(mean * len(together), math.sqrt(variance * len(together)))
        left += max(0, round(drawn) - sum(task.spent_usd_micros for task in together))
    return left


def _draw(dice: random.Random, sample: Sequence[int], task: OpenTask) -> int:
    """Draw what one task will yet cost."""
    above = bisect_right(sample, task.spent_usd_micros)
    if above < len(sample):
        end = sample[above + int(dice.random() * (len(sample) - above))]
    else:  # It has cost more than all of them: as if it began anew.
        end = task.spent_usd_micros + sample[int(dice.random() * len(sample))]
    if task.cap_usd_micros is not None:
        end = min(end, task.cap_usd_micros)
    return max(0, end - task.spent_usd_micros)
