"""The events of a run as an asynchronous iterator that outlives the daemon's restarts.

Theory of operation. Each event has a position (epoch and number); the stream subscribes after the last
one that it handed out, so that none comes twice. Where the daemon has events no more (more than 5,000
were missed, or its log began anew), it sends a snapshot: the stream then hands out the newest that the
snapshot has, and marks the first of them `after_gap`. A lost connection is tried again for a minute.
Deliberately absent: rows of tasks and workers as they change (ask for them), and deadlines (the
caller's `asyncio.timeout`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from agentcoord.clock import Clock
from agentcoord.errors import DaemonNotRunningError, RpcError, UnavailableError, WireError
from agentcoord.values import dataclass
from agentcoord.wire.client import ControlClient, Subscription
from agentcoord.wire.messages import Notification, Snapshot, Topic

CLIENT_NAME: Final = "python"
AWAY_S: Final = 60.0
"""How long a daemon that was there may be away."""
BACKOFF_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Waits between attempts to connect; the last repeats."""


class Position(NamedTuple):
    """Where in the log an event stands; keep it to go on after it some other day."""

    epoch: str
    """One life of the log: numbers start again in the next."""
    seq: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. The kinds and their `data` are listed in docs/reference/events.md."""

    kind: str
    """`task.done` and the like; kinds are added from version to version."""
    at_ms: int
    """Milliseconds since 1970."""
    task: str | None
    worker: str | None
    data: Mapping[str, Any]
    position: Position
    after_gap: bool = False
    """Events before this one are lost to us: the daemon keeps a bounded number of them."""


class EventStream:
    """What happens from now on (or from `since` on): iterate over it.

    Ends only by being left; closed by leaving it as a context, or with the `AgentCoord` that made it.
    """

    def __init__(self, socket_path: Path, clock: Clock, *, since: Position | None = None) -> None:
        self._socket_path = socket_path
        self._clock = clock
        self.position = since
        """Of the newest event handed out: give it as `since` to go on after it. None before connecting."""
        self._taken = since
        """Of the newest event that arrived."""
        self._was_there = False
        self._away_since: float | None = None
        self._failures = 0
        self._gap = False
        self._ready: deque[Event] = deque()
        self._open = AsyncExitStack()
        self._subscription: Subscription | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Safe to cancel: what was not handed out comes next time.

        Raises DaemonNotRunningError when nobody listens at the first call, or when the daemon has been
        away for a minute; RpcError when it refuses the subscription.
        """
        while not self._ready:
            try:
                if self._subscription is None:
                    await self.connect()
                else:
                    await self._hear(self._subscription)
                self._away_since, self._failures = None, 0
            except WireError as error:
                if not self._was_there or (isinstance(error, RpcError) and not _passes(error)):
                    raise
                await self._bear(error)
        event = self._ready.popleft()
        self.position = event.position
        return event

    async def __aenter__(self) -> Self:
        """Subscribe now, so that nothing that happens from here on is missed. Raises as `__anext__`."""
        if self._subscription is None:
            await self.connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hang up."""
        await self._hang_up()

    async def connect(self) -> None:
        """Connect and subscribe from our position on. Raises as `ControlClient` does."""
        await self._hang_up()
        try:
            client = await self._open.enter_async_context(
                ControlClient.connect(self._socket_path, client_name=CLIENT_NAME)
            )
            self._subscription = await client.subscribe([Topic.EVENTS], since=self._taken)
        except BaseException:
            await self._hang_up()
            raise
        self._was_there = True
        view = self._subscription.view
        if self._taken is None:
            self.position = self._taken = Position(view["epoch"], view["seq"])
        elif view["snapshot"] is not None:
            self._take_snapshot(view["snapshot"])

    async def _bear(self, error: WireError) -> None:
        """Wait before the next attempt to connect; raise when the daemon has been away for too long."""
        await self._hang_up()
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= AWAY_S:
            raise DaemonNotRunningError(
                f"the daemon went away and did not come back within {AWAY_S:.0f} s",
                mend="agentcoordd start",
            ) from error
        self._failures += 1
        await self._clock.sleep(BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1])

    async def _hang_up(self) -> None:
        self._subscription = None
        await self._open.aclose()

    async def _hear(self, subscription: Subscription) -> None:
        notice = await anext(subscription)
        if notice.method == Notification.EVENT:
            self._take(notice.params["epoch"], notice.params["event"])
        elif notice.method == Notification.LAGGED:
            self._take_snapshot(notice.params["snapshot"])

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        """Hand out what the snapshot knows beyond our position; after that, go on from its own."""
        assert self._taken is not None
        events, epoch = snapshot["events"], snapshot["epoch"]
        first = int(events[0]["seq"]) if events else snapshot["seq"] + 1
        self._gap = epoch != self._taken.epoch or first > self._taken.seq + 1
        for event in events:
            self._take(epoch, event)
        self._taken = Position(epoch, snapshot["seq"])

    def _take(self, epoch: str, raw: Mapping[str, Any]) -> None:
        seq = int(raw["seq"])
        if self._taken is not None and self._taken.epoch == epoch and seq <= self._taken.seq:
            return
        self._taken = Position(epoch, seq)
        event = Event(
            kind=str(raw["kind"]),
            at_ms=int(raw["at_ms"]),
            task=raw.get("task"),
            worker=raw.get("worker"),
            data=raw.get("data", {}),
            position=self._taken,
            after_gap=self._gap,
        )
        self._gap = False
        self._ready.append(event)


def _passes(error: RpcError) -> bool:
    """Whether a refusal is of the moment: the daemon is starting, stopping, or without its store."""
    return isinstance(error, UnavailableError)
