"""A gateway that also counts each paid turn on the task, and the time that it took.

What a turn cost, the ledger has booked by then: for run and day, and on the task.
"""

from __future__ import annotations

import structlog

from agentcoord.agent.ports import Gateway
from agentcoord.daemon.time_spent import Stretch, TimeSpent
from agentcoord.domain.task import Claim
from agentcoord.errors import StoreError
from agentcoord.llm.api import PaidTurn, Progress, SpendRefused, TurnRequest
from agentcoord.store.connection import Store

log = structlog.get_logger("task")


class BookedGateway:
    """Wraps the paid model of one task."""

    def __init__(self, gateway: Gateway, store: Store, claim: Claim, time_spent: TimeSpent) -> None:
        self._gateway = gateway
        self._store = store
        self._claim = claim
        self._time_spent = time_spent

    async def take_turn(self, request: TurnRequest, progress: Progress) -> PaidTurn | SpendRefused:
        """As the wrapped gateway. A turn that is paid for is never lost to its counting."""
        with self._time_spent.on(Stretch.MODEL):
            answer = await self._gateway.take_turn(request, progress)
        if isinstance(answer, PaidTurn):
            try:
                await self._store.queue.count_turn(self._claim)
            except StoreError as error:
                log.warning("turn_not_counted", task=self._claim.task.id, error=str(error))
        return answer
