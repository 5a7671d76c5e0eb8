"""Fakes of what the daemon's parts are handed: a clock moved by hand, and an event log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from agentcoord.domain.events import Event
from agentcoord.errors import StoreUnavailableError


class HandClock:
    """Stands still until a sleep moves it; every sleep lets others run once."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return round(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class MemoryLog:
    """The event log's contract without a server: numbers from 1 without holes within an epoch."""

    def __init__(self) -> None:
        self.epoch = "first"
        self.stored: list[Event] = []
        self.away = False
        self.calls: list[int] = []

    async def append(self, events: Sequence[Event]) -> list[Event]:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("away")
        self.calls.append(len(events))
        first = len(self.stored) + 1
        numbered = [replace(event, seq=first + i) for i, event in enumerate(events)]
        self.stored += numbered
        return numbered

    async def read(self, *, after: int, limit: int = 1000) -> list[Event]:
        await asyncio.sleep(0)
        return [event for event in self.stored if event.seq > after][:limit]

    async def last_seq(self) -> int:
        return len(self.stored)

    def lose_everything(self) -> None:
        self.epoch = "second"
        self.stored.clear()
