"""Collects what the morning report tells, over the control socket, in one connection.

Separate from the command so that the review can ask for the same facts. Events are replayed from
the daemon's log, as far back as it still has them and one answer carries.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from agentcoord.errors import AgentCoordError
from agentcoord.review.report.night import Answers
from agentcoord.wire.client import ControlClient
from agentcoord.wire.protocol import Method, Notification, Topic

CLIENT_NAME: Final = "agentcoord report"
EVENT_WINDOWS: Final = (5_000, 2_000, 500)
"""How many events to ask for; fewer are tried when so many are no longer kept."""
REPLAY_TIMEOUT_S: Final = 20.0
DIFF_CHARS: Final = 200_000
"""How much of a task's diff is read; `agentcoord diff` prints all of it."""


async def collect(socket_path: Path) -> Answers:
    """Ask for everything. Raises what `ControlClient` raises."""
    async with ControlClient.connect(socket_path, client_name=CLIENT_NAME) as client:
        status = await client.call(Method.STATUS)
        tasks = await client.tasks()
        details = {row["id"]: await client.call(Method.TASK, id=row["id"]) for row in tasks}
        diffs = {row["id"]: await _diff(client, row["id"]) for row in tasks if row["files"]}
        workers = await client.call(Method.WORKERS)
        costs = await client.call(Method.COSTS)
        stats = await client.call(Method.STATS)
        epoch, newest = client.hello["epoch"], int(stats["events"])
    events, complete = await _events(socket_path, epoch, newest)
    return Answers(
        status=status,
        tasks=tasks,
        workers=workers["workers"],
        costs=costs,
        stats=stats,
        details=details,
        diffs=diffs,
        events=events,
        events_complete=complete,
    )


async def _diff(client: ControlClient, task_id: str) -> tuple[str, bool]:
    """A task's diff, and whether it was cut; what is refused (undone since) is told as empty."""
    text, offset = "", 0
    try:
        while True:
            piece = await client.call(Method.DIFF, id=task_id, offset=offset)
            text += str(piece["text"])
            following = piece["next_offset"]
            if following is None or len(text) >= DIFF_CHARS:
                return text[:DIFF_CHARS], following is not None or len(text) > DIFF_CHARS
            offset = int(following)
    except AgentCoordError:
        return "", False


async def _events(socket_path: Path, epoch: str, newest: int) -> tuple[list[dict[str, Any]], bool]:
    """The newest events, oldest first, and whether they reach back to the first one of all."""
    if newest <= 0:
        return [], True
    for window in EVENT_WINDOWS:
        after = max(0, newest - window)
        async with ControlClient.connect(socket_path, client_name=CLIENT_NAME) as client:
            subscription = await client.subscribe([Topic.EVENTS], since=(epoch, after))
            snapshot = subscription.view["snapshot"]
            if snapshot is not None:
                found = list(snapshot["events"])
                continue
            found = []
            async with asyncio.timeout(REPLAY_TIMEOUT_S):
                async for notice in subscription:
                    if notice.method == Notification.EVENT:
                        found.append(notice.params["event"])
                    if found and int(found[-1]["seq"]) >= newest:
                        break
            return found, after == 0
    return found, len(found) >= newest
