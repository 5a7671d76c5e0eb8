"""Which views a subscriber is owed: changed ones, no oftener than their period.

Separate from the connection, which only sends what is due. Each subscriber has one of these, because
what has changed is told from what that subscriber was sent last.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from agentcoord.clock import Clock
from agentcoord.daemon.pages import Pages
from agentcoord.daemon.seen_tasks import SeenTasks
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.wire.protocol import Notification, Topic
from agentcoord.wire.quick_json import encode_notification

if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView

PUBLISH_PERIOD_S = 0.25
STATUS_PERIOD_S = 1.0


class DueViews:
    """What one subscriber was sent, and what is due to it."""

    def __init__(self, views: Views, board: FleetBoard, clock: Clock, topics: frozenset[str]) -> None:
        self._views = views
        self._board = board
        self._clock = clock
        self._topics = topics
        self._version = -1
        self._status_version = -1
        self._sent_at = 0.0
        self._status_at = 0.0
        self._workers: object = None
        self._seen = SeenTasks()

    def is_owed(self) -> bool:
        version = self._board.version
        return self._version != version or self._status_version != version

    def owe_everything(self) -> None:
        """What was about to be sent was not: look at all of it again."""
        self._version = self._status_version = -1
        self._workers = None
        self._seen.forget()

    async def lines_due(self) -> AsyncGenerator[bytes]:
        """Encode the views that are due now, a line at a time: all tasks of a long run fill the memory."""
        now, version = self._clock.monotonic(), self._board.version
        if version != self._version and now - self._sent_at >= PUBLISH_PERIOD_S:
            self._version, self._sent_at = version, now
            if Topic.WORKERS in self._topics:
                workers = self._views.workers()
                if self._workers != workers:
                    self._workers = workers
                    yield encode_notification(Notification.WORKERS, {"workers": workers})
            if Topic.TASKS in self._topics:
                for line in map(_tasks_line, Pages(await self._views.tasks_new_to(self._seen))):
                    yield line
        if version != self._status_version and now - self._status_at >= STATUS_PERIOD_S:
            self._status_version, self._status_at = version, now
            if Topic.STATUS in self._topics:
                yield encode_notification(Notification.STATUS, await self._views.status())


def _tasks_line(page: list[TaskView]) -> bytes:
    return encode_notification(Notification.TASKS, {"tasks": page})
