"""Compacting the journal: the contents of accepted work go, once it was accepted long enough ago.

The records stay, so that numbers, tokens and the history are what they were; what goes are the
pre- and post-images that no other record needs. Crash-safe by its order: a record says that it
is compacted before a content goes, and what a crash left behind goes with the next compaction.
Contents that no record knows are never touched: they are saves of the user's that a landing met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from agentcoord.domain.ids import TaskId
from agentcoord.values import dataclass
from agentcoord.workspace.history import Operation, Phase, Record, standing_landings
from agentcoord.workspace.journal import Journal


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction dropped."""

    landings: int = 0
    freed_bytes: int = 0


def mark_accepted(journal: Journal, task: TaskId, since_ms: int, at_ms: int) -> None:
    """Note on the standing landings of `task` that a person accepted them. Blocking."""
    for record in standing_landings(journal.load(), task, since_ms):
        if record.accepted_at_ms is None:
            journal.write(replace(record, accepted_at_ms=at_ms))


def compact(
    journal: Journal, *, accepted_before_ms: int, now_ms: int, fault: Callable[[str], None]
) -> Compaction:
    """Drop the contents of what was accepted before a moment and stands. Blocking."""
    ripe = [r for r in _standing(journal.load()) if _is_ripe(r, accepted_before_ms)]
    for record in ripe:
        fault("record compacted")
        journal.write(replace(record, compacted_at_ms=now_ms))
    records = journal.load()
    needed = set(_contents(r for r in records if r.compacted_at_ms is None))
    unwanted = set(_contents(r for r in records if r.compacted_at_ms is not None)) - needed
    freed_bytes = journal.blobs.drop_all(unwanted, fault)
    return Compaction(len(ripe), freed_bytes)


def _is_ripe(record: Record, accepted_before_ms: int) -> bool:
    return (
        record.phase is Phase.SETTLED
        and record.compacted_at_ms is None
        and record.accepted_at_ms is not None
        and record.accepted_at_ms < accepted_before_ms
    )


def _standing(records: list[Record]) -> list[Record]:
    landed_by = dict.fromkeys(r.task for r in records if r.operation is Operation.LAND)
    return [record for task in landed_by for record in standing_landings(records, task)]


def _contents(records: Iterable[Record]) -> Iterable[str]:
    return (v.sha256 for r in records for s in r.swaps for v in (s.before, s.after) if v is not None)
