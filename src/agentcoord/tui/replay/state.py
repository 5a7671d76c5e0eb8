"""The rows of a night at one moment, folded from its records. Pure."""

from __future__ import annotations

from typing import Any, cast

from agentcoord.tui.replay.filling import status_of, task_row, worker_row
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import Notification, Snapshot
from agentcoord.wire.night_file import Kept, NightFile, Record

EVENTS_SHOWN = 2000


class NightState:
    """Status, tasks and workers, kept true record by record."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.workers: dict[str, dict[str, Any]] = {}
        self.seq = 0
        """How many events there were."""

    @classmethod
    def at(cls, night: NightFile, count: int) -> NightState:
        """The state after the first `count` records, from the newest snapshot among them."""
        state = cls()
        for record in night.records(night.snapshot_before(count), count):
            if record.method != Kept.EVENT:
                state.fold(record, "")
        state.seq = night.events_counted(count)
        return state

    def snapshot(self, epoch: str, events: list[dict[str, Any]]) -> Snapshot:
        """Everything, in the shape that the daemon would send it."""
        first = self.seq - len(events) + 1
        return cast(
            "Snapshot",
            {
                "epoch": epoch,
                "seq": self.seq,
                "status": self.status,
                "tasks": list(self.tasks.values()),
                "workers": list(self.workers.values()),
                "events": [{**event, "seq": first + i} for i, event in enumerate(events)],
            },
        )

    def fold(self, record: Record, epoch: str) -> list[Notice]:
        """Take the next record; return what a subscriber is told of it.

        Events are numbered anew: a night may hold several epochs, and a replay knows no holes.
        """
        params = record.params
        match record.method:
            case Kept.EVENT:
                self.seq += 1
                return [Notice(Notification.EVENT, {"epoch": epoch, "event": {**params, "seq": self.seq}})]
            case Kept.TASKS:
                return [self._tasks_notice(params["tasks"])]
            case Kept.WORKERS:
                self.workers |= {row["name"]: worker_row(row) for row in params["workers"]}
                return [self._workers_notice()]
            case Kept.STATUS:
                self.status = {**self.status, **params}
                return [Notice(Notification.STATUS, self.status)]
            case Kept.SNAPSHOT:
                self.status = status_of(params["status"])
                self.tasks = {}
                self.workers = {row["name"]: worker_row(row) for row in params["workers"]}
                return [
                    self._tasks_notice(params["tasks"]),
                    self._workers_notice(),
                    Notice(Notification.STATUS, self.status),
                ]
            case _:
                return []

    def _tasks_notice(self, rows: list[dict[str, Any]]) -> Notice:
        whole = [task_row(row) for row in rows]
        self.tasks |= {row["id"]: row for row in whole}
        return Notice(Notification.TASKS, {"tasks": whole})

    def _workers_notice(self) -> Notice:
        return Notice(Notification.WORKERS, {"workers": list(self.workers.values())})
