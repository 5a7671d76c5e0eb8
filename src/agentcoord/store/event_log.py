"""The log of events: a bounded stream, numbered without holes, that survives restarts.

`(epoch, seq)` lets a reader go on where it stopped. The epoch changes only when the log was lost.
Deliberately absent: who subscribes and how they are told (`daemon`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from redis.asyncio import Redis

from agentcoord.domain.events import Event
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import BATCH, ScriptName, Scripts, calling, read_text

KEPT_EVENTS = 100_000
"""About how many of the newest events are kept."""


@dataclass(slots=True)
class EventLog:
    """The event log of one project; one daemon appends to it."""

    client: Redis
    keys: Keys
    scripts: Scripts
    epoch: str
    """Made when the log is first created."""
    spare_epoch: str
    """What the epoch becomes if the stored log turns out to be gone."""

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Number and store `events`, and return them with their numbers."""
        stored: list[Event] = []
        for start in range(0, len(events), BATCH):
            piece = events[start : start + BATCH]
            texts = [json.dumps(event.to_dict(), separators=(",", ":"), default=str) for event in piece]
            self.epoch, first = await self.scripts.run(
                ScriptName.APPEND_EVENTS, self.spare_epoch, KEPT_EVENTS, *texts
            )
            stored += [_numbered(event, first + i) for i, event in enumerate(piece)]
        return stored

    async def read(self, *, after: int, limit: int = 1000) -> list[Event]:
        """Return at most `limit` events with numbers above `after`, oldest first.

        The first one's number is above `after + 1` when older ones are no longer kept.
        """
        async with calling("read events"):
            found = await self.client.xrange(self.keys.of("events"), min=f"{after + 1}-0", count=limit)
        rows = cast("list[tuple[str, dict[str, str]]]", found)
        return [
            replace(Event.from_dict(json.loads(fields["e"])), seq=int(entry.partition("-")[0]))
            for entry, fields in rows
        ]

    async def last_seq(self) -> int:
        """Return the number of the newest event; 0 when there is none."""
        return int(await read_text(self.client, self.keys.of("events:last")) or 0)


def _numbered(event: Event, seq: int) -> Event:
    """Return the event with its number; built directly, because `replace` costs five times as much."""
    return Event(event.kind, event.at_ms, event.task, event.worker, event.data, seq)
