"""How an attempt ends that does not land: what its outcome or its error means for the task, and for the run.

Separate from `task_run`, which leads the attempt. What every other task would meet too holds the whole run
and costs no attempt: no money, no sandbox, a full disk, an account that is refused.
"""

from __future__ import annotations

import asyncio
from typing import assert_never

from agentcoord.agent.loop import GaveUp, Interrupted, OutOfMoney
from agentcoord.daemon.machine_faults import fault_of
from agentcoord.daemon.pausing import pause
from agentcoord.daemon.retrying import setback_of
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.retries import Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task
from agentcoord.errors import (
    AgentCoordError,
    AgentError,
    ChecksCannotRunError,
    LlmAuthError,
    LlmError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
    ReviewError,
    SandboxError,
    WorkspaceError,
)
from agentcoord.store.budget_ledger import CapScope
from agentcoord.values import dataclass


@dataclass(slots=True)
class Ended:
    """How a claim ends in the store."""

    setback: Setback
    verdict: Verdict
    why: str
    keep_copy: bool
    """The task goes on later from where it is."""


def parked(why: str) -> Ended:
    """A person must decide; the private copy is kept for that."""
    return Ended(Setback.PARKED, Verdict(TaskState.PARKED, counts_attempt=False), why, keep_copy=True)


Breaking = AgentError | LlmError | ReviewError | SandboxError | WorkspaceError | OSError
"""What may break an attempt off; what the store says of its own state passes."""


class AttemptEnds:
    """Judges the ends of one worker's attempts, and holds the run where every task would meet the same."""

    def __init__(self, shop: Workshop, worker: str) -> None:
        self._shop = shop
        self._worker = worker

    async def of_outcome(self, task: Task, outcome: GaveUp | OutOfMoney | Interrupted) -> Ended:
        """What a conversation means that ended without a claim to be finished."""
        match outcome:
            case Interrupted():
                return self.set_back(task, Setback.STOPPED, "the daemon stopped")
            case OutOfMoney():
                refused = outcome.refused
                why = f"{refused.in_words} is reached"
                self._shop.hub.emit(
                    EventKind.BUDGET_REACHED,
                    task=task.id,
                    worker=self._worker,
                    scope=refused.scope,
                    unit=str(refused.unit),
                )
                if refused.scope != CapScope.TASK and not self._shop.store.queue.paused:
                    # Nothing new is claimed; tasks under way go on until they end or meet the cap themselves.
                    await pause(self._shop, why, for_the_day=refused.scope == CapScope.DAY)
                return parked(why)
            case GaveUp():
                return self.set_back(task, Setback.GAVE_UP, outcome.why)
            case _:
                assert_never(outcome)

    async def of_error(self, task: Task, error: Breaking) -> Ended:
        """What an error means that broke the attempt off."""
        match error:
            case ChecksCannotRunError():  # The baseline has paused the run, and told why.
                return self.set_back(task, Setback.MACHINE, error.message)
            case SandboxError():
                return await self._without_sandbox(task, error)
            case LlmRetryableError():
                why = f"the model cannot be reached: {error.message}"
                least_wait_s = error.retry_after_s or 0.0
                return self.set_back(task, setback_of(error), why, least_wait_s=least_wait_s)
            case LlmSpendLimitError() | LlmAuthError():
                await pause(self._shop, error.message)  # Every other task would meet the same.
                return parked(error.message)
            case LlmRequestError():
                why = f"the model's server refused the request: {error.message}"
                return self.set_back(task, Setback.REFUSED, why)
            case LlmError():
                why = f"the call to the model failed: {error.message}"
                return self.set_back(task, Setback.REFUSED, why)
            case WorkspaceError() | OSError():
                return await self.broken(task, "the private copy failed", error)
            case AgentError() | ReviewError():
                return await self.broken(task, "the attempt broke", error)
            case _:
                assert_never(error)

    def set_back(
        self, task: Task, setback: Setback, why: str, *, least_wait_s: float = 0.0, keep_copy: bool = True
    ) -> Ended:
        """Another try, now or later, with the next model or the same; a person's decision; or the end."""
        verdict = self._shop.retries.decide(task, setback, least_wait_s=least_wait_s)
        return Ended(setback, verdict, verdict.told(why), keep_copy and not verdict.counts_attempt)

    async def broken(self, task: Task, doing: str, error: AgentCoordError | OSError) -> Ended:
        """The attempt failed, unless the machine is at fault, which no other attempt would mend."""
        fault = await self._machine_fault(task, error)
        return fault or self.set_back(task, Setback.BROKEN, f"{doing}: {error}")

    async def without_copy(self, task: Task, error: AgentCoordError | OSError) -> Ended:
        """No private copy can be had."""
        return await self._machine_fault(task, error) or parked(f"no private copy: {error}")

    async def _machine_fault(self, task: Task, error: AgentCoordError | OSError) -> Ended | None:
        """Hold the whole run when every task would meet the same; the task costs no attempt."""
        fault = await asyncio.to_thread(fault_of, error, self._shop.repo.root, self._shop.transcripts)
        if fault is None:
            return None
        await pause(self._shop, fault)
        return self.set_back(task, Setback.MACHINE, fault)

    async def _without_sandbox(self, task: Task, error: SandboxError) -> Ended:
        """Nothing falls back: the task waits, and so does the run where no sandbox works any more."""
        report = await self._shop.sandbox.probe()
        if report.ok:
            return parked(f"the sandbox refused: {error.message}")
        why = f"no sandbox works here: {'; '.join(report.reasons) or error.message}"
        mend = f"{report.mend}, then " if report.mend else ""
        # What was mended is found out at a start.
        await pause(self._shop, f"{why}: {mend}agentcoordd restart and agentcoord ctl resume")
        return self.set_back(task, Setback.MACHINE, why)
