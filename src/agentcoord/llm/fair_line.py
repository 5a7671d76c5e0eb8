"""Who may call next: weighted fair queueing of those who wait for one model.

Separate from the governor because the order is pure. Each task is a flow; its calls cost what they are
expected to use, and its weight is its priority, so that under a limit a task of priority 4 gets through
twice what one of priority 2 does, and nobody starves. Self-clocked fair queueing (Golestani, 1994): a
call's tag is where its flow stands, or the virtual time if that is later, plus cost over weight; the
smallest tag goes first, and the virtual time moves on to the tag of the call that goes.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import field

from agentcoord.values import dataclass

_MAX_FLOWS = 1_024
"""Flows remembered before those that the virtual time has passed are forgotten."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One call in line."""

    flow: str
    tag: float
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it may be its turn; it looks again by itself."""
    gone: bool = False


@dataclass(slots=True)
class FairLine:
    """The line before one model."""

    _heap: list[tuple[float, int, Waiter]] = field(default_factory=list)
    _tags: dict[str, float] = field(default_factory=dict)
    """Of the last call of each flow that went."""
    _virtual_time: float = 0.0
    _joined: int = 0

    def join(self, flow: str, *, weight: float, cost: float) -> Waiter:
        """Stand in line. `flow` is whose call it is, `cost` what it will use."""
        tag = max(self._virtual_time, self._tags.get(flow, 0.0)) + max(cost, 1.0) / weight
        waiter = Waiter(flow, tag)
        self._joined += 1
        heapq.heappush(self._heap, (tag, self._joined, waiter))
        return waiter

    def is_first(self, waiter: Waiter) -> bool:
        return self._first() is waiter

    def go(self, waiter: Waiter) -> None:
        """`waiter` makes its call: its flow has had that much."""
        self._virtual_time = max(self._virtual_time, waiter.tag)
        self._tags[waiter.flow] = waiter.tag
        if len(self._tags) > _MAX_FLOWS:
            self._tags = {flow: tag for flow, tag in self._tags.items() if tag >= self._virtual_time}
        self.leave(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Stand in line no longer, called or not; the next one looks whether it is its turn."""
        waiter.gone = True
        self.wake_first()

    def wake_first(self) -> None:
        """Something changed that may make room."""
        if (first := self._first()) is not None:
            first.woken.set()

    def _first(self) -> Waiter | None:
        while self._heap and self._heap[0][2].gone:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None
