"""One client of the control socket: its requests in order, and what is new once it has subscribed.

Theory of operation. A connection is one reader, one writer. Writing waits on the client's own socket
and nowhere else, so a slow client only fills its own bounded queue; then it is told `lagged` and given
a snapshot. A client that does not read for 30 s is dropped, one that has not said `hello` within 10 s, and
one that neither asks nor subscribes. Deliberately absent: who may connect (`control`), and what is answered
(`requests`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import field
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from agentcoord.clock import Clock
from agentcoord.daemon.due_views import PUBLISH_PERIOD_S, DueViews
from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.failures import failure_of
from agentcoord.daemon.farewell import Farewell
from agentcoord.daemon.places import Place
from agentcoord.daemon.requests import Requests
from agentcoord.daemon.snapshot import Views
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.domain.events import Event
from agentcoord.errors import AgentCoordError, StoreError, WireError
from agentcoord.store.event_log import EventLog
from agentcoord.values import dataclass
from agentcoord.wire.codec import FrameDecoder, Malformed, Request, encode_error
from agentcoord.wire.protocol import ExitCode, Method, Notification, RpcCode, Topic
from agentcoord.wire.quick_json import encode_notification, encode_result

if TYPE_CHECKING:
    from agentcoord.wire.messages import ErrorData, SubscribeView

READ_BYTES = 64 * 1024
WRITE_TIMEOUT_S = 30.0
HELLO_TIMEOUT_S = 10.0
"""How long a client may take to say `hello`, whatever else it says."""
IDLE_TIMEOUT_S = 300.0
"""How long a client that has not subscribed may say nothing."""
STORE_AWAY_S = 1.0
REPLAY_EVENTS = 5_000
EVENTS_A_WRITE = 200
NO_ROOM_TO_FOLLOW = ("as many clients follow already as may", "close a dashboard")
HELLO_MEND = "say `hello` with the versions of the protocol that you speak"

log = structlog.get_logger("control")


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a subscription begins with, or begins again with."""

    answer: bytes
    seq: int
    """Up to this event the answer tells everything."""
    missed: list[Event]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every connection answers from."""

    requests: Requests
    views: Views
    hub: EventHub
    event_log: EventLog
    board: FleetBoard
    clock: Clock
    write_timeout_s: float = WRITE_TIMEOUT_S
    hello_timeout_s: float = HELLO_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    farewell: Farewell = field(default_factory=Farewell)

    async def respond(self, request: Request) -> tuple[bytes, bool]:
        """The answer to one request, as a line, and whether it is a result and no error.

        The request boundary: nothing passes it but cancellation.
        """
        try:
            result = await self.requests.answer(request.method, request.params)
            return encode_result(request.id, result), True
        except Exception as error:
            code, message, data = failure_of(error)
            if code is RpcCode.INTERNAL:
                log.error("request_failed", method=request.method, exc_info=error)
            return encode_error(request.id, code, message, data), False

    async def begin(self, request: Request) -> Beginning:
        """Answer `subscribe`. Who does not read the answer holds up its line, not all that it tells."""
        view, missed = await self._since(request.params.get("since"))
        return Beginning(encode_result(request.id, view), view["seq"], missed)

    async def lagged(self) -> Beginning:
        """What a client is told that could not follow."""
        snapshot = await self.views.snapshot()
        line = encode_notification(Notification.LAGGED, {"snapshot": snapshot})
        return Beginning(line, snapshot["seq"], [])

    async def _since(self, since: object) -> tuple[SubscribeView, list[Event]]:
        """The events after `since`, or a snapshot where they are gone."""
        epoch, seq = self.hub.epoch, self.hub.seq
        if isinstance(since, dict) and since.get("epoch") == epoch:
            after = since.get("seq")
            if isinstance(after, int) and 0 <= seq - after <= REPLAY_EVENTS:
                missed = await self.event_log.read(after=after, limit=REPLAY_EVENTS)
                if after == seq or (missed and missed[0].seq == after + 1):
                    return {"epoch": epoch, "seq": after, "mode": "replay", "snapshot": None}, missed
        snapshot = await self.views.snapshot()
        return {"epoch": epoch, "seq": snapshot["seq"], "mode": "resync", "snapshot": snapshot}, []


class Connection:
    """One client: reads requests, and publishes once it has subscribed."""

    def __init__(
        self, desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: Place
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._writer = writer
        self._place = place
        self._greeted = False
        self._greeted_by = asyncio.get_running_loop().time() + desk.hello_timeout_s
        self._publishing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._seen = 0
        self._asks_last = contextlib.ExitStack()
        """Closed when the client is gone; holds that it wants to ask once more before the daemon is."""

    async def run(self) -> None:
        """Answer until the client goes. That it is gone ends here: an error that passes a task group
        ties all frames on its way, and their megabytes, into a knot that only the collector unties.
        """
        async with asyncio.TaskGroup() as group:
            try:
                await self._answer_all(group)
            except (OSError, TimeoutError, WireError) as error:
                log.info("client_gone", error=repr(error))
                self._writer.transport.abort()
            finally:
                self._asks_last.close()
                if self._publishing is not None:
                    self._publishing.cancel()

    async def _answer_all(self, group: asyncio.TaskGroup) -> None:
        decoder = FrameDecoder()
        while chunk := await self._heard():
            for frame in decoder.feed(chunk):
                match frame:
                    case Request(method=Method.HELLO):
                        if not await self._answer(frame):
                            return  # No version that both speak.
                        self._greeted = True
                    case Request() if not self._greeted:
                        await self._refuse(frame, RpcCode.REFUSED, "`hello` comes first", HELLO_MEND)
                    case Request(method=Method.SUBSCRIBE):
                        await self._subscribe(frame, group)
                    case Request():
                        await self._answer(frame)
                    case Malformed():
                        data: ErrorData = {"exit_code": int(ExitCode.ERROR), "mend": ""}
                        await self._send(encode_error(frame.id, frame.code, frame.message, data))
                    case _:
                        pass  # Answers and notices mean nothing from a client.

    async def _heard(self) -> bytes:
        """What the client says next; nothing at its end, or when it has been silent for too long."""
        now = asyncio.get_running_loop().time()
        until = None if self._place.is_following else now + self._desk.idle_timeout_s
        if not self._greeted:
            until = self._greeted_by
        with contextlib.suppress(TimeoutError):
            if until is None or until > now:  # Else it says much, and still no `hello`.
                async with asyncio.timeout_at(until):
                    return await self._reader.read(READ_BYTES)
        log.info("client_silent", greeted=self._greeted)
        return b""

    async def _answer(self, request: Request) -> bool:
        """Answer, and say whether that was a result and no error."""
        with self._place.answering():
            line, is_result = await self._desk.respond(request)
        await self._send(line)
        return is_result

    async def _refuse(self, request: Request, code: RpcCode, words: str, mend: str) -> None:
        exit_code = ExitCode.ERROR if code is RpcCode.UNAVAILABLE else ExitCode.USAGE
        data: ErrorData = {"exit_code": int(exit_code), "mend": mend}
        await self._send(encode_error(request.id, code, words, data))

    async def _send(self, line: bytes) -> None:
        async with self._writing, asyncio.timeout(self._desk.write_timeout_s):
            self._writer.write(line)
            await self._writer.drain()

    async def _subscribe(self, request: Request, group: asyncio.TaskGroup) -> None:
        topics = request.params.get("topics", list(Topic))
        if not isinstance(topics, list) or any(topic not in list(Topic) for topic in topics):
            mend = f"topics are {', '.join(Topic)}"
            await self._refuse(request, RpcCode.INVALID_PARAMS, "unknown topic", mend)
            return
        if not self._place.begin_following():
            await self._refuse(request, RpcCode.UNAVAILABLE, *NO_ROOM_TO_FOLLOW)
            return
        if self._publishing is not None:
            self._publishing.cancel()
        self._asks_last.close()
        if request.params.get("last_words") is True:
            self._asks_last.enter_context(self._desk.farewell.asking())
        started = asyncio.Event()
        self._publishing = group.create_task(
            self._publish(request, frozenset(topics), started), name="control:publish"
        )
        await started.wait()

    async def _publish(self, request: Request, topics: frozenset[str], started: asyncio.Event) -> None:
        try:
            with (
                self._desk.hub.subscribed() as subscription,
                self._desk.farewell.publishing(subscription.ready.set),
            ):
                try:
                    missed = await self._answer_subscribe(request)
                finally:
                    started.set()  # The next request is answered after this one.
                if missed is None:
                    return
                if Topic.EVENTS in topics:
                    await self._send_events(missed)
                del missed  # They may be thousands, and what follows lasts.
                await self._follow(subscription, topics)
        except (OSError, TimeoutError) as error:
            # The reader then ends too, and the client connects again; closing would wait for it to read.
            log.info("subscriber_dropped", error=repr(error))
            self._writer.transport.abort()
        finally:
            self._place.end_following()

    async def _answer_subscribe(self, request: Request) -> list[Event] | None:
        """Answer, and return the events that were missed; None when it was refused."""
        try:
            begun = await self._desk.begin(request)
        except AgentCoordError as error:
            code, message, data = failure_of(error)
            await self._send(encode_error(request.id, code, message, data))
            return None
        await self._send(begun.answer)
        self._seen = begun.seq
        return begun.missed

    async def _follow(self, subscription: Subscription, topics: frozenset[str]) -> None:
        """Send what is new, until the daemon has said everything."""
        desk = self._desk
        due = DueViews(desk.views, desk.board, desk.clock, topics)
        wake = subscription.ready.set
        desk.board.on_change.append(wake)
        try:
            while True:
                is_last = desk.farewell.begun
                try:
                    await self._send_new(subscription, topics, due)
                except StoreError:  # Away: what is due waits, and the client with it.
                    due.owe_everything()
                    await desk.clock.sleep(STORE_AWAY_S)
                    continue
                if is_last:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PUBLISH_PERIOD_S if due.is_owed() else None):
                        await subscription.ready.wait()
        finally:
            desk.board.on_change.remove(wake)

    async def _send_new(self, subscription: Subscription, topics: frozenset[str], due: DueViews) -> None:
        desk = self._desk
        if subscription.lagged:
            subscription.lagged = False  # Should it lag again meanwhile, the next round tells.
            subscription.take_all()
            try:
                anew = await desk.lagged()
            except StoreError:
                subscription.lagged = True
                raise
            self._seen = anew.seq
            await self._send(anew.answer)
            del anew
        events = subscription.take_all()
        if Topic.EVENTS in topics:
            await self._send_events(events)
        async with contextlib.aclosing(due.lines_due()) as lines:
            async for line in lines:
                await self._send(line)

    async def _send_events(self, events: list[Event]) -> None:
        """Send those not seen yet, in order."""
        epoch = self._desk.hub.epoch
        lines = []
        for event in events:
            if event.seq > self._seen:
                self._seen = event.seq
                lines.append(_event_line(epoch, event))
        for start in range(0, len(lines), EVENTS_A_WRITE):
            await self._send(b"".join(lines[start : start + EVENTS_A_WRITE]))


def _event_line(epoch: str, event: Event) -> bytes:
    """One event as a line; one that is too long for a line all the same goes without its particulars."""
    try:
        return encode_notification(Notification.EVENT, {"epoch": epoch, "event": event.to_dict()})
    except WireError:
        short = replace(event, data={"left_out": "too long for one line"})
        return encode_notification(Notification.EVENT, {"epoch": epoch, "event": short.to_dict()})
