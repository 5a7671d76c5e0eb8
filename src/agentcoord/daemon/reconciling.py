"""Bringing the store and the tree together after whatever ended the last daemon. Runs before any claim."""

from __future__ import annotations

import structlog

from agentcoord.daemon.rejections import finish_rejections
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.trimming import finish_trims
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.store.connection import Store
from agentcoord.workspace.landing import Lander

log = structlog.get_logger("daemon")


async def reconcile(store: Store, lander: Lander, retries: Retries) -> None:
    """Bring store and tree together after whatever ended the last daemon."""
    landed = await lander.recover()
    history = await lander.history()
    await store.raise_fence(max((record.token for record in history), default=FencingToken(0)))
    standing = {record.task: record for record in history if record.undone_at_ms is None}
    for task in await store.queue.all():
        record = standing.get(task.id) if task.state is TaskState.LANDING else None
        if record is not None and task.token == record.token and record.stands(since_ms=task.queued_at_ms):
            await store.queue.complete(Claim(task, record.token, 0), record.files)
    requeued = await store.queue.release_all_leases(
        why="the daemon was restarted", decide=retries.decide, model_of=retries.model_of
    )
    rejected = await finish_rejections(store, lander)
    trimmed = await finish_trims(store, lander)
    returned = await store.ledger.reconcile(())
    await store.cleanup(everything=False)
    log.info(
        "reconciled",
        landed=list(landed),
        requeued=list(requeued),
        rejected=list(rejected),
        trimmed=list(trimmed),
        reservations=len(returned),
    )
