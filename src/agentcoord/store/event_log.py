"""The log of events: a bounded stream that survives restarts, numbered in a row.

Only the numbers of events that a fail-over lost are missing from it.
`(epoch, seq)` lets a reader go on where it stopped. The epoch changes only when the log was lost. Events
travel with the dispatcher's calls, so that a fact costs no call of its own while workers are busy.
Deliberately absent: who subscribes and how they are told (`daemon`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from agentcoord.domain.events import Event
from agentcoord.store.dispatcher import Dispatcher
from agentcoord.store.hand_outs import KEPT_EVENTS
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import calling, pieces, read_text
from agentcoord.values import dataclass

__all__ = ["KEPT_EVENTS", "EventLog"]

ENTRIES_READ = 20
"""Entries of the log read in one call; each holds the events of one moment."""

_encoder = msgspec.json.Encoder(enc_hook=str)


@dataclass(slots=True)
class EventLog:
    """The event log of one project; one daemon appends to it."""

    client: Redis
    keys: Keys
    dispatcher: Dispatcher
    epoch: str
    """Made when the log is first created."""

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Number and store `events`, and return them with their numbers; stored once, whatever is lost.

        Raises StoreUnavailableError when the store is closing, StoreError when the server refuses.
        """
        stored: list[Event] = []
        for piece in pieces(events):
            self.epoch, first = await self.dispatcher.append(len(piece), _encoded(piece))
            stored += [_numbered(event, first + i) for i, event in enumerate(piece)]
        return stored

    async def read(self, *, after: int, limit: int = 1000) -> list[Event]:
        """Return at most `limit` events with numbers above `after`, oldest first.

        The first one's number is above `after + 1` when older ones are no longer kept.
        """
        events: list[Event] = []
        while len(events) < limit:
            async with calling("read events"):
                found = await self.client.xrange(
                    self.keys.of("events"), min=f"{after + 1}-0", count=ENTRIES_READ
                )
            rows = cast("list[tuple[str, dict[str, str]]]", found)
            for entry, fields in rows:
                last = int(entry.partition("-")[0])
                events += [event for event in _decoded(fields["e"], last) if event.seq > after]
                after = last
            if len(rows) < ENTRIES_READ:
                break
        return events[:limit]

    async def last_seq(self) -> int:
        """Return the number of the newest event; 0 when there is none."""
        return int(await read_text(self.client, self.keys.of("events:last")) or 0)


def _encoded(events: Sequence[Event]) -> bytes:
    rows = [(event.kind, event.at_ms, event.task, event.worker, event.data) for event in events]
    try:
        return _encoder.encode(rows)
    except UnicodeEncodeError:  # Half a surrogate pair, as in odd file names: JSON can escape it.
        return json.dumps(rows, separators=(",", ":"), default=str).encode()


def _decoded(encoded: str, last: int) -> list[Event]:
    rows: list[list[Any]] = json.loads(encoded)
    first = last - len(rows) + 1
    names = ("kind", "at_ms", "task", "worker", "data")
    return [
        Event.from_dict({**dict(zip(names, row, strict=True)), "seq": first + i})
        for i, row in enumerate(rows)
    ]


def _numbered(event: Event, seq: int) -> Event:
    """Return the event with its number; built directly, because `replace` costs five times as much."""
    return Event(event.kind, event.at_ms, event.task, event.worker, event.data, seq)
