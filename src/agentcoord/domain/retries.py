"""What follows a setback: another try now or later, a person's decision, or the end.

The one place that knows the rule; pure, so that clock and chance are handed in. Deliberately absent:
waiting for a server's limits between two calls of one conversation (`llm.pacing`), and doing what is
decided (the daemon, the store).

The rule. A fault of the attempt's own costs an attempt; when `attempts` are spent, or the same cause
has come as often as its own limit, the task fails. A fault of the environment costs none; when it has
come as often as its limit, the task is parked, because trying on would only be silent waiting. Waits
before the next try double with each setback of the same kind, up to a cap, and a random share of that
is waited ("full jitter", M. Brooker, "Exponential Backoff and Jitter", 2015), so that tasks which
failed together do not come back together. Counts begin anew when a person brings a task back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType

from agentcoord.domain.setbacks import ENVIRONMENT_FAULTS, OWN_FAULTS, Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.values import dataclass

_WAITED_OUT = frozenset(
    {Setback.OVERLOADED, Setback.UNREACHABLE, Setback.REFUSED, Setback.BROKEN, Setback.CRASHED}
)
"""Setbacks that may pass by waiting. After the others the next try differs, or begins when it can."""
_DOUBLINGS = 40
"""Beyond so many every wait is at its cap."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a task goes after a setback."""

    to: TaskState
    """QUEUED, PARKED or FAILED."""
    counts_attempt: bool = True
    delay_ms: int = 0
    limit: str = ""
    """Which limit of one kind ended it, in words; empty while it goes on, and when attempts are spent."""

    def told(self, why: str) -> str:
        """Return `why` with the limit that ended it."""
        return f"{why} ({self.limit})" if self.limit else why


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which wait."""

    attempts: int = 3
    limits: Mapping[Setback, int] = field(default_factory=lambda: MappingProxyType({}))
    """At the Nth setback of this kind it ends; missing or 0: no limit of its own."""
    first_wait_ms: int = 2_000
    """The longest wait after the first setback of a kind."""
    most_wait_ms: int = 600_000

    def decide(
        self, task: Task, setback: Setback, *, random: Callable[[], float], least_wait_ms: int = 0
    ) -> Verdict:
        """Say what follows `setback` in the newest attempt of `task`.

        `random` gives numbers from 0 to below 1. `least_wait_ms` is what a server asked to wait.
        """
        times = task.setbacks.get(setback, 0) + 1
        limit = self.limits.get(setback, 0)
        at_limit = 0 < limit <= times
        wait_ms = 0
        if setback in _WAITED_OUT:
            wait_ms = max(least_wait_ms, round(self.longest_wait_ms(times) * random()))
        if setback in OWN_FAULTS:
            if task.attempt >= self.attempts:
                return Verdict(TaskState.FAILED)
            if at_limit:
                return Verdict(TaskState.FAILED, limit=_reached(setback, times))
            return Verdict(TaskState.QUEUED, delay_ms=wait_ms)
        if setback in ENVIRONMENT_FAULTS and at_limit:
            return Verdict(TaskState.PARKED, counts_attempt=False, limit=_reached(setback, times))
        return Verdict(TaskState.QUEUED, counts_attempt=False, delay_ms=wait_ms)

    def longest_wait_ms(self, times: int) -> int:
        """The longest wait after the `times`th setback of a kind, from 1."""
        doubled = self.first_wait_ms << min(times - 1, _DOUBLINGS)
        return min(doubled, self.most_wait_ms)


def always_again(task: Task, setback: Setback) -> Verdict:
    """Decide without limits: back in line at once, an own fault counted."""
    del task
    return Verdict(TaskState.QUEUED, counts_attempt=setback in OWN_FAULTS)


def _reached(setback: Setback, times: int) -> str:
    return f"for the {_ordinal(times)} time; the limit is retries.{setback}"


def _ordinal(number: int) -> str:
    is_teen = number % 100 in (11, 12, 13)
    suffix = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
