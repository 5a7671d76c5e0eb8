"""Follows a run over the control socket until it has ended, through the daemon's restarts.

Theory of operation. Subscribe from the last event seen; tell the watcher each event and status;
believe that a run has ended only when the daemon says so in answer to a question (a notice may have
been under way when a plan was loaded). Silence is asked about. A lost connection is tried again with
growing waits for a minute, from the same event on, so that nothing is told twice.
Deliberately absent: the deadline of the whole (the caller's `asyncio.timeout`), and drawing (`progress`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from agentcoord.cli.progress import Watcher
from agentcoord.clock import Clock
from agentcoord.errors import DaemonNotRunningError, RpcError, WireError
from agentcoord.wire.client import ControlClient, Subscription
from agentcoord.wire.messages import Method, Notification, RpcCode, Snapshot, StatusView, SubscribeView, Topic

PULSE_S: Final = 2.0
"""After so long without a notice the daemon is asked for its status."""
LAST_WORDS_S: Final = 0.2
"""How long events that were under way when the run ended are waited for."""
AWAY_S: Final = 60.0
"""How long a daemon that was there may be away."""
BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Waits between attempts to connect; the last repeats."""

SETTLED_S: Final = 5.0
"""A connection that lived this long starts the waits from the beginning."""

HISTORY_EVENTS: Final = 5_000
"""How far back the daemon replays its log to one client."""

Position = tuple[str, int]
"""Epoch and number of the last event seen."""


class Follower:
    """Follows one run.

    `position` is where to begin; None: from now on.
    """

    def __init__(
        self,
        socket_path: Path,
        watcher: Watcher,
        clock: Clock,
        *,
        position: Position | None = None,
    ) -> None:
        self._socket_path = socket_path
        self._watcher = watcher
        self._clock = clock
        self._position = position
        self._was_there = position is not None
        self._away_since: float | None = None

    async def until_ended(self) -> StatusView:
        """Return the last status once every task has ended or is parked, or the daemon paused by itself.

        Raises DaemonNotRunningError when nobody ever listened, or when the daemon stayed away for a
        minute; RpcError when it refuses the subscription.
        """
        return await self.until(lambda status: status["ended"] or has_halted(status))

    async def until(self, is_over: Callable[[StatusView], bool]) -> StatusView:
        """Return the first status that `is_over`. Raises as `until_ended`."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                async with ControlClient.connect(self._socket_path, client_name="follow") as client:
                    subscription = await client.subscribe([Topic.EVENTS, Topic.STATUS], since=self._position)
                    self._begin(subscription.view)
                    return await self._attend(client, subscription, is_over)
            except WireError as error:
                if isinstance(error, RpcError) and error.code != RpcCode.UNAVAILABLE:
                    raise
                self._bear(error)
            failures = 0 if self._clock.monotonic() - began >= SETTLED_S else failures + 1
            await self._clock.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _bear(self, error: WireError) -> None:
        """Note that the daemon is away; raise when it never was there, or has been away too long."""
        if not self._was_there:
            raise error
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._watcher.note(f"{error}; trying again for {AWAY_S:.0f} s")
        elif now - self._away_since >= AWAY_S:
            raise DaemonNotRunningError(
                f"the daemon went away and did not come back within {AWAY_S:.0f} s",
                mend="agentcoordd start, then agentcoord wait",
            ) from error

    async def _attend(
        self, client: ControlClient, subscription: Subscription, is_over: Callable[[StatusView], bool]
    ) -> StatusView:
        status = cast("StatusView", await client.call(Method.STATUS))
        if self._away_since is not None:
            self._away_since = None
            self._watcher.note("connected again")
        while True:
            self._watcher.status(status)
            if is_over(status):
                await self._hear_last_words(subscription)
                return status
            try:
                async with asyncio.timeout(PULSE_S):
                    heard = await self._next_status(subscription)
            except TimeoutError:
                heard = None
            if heard is None or is_over(heard):
                heard = cast("StatusView", await client.call(Method.STATUS))
            status = heard

    async def _next_status(self, subscription: Subscription) -> StatusView:
        while True:
            notice = await anext(subscription)
            match notice.method:
                case Notification.EVENT:
                    self._take_event(notice.params["epoch"], notice.params["event"])
                case Notification.STATUS:
                    return cast("StatusView", notice.params)
                case Notification.LAGGED:
                    snapshot = cast("Snapshot", notice.params["snapshot"])
                    self._catch_up(snapshot)
                    return snapshot["status"]
                case _:
                    pass

    async def _hear_last_words(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while True:
                    await self._next_status(subscription)
        except (TimeoutError, WireError):
            return  # The run has ended whether or not its last event still arrives.

    def _begin(self, view: SubscribeView) -> None:
        if not self._was_there:
            self._was_there = True
            self._position = (view["epoch"], view["seq"])
        elif view["snapshot"] is not None:
            self._catch_up(view["snapshot"])

    def _catch_up(self, snapshot: Snapshot) -> None:
        """Tell what the snapshot knows beyond our position; after that, go on from its own."""
        for event in snapshot["events"]:
            self._take_event(snapshot["epoch"], event)
        self._position = (snapshot["epoch"], snapshot["seq"])

    def _take_event(self, epoch: str, event: dict[str, Any]) -> None:
        seq = int(event.get("seq", 0))
        if self._position is not None and self._position[0] == epoch and seq <= self._position[1]:
            return
        self._position = (epoch, seq)
        self._watcher.event(event)


async def newest_events(
    socket_path: Path, most: int, wants: Callable[[dict[str, Any]], bool]
) -> tuple[list[dict[str, Any]], Position]:
    """Return the newest events that are wanted, at most `most`, oldest first, and where to follow from.

    Looks through the newest 5,000 of the log, unless the first answer holds enough of them.
    """
    async with ControlClient.connect(socket_path, client_name="follow") as client:
        view = (await client.subscribe([Topic.EVENTS])).view
    epoch, seq = view["epoch"], view["seq"]
    told = view["snapshot"]["events"] if view["snapshot"] else []
    found = [event for event in told if wants(event)]
    if len(found) < most and len(told) < seq:
        older = await _events_between(socket_path, (epoch, max(0, seq - HISTORY_EVENTS)), seq)
        found = [event for event in older if wants(event)] or found
    return found[max(0, len(found) - most) :], (epoch, seq)


async def _events_between(socket_path: Path, after: Position, last: int) -> list[dict[str, Any]]:
    """The events after a position up to number `last`; none where the log does not go back so far."""
    events: list[dict[str, Any]] = []
    async with ControlClient.connect(socket_path, client_name="follow") as client:
        subscription = await client.subscribe([Topic.EVENTS], since=after)
        while subscription.view["snapshot"] is None and (not events or events[-1]["seq"] < last):
            notice = await anext(subscription)
            if notice.method == Notification.EVENT:
                events.append(notice.params["event"])
    return events


async def position_now(socket_path: Path) -> Position:
    """Return the number of the newest event, to follow from there what is asked for next."""
    async with ControlClient.connect(socket_path, client_name="follow") as client:
        view = (await client.subscribe([Topic.EVENTS])).view
        return view["epoch"], view["seq"]


def has_halted(status: StatusView) -> bool:
    """Whether nothing will happen until a person helps: the daemon paused by itself, and nobody works."""
    return bool(status.get("paused_why")) and status["workers_busy"] == 0
