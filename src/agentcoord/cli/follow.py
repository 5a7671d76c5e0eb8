"""Follows a run over the control socket until it has ended, through the daemon's restarts.

Theory of operation. Subscribe from the last event seen; tell the watcher each event and status;
believe that a run has ended only when the daemon says so in answer to a question (a notice may have
been under way when a plan was loaded). Silence is asked about. A daemon that stops in order ends the
following too: it says so by an event, and answers on this very connection until we have summed up. A
connection that is lost otherwise is tried again with growing waits for a minute, from the same event
on, so that nothing is told twice.
Deliberately absent: the deadline of the whole (the caller's `asyncio.timeout`), and drawing (`progress`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from agentcoord.cli.progress import Watcher
from agentcoord.clock import Clock
from agentcoord.domain.events import EventKind
from agentcoord.errors import ConnectionLostError, DaemonNotRunningError, RpcError, WireError
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

T = TypeVar("T")
SumUp = Callable[[ControlClient, StatusView], Awaitable[T]]
"""Asks, on the connection that is still there, for what the end of a run is told by."""

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
        self._stopping = False
        """Whether the daemon said that it stops, and no other has begun since."""

    async def until_ended(self, sum_up: SumUp[T]) -> T:
        """Return what `sum_up` does, once every task has ended or is parked, the daemon paused by itself,
        or stops in order.

        Raises DaemonNotRunningError when nobody ever listened, when the daemon stayed away for a minute,
        or stopped and was gone before it could be asked; RpcError when it refuses the subscription.
        """

        async def attend(client: ControlClient, subscription: Subscription) -> T:
            status = await self._until_over(client, subscription)
            result = await sum_up(client, status)
            await self._hear_last_words(subscription)
            return result

        ending = await self._through_restarts(attend, last_words=True)
        if ending is None:
            raise DaemonNotRunningError(
                "the daemon has stopped, and was gone before it could say how the run stands",
                mend="agentcoordd start, then agentcoord wait",
            )
        return ending

    async def until_stopped(self) -> None:
        """Return when a daemon that stops in order has said everything. Raises as `until_ended`."""

        async def attend(client: ControlClient, subscription: Subscription) -> None:
            await self._greet(client)
            while True:
                status = await self._next_status(subscription)
                if status is not None:
                    self._watcher.status(status)

        await self._through_restarts(attend, last_words=False)

    async def _through_restarts(
        self, attend: Callable[[ControlClient, Subscription], Awaitable[T]], *, last_words: bool
    ) -> T | None:
        """Return what `attend` does; None when the daemon hung up after it had said that it stops."""
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                async with ControlClient.connect(self._socket_path, client_name="follow") as client:
                    topics = (Topic.EVENTS, Topic.STATUS)
                    subscription = await client.subscribe(topics, since=self._position, last_words=last_words)
                    self._begin(subscription.view)
                    try:
                        return await attend(client, subscription)
                    except ConnectionLostError:
                        await self._hear_last_words(subscription)  # They came, and nobody has read them.
                        raise
            except WireError as error:
                if isinstance(error, RpcError) and error.code != RpcCode.UNAVAILABLE:
                    raise
                if self._stopping:
                    return None
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

    async def _greet(self, client: ControlClient) -> StatusView:
        status = cast("StatusView", await client.call(Method.STATUS))
        if status["state"] == "stopping":  # Who comes so late has not heard it say so.
            self._stopping = True
        if self._away_since is not None:
            self._away_since = None
            self._watcher.note("connected again")
        return status

    async def _until_over(self, client: ControlClient, subscription: Subscription) -> StatusView:
        status = await self._greet(client)
        while True:
            self._watcher.status(status)
            if is_over(status):
                return status
            if status["state"] == "restarting":
                raise WireError("the daemon is being started again", mend="agentcoord wait")
            try:
                async with asyncio.timeout(PULSE_S):
                    heard = await self._next_status(subscription)
            except TimeoutError:
                heard = None
            if heard is None or is_over(heard):
                heard = cast("StatusView", await client.call(Method.STATUS))
            status = heard

    async def _next_status(self, subscription: Subscription) -> StatusView | None:
        """Tell events until a status comes, and return it; None when the daemon said that it stops."""
        while True:
            notice = await anext(subscription)
            match notice.method:
                case Notification.EVENT:
                    self._take_event(notice.params["epoch"], notice.params["event"])
                    if notice.params["event"].get("kind") == EventKind.DAEMON_STOPPING:
                        return None
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
        match event.get("kind"):
            case EventKind.DAEMON_STOPPING:
                self._stopping = not event.get("data", {}).get("restarting", False)
            case EventKind.DAEMON_STARTED:
                self._stopping = False
            case _:
                pass
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


def is_over(status: StatusView) -> bool:
    """Whether there is nothing to wait for: all has ended, halted, or the daemon that says this stops."""
    return bool(status["ended"]) or has_halted(status) or status["state"] == "stopping"


def has_halted(status: StatusView) -> bool:
    """Whether nothing will happen until a person helps: the daemon paused by itself, and nobody works."""
    return bool(status.get("paused_why")) and status["workers_busy"] == 0
