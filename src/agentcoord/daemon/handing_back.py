"""Taking a claim's task out of a worker's hands as was decided, and telling it.

Separate so that a run that ended and a worker that crashed do and say the same.
"""

from __future__ import annotations

from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.retries import Verdict
from agentcoord.domain.setbacks import Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.store.spreading import EndedByNeed

HAND_BACK_TIMEOUT_S = 10.0
"""How long it may take where a worker is stopped."""


async def set_back(
    shop: Workshop, claim: Claim, setback: Setback, verdict: Verdict, why: str, *, worker: str
) -> None:
    """Queue, park or fail the task of `claim`. `why` has the limit in it that ended it, if one did.

    Raises LeaseLostError when the claim has ended, StoreUnavailableError.
    """
    queue, task = shop.store.queue, claim.task
    model = shop.retries.model_of(task)
    match verdict.to:
        case TaskState.QUEUED:
            await queue.requeue(
                claim,
                why=why,
                counts_attempt=verdict.counts_attempt,
                delay_ms=verdict.delay_ms,
                setback=setback,
                model=model,
                also=shop.retries.also(task, verdict),
            )
        case TaskState.PARKED:
            await queue.park(claim, why=why, setback=setback, model=model)
        case TaskState.FAILED:
            await queue.fail(claim, why=why, setback=setback, model=model)
        case _:
            raise AssertionError(f"a claim does not end as {verdict.to}")
    tell_set_back(shop.hub, task.id, setback, verdict, why, worker=worker)


def tell_set_back(
    hub: EventHub, task: str, setback: Setback, verdict: Verdict, why: str, *, worker: str | None
) -> None:
    """Say where a task went."""
    wait = {"wait_ms": verdict.delay_ms} if verdict.delay_ms else {}
    kind = {TaskState.PARKED: EventKind.TASK_PARKED, TaskState.FAILED: EventKind.TASK_FAILED}.get(
        verdict.to, EventKind.TASK_REQUEUED
    )
    hub.emit(kind, task=task, worker=worker, why=why, setback=str(setback), **wait)


def tell_ended_by_need(hub: EventHub, ended: EndedByNeed) -> None:
    """Say that a task ended because of a need."""
    why = f"{ended.need}, which it needs, was not done"
    if ended.to is TaskState.FAILED:
        hub.emit(EventKind.TASK_FAILED, task=ended.task, why=why)
    else:
        hub.emit(EventKind.TASK_CANCELLED, task=ended.task, why=f"skipped: {why}", skipped=True)
