"""Following a run: nothing told twice, nothing believed too early, restarts survived, ends bounded."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from canned_views import status_view

from agentcoord.cli.follow import AWAY_S, Follower, position_now
from agentcoord.errors import DaemonNotRunningError, RpcError
from agentcoord.wire.client import ControlClient
from agentcoord.wire.codec import FrameDecoder, Request, encode_error, encode_notification, encode_result
from agentcoord.wire.messages import Method, Notification, RpcCode, StatusView

STOPPING = status_view(ended=False, state="stopping")
RUNNING = status_view(ended=False)
ENDED = status_view(ended=True)


def event(seq: int) -> dict[str, Any]:
    return {"kind": "task.done", "at_ms": seq, "task": f"t{seq}", "worker": None, "data": {}, "seq": seq}


def event_line(seq: int) -> bytes:
    return encode_notification(Notification.EVENT, {"epoch": "e", "event": event(seq)})


def said(seq: int, kind: str) -> bytes:
    """What the daemon tells of itself, as event number `seq`."""
    return encode_notification(Notification.EVENT, {"epoch": "e", "event": {**event(seq), "kind": kind}})


async def as_it_is(_client: ControlClient, status: StatusView) -> StatusView:
    return status


class HandClock:
    """Sleeps at once, and lets a test act on each sleep."""

    def __init__(self, on_sleep: Callable[[], None] = lambda: None) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self._on_sleep = on_sleep

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self._on_sleep()
        await asyncio.sleep(0)


class Recorder:
    def __init__(self) -> None:
        self.events: list[int] = []
        self.notes: list[str] = []
        self.statuses = 0

    def event(self, event: Mapping[str, Any]) -> None:
        self.events.append(event["seq"])

    def status(self, status: StatusView) -> None:
        self.statuses += 1

    def note(self, words: str) -> None:
        self.notes.append(words)


class ScriptedDaemon:
    """Each connection takes the next script: what to say to `subscribe`, and the answers to `status`."""

    def __init__(self, *scripts: tuple[list[bytes], list[StatusView | None]]) -> None:
        self._scripts = iter(scripts)
        self.since: list[Any] = []
        self.last_words: list[bool] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        notices, statuses = next(self._scripts)
        waiting = iter(statuses)
        decoder = FrameDecoder()
        try:
            while chunk := await reader.read(65536):
                for frame in decoder.feed(chunk):
                    assert isinstance(frame, Request)
                    match frame.method:
                        case Method.HELLO:
                            writer.write(encode_result(frame.id, {"protocol": 1, "epoch": "e"}))
                        case Method.SUBSCRIBE:
                            self.since.append(frame.params["since"])
                            self.last_words.append(frame.params.get("last_words", False))
                            view = {"epoch": "e", "seq": 5, "mode": "replay", "snapshot": None}
                            writer.write(encode_result(frame.id, view) + b"".join(notices))
                        case _:
                            status = next(waiting)
                            if status is None:
                                return
                            writer.write(encode_result(frame.id, {**status}))
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="acf") as folder:
        yield Path(folder) / "s"


async def test_events_are_told_once_across_a_restart_and_the_position_is_kept(path: Path) -> None:
    daemon = ScriptedDaemon(
        ([event_line(6), event_line(7)], [RUNNING, None]),
        ([event_line(7), event_line(8), event_line(9)], [RUNNING, ENDED]),
    )
    # The first connection ends when its second status is asked for, so a notice must make it ask.
    daemon_says_ended = encode_notification(Notification.STATUS, {**ENDED})
    daemon._scripts = iter(
        [
            ([event_line(6), event_line(7), daemon_says_ended], [RUNNING, None]),
            ([event_line(7), event_line(8), event_line(9), daemon_says_ended], [RUNNING, ENDED]),
        ]
    )
    recorder, clock = Recorder(), HandClock()
    async with await asyncio.start_unix_server(daemon.serve, path):
        status = await Follower(path, recorder, clock, position=("e", 5)).until_ended(as_it_is)
    assert status["ended"]
    assert recorder.events == [6, 7, 8, 9]
    assert daemon.since == [{"epoch": "e", "seq": 5}, {"epoch": "e", "seq": 7}]
    assert recorder.notes[-1] == "connected again"
    assert len(clock.slept) == 1


async def test_a_notice_that_says_ended_is_not_believed_without_an_answer(path: Path) -> None:
    stale = encode_notification(Notification.STATUS, {**ENDED})
    daemon = ScriptedDaemon(([stale, event_line(6), stale], [RUNNING, RUNNING, ENDED]))
    recorder = Recorder()
    async with await asyncio.start_unix_server(daemon.serve, path):
        await Follower(path, recorder, HandClock()).until_ended(as_it_is)
    assert recorder.statuses == 3
    assert recorder.events == [6]


async def test_a_lagged_follower_catches_up_from_the_snapshot(path: Path) -> None:
    snapshot = {"epoch": "e", "seq": 8, "status": RUNNING, "events": [event(n) for n in (4, 5, 6, 7, 8)]}
    lagged = encode_notification(Notification.LAGGED, {"snapshot": snapshot})
    ended = encode_notification(Notification.STATUS, {**ENDED})
    daemon = ScriptedDaemon(([event_line(6), lagged, event_line(8), event_line(9), ended], [RUNNING, ENDED]))
    recorder = Recorder()
    async with await asyncio.start_unix_server(daemon.serve, path):
        await Follower(path, recorder, HandClock()).until_ended(as_it_is)
    assert recorder.events == [6, 7, 8, 9]


async def test_nobody_ever_listening_is_an_error_at_once(path: Path) -> None:
    clock = HandClock()
    with pytest.raises(DaemonNotRunningError):
        await Follower(path, Recorder(), clock).until_ended(as_it_is)
    assert clock.slept == []


async def test_a_daemon_that_stays_away_is_given_up_after_a_minute(path: Path) -> None:
    recorder, clock = Recorder(), HandClock()
    with pytest.raises(DaemonNotRunningError, match="did not come back") as caught:
        await Follower(path, recorder, clock, position=("e", 1)).until_ended(as_it_is)
    assert AWAY_S <= clock.now_s < AWAY_S + 3
    assert caught.value.mend.startswith("agentcoordd start")
    assert len(recorder.notes) == 1


async def test_a_refused_subscription_is_not_tried_again(path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for frame in FrameDecoder().feed(await reader.read(65536)):
            assert isinstance(frame, Request)
            writer.write(
                encode_error(frame.id, RpcCode.INVALID_PARAMS, "old protocol", {"exit_code": 5, "mend": ""})
            )
        await writer.drain()
        writer.close()

    clock = HandClock()
    async with await asyncio.start_unix_server(refuse, path):
        with pytest.raises(RpcError, match="old protocol"):
            await Follower(path, Recorder(), clock, position=("e", 1)).until_ended(as_it_is)
    assert clock.slept == []


async def test_cancelling_a_follower_midway_closes_its_connection(path: Path) -> None:
    told, closed = asyncio.Event(), asyncio.Event()

    class Watch(Recorder):
        def status(self, status: StatusView) -> None:
            told.set()

    class Daemon(ScriptedDaemon):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await super().serve(reader, writer)
            closed.set()

    async with await asyncio.start_unix_server(Daemon(([], [RUNNING])).serve, path):
        async with asyncio.TaskGroup() as group:
            following = group.create_task(Follower(path, Watch(), HandClock()).until_ended(as_it_is))
            await told.wait()
            following.cancel()
        assert following.cancelled()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_the_position_is_that_of_the_newest_event(path: Path) -> None:
    async with await asyncio.start_unix_server(ScriptedDaemon(([], [])).serve, path):
        assert await position_now(path) == ("e", 5)


async def test_a_daemon_that_stops_in_order_ends_the_following_at_once(path: Path) -> None:
    daemon = ScriptedDaemon(([event_line(6), said(7, "daemon.stopping")], [RUNNING, STOPPING]))
    recorder, clock = Recorder(), HandClock()
    async with await asyncio.start_unix_server(daemon.serve, path):
        status = await Follower(path, recorder, clock, position=("e", 5)).until_ended(as_it_is)
    assert status["state"] == "stopping"
    assert recorder.events == [6, 7]
    assert (clock.slept, recorder.notes) == ([], [])
    assert daemon.last_words == [True]


async def test_a_daemon_that_is_being_started_again_is_waited_for(path: Path) -> None:
    stopping = {"kind": "daemon.stopping", "at_ms": 7, "data": {"restarting": True}, "seq": 7}
    lines = [event_line(6), encode_notification(Notification.EVENT, {"epoch": "e", "event": stopping})]
    restarting = status_view(ended=False, state="restarting")
    daemon = ScriptedDaemon((lines, [RUNNING, restarting]), ([said(8, "daemon.started")], [ENDED]))
    recorder = Recorder()
    async with await asyncio.start_unix_server(daemon.serve, path):
        status = await Follower(path, recorder, HandClock(), position=("e", 5)).until_ended(as_it_is)
    assert status["ended"]
    assert recorder.events[:2] == [6, 7]
    assert recorder.notes == ["the daemon is being started again; trying again for 60 s", "connected again"]


async def test_a_stopping_daemon_that_is_gone_before_it_is_asked_is_not_waited_for(path: Path) -> None:
    daemon = ScriptedDaemon(([event_line(6), said(7, "daemon.stopping")], [None]))
    recorder, clock = Recorder(), HandClock()
    async with await asyncio.start_unix_server(daemon.serve, path):
        with pytest.raises(DaemonNotRunningError, match="has stopped"):
            await Follower(path, recorder, clock, position=("e", 5)).until_ended(as_it_is)
    assert recorder.events == [6, 7]
    assert clock.slept == []


async def test_a_stop_of_an_earlier_life_that_is_replayed_ends_nothing(path: Path) -> None:
    told = [said(6, "daemon.stopping"), said(7, "daemon.started"), event_line(8)]
    told.append(encode_notification(Notification.STATUS, {**ENDED}))
    daemon = ScriptedDaemon((told, [RUNNING, RUNNING, ENDED]))
    recorder = Recorder()
    async with await asyncio.start_unix_server(daemon.serve, path):
        status = await Follower(path, recorder, HandClock(), position=("e", 5)).until_ended(as_it_is)
    assert status["ended"]
    assert recorder.events == [6, 7, 8]


def leaving_once(heard: asyncio.Event) -> type[ScriptedDaemon]:
    """Daemons that hang up when their client has `heard` enough."""

    class Leaving(ScriptedDaemon):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(super().serve(reader, writer))
                await heard.wait()
                serving.cancel()

    return Leaving


async def test_who_follows_until_the_stop_hears_all_of_it(path: Path) -> None:
    heard = asyncio.Event()

    class Watch(Recorder):
        def event(self, event: Mapping[str, Any]) -> None:
            super().event(event)
            if event["seq"] == 8:
                heard.set()

    told = [said(6, "daemon.stopping"), event_line(7), event_line(8)]
    recorder, clock = Watch(), HandClock()
    async with await asyncio.start_unix_server(leaving_once(heard)((told, [RUNNING])).serve, path):
        await Follower(path, recorder, clock, position=("e", 5)).until_stopped()
    assert recorder.events == [6, 7, 8]
    assert (clock.slept, recorder.notes) == ([], [])


async def test_who_begins_to_follow_a_daemon_that_stops_already_waits_for_no_other(path: Path) -> None:
    heard = asyncio.Event()

    class Watch(Recorder):
        def status(self, status: StatusView) -> None:
            super().status(status)
            heard.set()

    told = [encode_notification(Notification.STATUS, {**STOPPING})]
    recorder, clock = Watch(), HandClock()
    async with await asyncio.start_unix_server(leaving_once(heard)((told, [STOPPING])).serve, path):
        await Follower(path, recorder, clock, position=("e", 5)).until_stopped()
    assert recorder.statuses == 1
    assert (clock.slept, recorder.notes) == ([], [])
