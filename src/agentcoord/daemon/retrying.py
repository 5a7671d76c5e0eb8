"""What the daemon does about setbacks: the settings' policy, chance, and which model an attempt had.

Separate so that a run that ends, a worker that crashes, the reaper and a restart all ask the same place.
Deliberately absent: the rule itself (`domain.retries`), and storing what was decided.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from types import MappingProxyType

from agentcoord.config.sections import Settings
from agentcoord.domain.ladder import Rung, rung_for
from agentcoord.domain.retries import RetryPolicy, Verdict
from agentcoord.domain.setbacks import ENVIRONMENT_FAULTS, OWN_FAULTS, Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import LlmOverloadedError, LlmRetryableError
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """Decides what follows a setback."""

    policy: RetryPolicy
    rungs: tuple[Rung, ...]
    random: Callable[[], float] = random_module.random

    @classmethod
    def of(cls, settings: Settings, *, random: Callable[[], float] = random_module.random) -> Retries:
        """As the settings say."""
        section = settings.retries
        limits = {setback: int(getattr(section, setback)) for setback in OWN_FAULTS | ENVIRONMENT_FAULTS}
        policy = RetryPolicy(
            attempts=settings.models.attempts,
            limits=MappingProxyType(limits),
            first_wait_ms=round(section.first_wait_s * 1_000),
            most_wait_ms=round(section.most_wait_s * 1_000),
        )
        return cls(policy, settings.models.rungs, random)

    def decide(self, task: Task, setback: Setback, *, least_wait_s: float = 0.0) -> Verdict:
        """Say what follows `setback` in the newest attempt of `task`."""
        least_wait_ms = round(least_wait_s * 1_000)
        return self.policy.decide(task, setback, random=self.random, least_wait_ms=least_wait_ms)

    def rung_of(self, task: Task) -> Rung:
        """The model and effort of a task's newest attempt."""
        return rung_for(task.attempt, self.rungs)

    def model_of(self, task: Task) -> str:
        """The model of a task's newest attempt."""
        return self.rung_of(task).model

    def also(self, task: Task, verdict: Verdict) -> Setback | None:
        """NEXT_MODEL when the next attempt begins on another rung of the ladder than this one."""
        goes_up = verdict.to is TaskState.QUEUED and verdict.counts_attempt
        if goes_up and self.rung_of(task) != rung_for(task.attempt + 1, self.rungs):
            return Setback.NEXT_MODEL
        return None


def setback_of(error: LlmRetryableError) -> Setback:
    """Which fault of the environment a call met that was not waited out."""
    return Setback.OVERLOADED if isinstance(error, LlmOverloadedError) else Setback.UNREACHABLE
