"""Notices: what is told in the night, how often, and where it goes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.header import decode_header
from pathlib import Path
from typing import Any, cast

import pytest
from daemon_fakes import HandClock, MemoryLog
from structlog.testing import capture_logs

from agentcoord.config.sections import NotifySection
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.notice_shapes import request_for
from agentcoord.daemon.notices import Notice, NoticeDesk, NoticeKind, died_before
from agentcoord.daemon.notifications import (
    Notifier,
    Send,
    _desktop_words,
    by_command,
    by_url,
    send_to_all,
    ways_to_notify,
)
from agentcoord.domain.events import Event, EventKind
from agentcoord.errors import DaemonError, StoreUnavailableError
from agentcoord.store.event_log import EventLog
from agentcoord.telemetry.logs import Redactor
from agentcoord.wire.messages import StatusView

KEY = "ghp_" + "aB3" * 12

ALL = NotifySection().events
NOTICE = Notice(NoticeKind.NEEDS_YOU, "shop needs you", "a asks: which?", urgent=True)


class PatientClock(HandClock):
    """One whose sleeps do not end by themselves."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


def desk(*, died: bool = False, wanted: tuple[str, ...] = ALL) -> NoticeDesk:
    return NoticeDesk("shop", wanted, died=died)


def event(kind: EventKind, at_ms: int = 0, task: str = "a", **data: object) -> Event:
    return Event(kind, at_ms, task, None, data)


def status(*, ended: bool) -> StatusView:
    counts = {"done": 3, "failed": 1, "parked": 0, "cancelled": 0}
    return cast("StatusView", {"ended": ended, "counts": counts, "spend": {"spent_usd": 1.25}})


async def never_ends() -> StatusView:
    return status(ended=False)


def test_a_question_needs_you_and_a_flood_of_them_is_one_notice_a_minute() -> None:
    told = desk()
    first = told.notice_of(event(EventKind.QUESTION_ASKED, 0, question="which?"))
    assert first is not None
    assert (first.kind, first.text, first.urgent) == (NoticeKind.NEEDS_YOU, "a asks: which?", True)
    assert told.notice_of(event(EventKind.TASK_PARKED, 59_000, why="conflict")) is None
    assert told.notice_of(event(EventKind.TASK_PARKED, 60_000, why="conflict")) is not None


def test_what_came_up_within_the_minute_is_told_after_it() -> None:
    told = desk()
    assert told.due_in_ms(0) is None
    assert told.notice_of(event(EventKind.QUESTION_ASKED, 0, question="which?"))
    for at_ms in (10_000, 20_000):
        assert told.notice_of(event(EventKind.TASK_PARKED, at_ms, why="conflict")) is None
    assert told.notice_of(event(EventKind.RUN_PAUSED, 40_000, why="no credit")) is None
    assert (told.due(59_999), told.due_in_ms(59_999)) == ([], 1)
    (late,) = told.due(60_000)
    assert late.text == "the run is paused: no credit (and 2 more: agentcoord status)"
    assert (told.due(60_000), told.due_in_ms(60_000)) == ([], None)
    assert told.notice_of(event(EventKind.TASK_PARKED, 61_000, why="conflict")) is None
    assert [each.text for each in told.due(120_000)] == ["a is parked: conflict"]


@pytest.mark.parametrize(
    ("why", "texts"),
    [
        (
            "the deadline 07:00 has come",
            [
                "a is parked: conflict",
                "b is parked: conflict",
                (
                    "The deadline 07:00 has come. 3 of 6 tasks done, 1 failed, 2 not ended, $1.25 spent. "
                    "agentcoordd start goes on."
                ),
            ],
        ),
        ("", ["a is parked: conflict", "b is parked: conflict"]),
    ],
)
async def test_a_daemon_that_stops_by_itself_tells_how_the_run_stands_and_what_it_held_back(
    why: str, texts: list[str]
) -> None:
    heard: list[str] = []
    first = asyncio.Event()

    async def hear(notice: Notice) -> None:
        heard.append(notice.text)
        first.set()

    async def ask() -> StatusView:
        view = status(ended=False)
        return {**view, "counts": {**view["counts"], "queued": 2}}

    clock = PatientClock()
    hub = EventHub(cast("EventLog", MemoryLog()), clock)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(hub.run())
        notifier = group.create_task(Notifier(hub, desk(), ask, [hear], str, clock).run())
        await asyncio.sleep(0)
        for kind, task in (
            (EventKind.PLAN_LOADED, None),
            (EventKind.TASK_PARKED, "a"),
            (EventKind.TASK_PARKED, "b"),
        ):
            hub.emit(kind, task=task, why="conflict")
        hub.emit(EventKind.DAEMON_STOPPING, **({"why": why} if why else {}))
        await hub.flushed()
        async with asyncio.timeout(10):
            await first.wait()
        notifier.cancel()
        following.cancel()
    assert heard == texts


def test_a_cap_that_is_reached_is_told_at_once_after_its_warning() -> None:
    told = desk()
    assert told.notice_of(
        event(EventKind.BUDGET_WARNED, 0, scope="run", spent_usd_micros=5_000_000, cap_usd_micros=6_000_000)
    )
    assert told.notice_of(event(EventKind.BUDGET_REACHED, 5_000, scope="run"))


async def test_nothing_need_happen_for_what_was_held_back_to_be_told() -> None:
    heard: list[str] = []
    told = asyncio.Event()

    async def hear(notice: Notice) -> None:
        heard.append(notice.text)
        if len(heard) == 2:
            told.set()

    clock = HandClock()
    hub = EventHub(cast("EventLog", MemoryLog()), clock)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(hub.run()),
            group.create_task(Notifier(hub, desk(), never_ends, [hear], str, clock).run()),
        ]
        await asyncio.sleep(0)
        for task in "abc":
            hub.emit(EventKind.TASK_PARKED, task=task, why="conflict")
        async with asyncio.timeout(10):
            await told.wait()
        for each in tasks:
            each.cancel()
    assert heard == ["a is parked: conflict", "c is parked: conflict (and 1 more: agentcoord status)"]


def test_a_clock_that_jumps_back_does_not_silence_the_night() -> None:
    told = desk()
    assert told.notice_of(event(EventKind.TASK_PARKED, 9_000_000, why="x"))
    assert told.notice_of(event(EventKind.TASK_PARKED, 0, why="x"))


def test_three_failures_in_a_row_are_told_and_a_success_begins_anew() -> None:
    told = desk()
    failed = [event(EventKind.TASK_FAILED, i * 100_000) for i in range(5)]
    assert [told.notice_of(each) for each in failed[:2]] == [None, None]
    assert told.notice_of(event(EventKind.TASK_DONE)) is None
    assert [told.notice_of(each) for each in failed[2:4]] == [None, None]
    notice = told.notice_of(failed[4])
    assert notice is not None
    assert notice.kind is NoticeKind.FAILURES


def test_a_pause_by_hand_is_not_told_and_one_of_the_daemons_is() -> None:
    assert desk().notice_of(event(EventKind.RUN_PAUSED)) is None
    assert desk().notice_of(event(EventKind.RUN_PAUSED, why="no credit"))


def test_the_end_of_a_run_is_told_once_a_run() -> None:
    told = desk()
    over = event(EventKind.TASK_DONE)
    assert not told.asks_whether_over(over)
    told.asks_whether_over(event(EventKind.PLAN_LOADED))
    assert told.asks_whether_over(over)
    assert told.finished(status(ended=False)) is None
    notice = told.finished(status(ended=True))
    assert notice is not None
    assert notice.text.startswith("3 of 4 tasks done, 1 failed, $1.25 spent")
    assert told.finished(status(ended=True)) is None
    told.asks_whether_over(event(EventKind.TASK_CLAIMED))
    assert told.finished(status(ended=True)) is not None


def test_both_steps_of_the_budget_are_told() -> None:
    warned = desk().notice_of(
        event(EventKind.BUDGET_WARNED, scope="run", spent_usd_micros=5_000_000, cap_usd_micros=6_000_000)
    )
    assert warned is not None
    assert warned.text == "$5.00 of the run cap of $6.00 is spent."
    assert desk().notice_of(event(EventKind.BUDGET_REACHED, scope="run"))


def test_a_restart_is_told_only_after_a_death() -> None:
    started, stopping = event(EventKind.DAEMON_STARTED), event(EventKind.DAEMON_STOPPING)
    assert not died_before([])
    assert not died_before([started, stopping, event(EventKind.TASK_DONE)])
    assert died_before([started, stopping, started, event(EventKind.TASK_TURN)])
    assert died_before([event(EventKind.TASK_TURN)] * 500)  # Its start is older than what is looked at.
    assert desk(died=False).notice_of(started) is None
    told = desk(died=True)
    assert told.notice_of(started)
    assert told.notice_of(event(EventKind.DAEMON_STARTED, 999_999)) is None


def test_a_deadline_that_came_while_the_daemon_was_dead_is_told_of_what_has_not_ended() -> None:
    for died in (True, False):
        told = desk(died=died)
        told.notice_of(event(EventKind.DAEMON_STOPPING, why="the deadline 07:00 has come"))
        assert told.is_cut_short is died
    told = desk(died=True)
    told.notice_of(event(EventKind.DAEMON_STOPPING, why="the deadline 07:00 has come"))
    assert told.cut_short(status(ended=True)) is None
    notice = told.cut_short(status(ended=False))
    assert notice is not None
    assert notice.text.startswith("The deadline 07:00 has come. 3 of 4 tasks done")


def test_what_nobody_asked_for_is_not_told() -> None:
    assert desk(wanted=("finished",)).notice_of(event(EventKind.TASK_PARKED, why="x")) is None


@pytest.mark.parametrize(
    ("url", "check"),
    [
        ("https://ntfy.sh/mine", lambda body, head: body == b"a asks: which?" and head["Priority"] == "high"),
        ("https://hooks.slack.com/x", lambda body, head: json.loads(body)["text"].startswith("shop")),
        ("https://discord.com/api/webhooks/1/x", lambda body, head: "content" in json.loads(body)),
        ("https://canary.discord.com/api/x", lambda body, head: "content" in json.loads(body)),
        ("http://127.0.0.1:9/x", lambda body, head: json.loads(body)["kind"] == "needs_you"),
    ],
)
def test_each_host_is_told_in_its_own_shape(url: str, check: Callable[[bytes, dict[str, str]], bool]) -> None:
    request = request_for(url, NOTICE)
    assert isinstance(request.data, bytes)
    assert request.get_method() == "POST"
    assert check(request.data, dict(request.headers))


def test_letters_that_no_header_has_are_told_to_ntfy_all_the_same() -> None:
    notice = Notice(NoticeKind.NEEDS_YOU, "schönes プロジェクト needs you", "")
    [(told, how)] = decode_header(request_for("https://ntfy.sh/mine", notice).headers["Title"])
    assert (told.decode(), how) == (notice.title, "utf-8")
    assert request_for("https://ntfy.sh/mine", NOTICE).headers["Title"] == NOTICE.title


async def test_who_is_named_in_a_url_signs_in() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await by_url(f"http://me:p%40ss@127.0.0.1:{port}/x")(NOTICE)
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in heads[0]  # me:p@ss
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in heads[0]


def test_a_workers_words_call_nobody() -> None:
    notice = Notice(NoticeKind.NEEDS_YOU, "shop needs you", "a asks: <!channel> & @everyone?")
    to_slack, to_discord = (
        json.loads(cast("bytes", request_for(url, notice).data))
        for url in ("https://hooks.slack.com/x", "https://discord.com/api/webhooks/1/x")
    )
    assert to_slack["text"].endswith("a asks: &lt;!channel&gt; &amp; @everyone?")
    assert to_discord["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "ntfy.sh/mine", "http://", "http://[x"])
def test_only_web_addresses_are_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"notify\.url"):
        request_for(url, NOTICE)
    with pytest.raises(DaemonError, match=r"notify\.url is no http") as refused:  # At the start.
        ways_to_notify(NotifySection(url=url), {})
    assert url not in f"{refused.value} {refused.value.mend}"


async def test_a_command_gets_the_words_and_not_the_key(tmp_path: Path) -> None:
    out = tmp_path / "out"
    env = {"PATH": "/usr/bin:/bin", "ANTHROPIC_API_KEY": "sk-secret", "OUT": str(out)}
    await by_command('{ echo "$NOTICE_KIND|$NOTICE_TITLE|$ANTHROPIC_API_KEY"; cat; } > "$OUT"', env)(NOTICE)
    first, _, rest = out.read_text().partition("\n")
    assert first == "needs_you|shop needs you|"
    assert json.loads(rest)["text"] == "a asks: which?"


async def test_a_way_that_fails_does_not_keep_the_next_from_telling() -> None:
    heard: list[Notice] = []

    async def hear(notice: Notice) -> None:
        heard.append(notice)
        all_heard.set()

    all_heard = asyncio.Event()
    hub = EventHub(cast("EventLog", MemoryLog()), HandClock())
    ways = [by_command("exit 3", {}), hear]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(hub.run()),
            group.create_task(Notifier(hub, desk(), never_ends, ways, Redactor([]).clean, HandClock()).run()),
        ]
        await asyncio.sleep(0)
        hub.emit(EventKind.TASK_PARKED, task="a", why=f"who may use {KEY}?")
        async with asyncio.timeout(10):
            await all_heard.wait()
        for each in tasks:
            each.cancel()
    assert [each.kind for each in heard] == [NoticeKind.NEEDS_YOU]
    assert "who may use [redacted]?" in heard[0].text


def test_nothing_is_sent_where_nothing_is_set_up() -> None:
    assert ways_to_notify(NotifySection(), {}) == []
    assert len(ways_to_notify(NotifySection(command="true", url="http://x/"), {})) == 2


async def test_apprise_sends_to_whatever_its_urls_name() -> None:
    heard: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.startswith("Content-Length")
        )
        heard.append(json.loads(await reader.readexactly(length)))
        status = "200 OK" if len(heard) == 1 else "500 No"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (send,) = ways_to_notify(NotifySection(apprise=(f"json://127.0.0.1:{port}/x",)), dict(os.environ))
        await send(NOTICE)
        assert (heard[0]["title"], heard[0]["message"]) == (NOTICE.title, NOTICE.text)
        assert heard[0]["type"] == "warning"
        with pytest.raises(OSError, match="exit code"):
            await send(NOTICE)


def test_an_entry_that_is_no_url_is_told_at_the_start_by_its_number() -> None:
    with pytest.raises(DaemonError, match="entry 2 is no URL") as caught:
        ways_to_notify(NotifySection(apprise=("json://localhost/", "secret-thing")), {})
    assert "secret-thing" not in str(caught.value)


@asynccontextmanager
async def web(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request with `answer`; its address, and what it was told."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if b"ength" in line)
        heard.append(await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", heard


async def test_a_web_address_is_posted_to_and_a_refusal_or_nonsense_is_a_failure() -> None:
    async with web(b"HTTP/1.1 204 No\r\n\r\n") as (url, heard):
        await by_url(url)(NOTICE)
        assert json.loads(heard[0])["text"] == NOTICE.text
    async with web(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as (url, _):
        with pytest.raises(OSError, match="403"):
            await by_url(url)(NOTICE)
    async with web(b"what?\r\n\r\n") as (url, _):
        with pytest.raises(OSError, match="no HTTP answer: BadStatusLine"):
            await by_url(url)(NOTICE)


async def test_a_redirect_is_no_success_and_is_not_followed() -> None:
    head = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with web(head.encode()) as (url, heard):
        with capture_logs() as logged:
            await send_to_all([by_url(url)], NOTICE)
    assert len(heard) == 1
    (lost,) = [each for each in logged if each["event"] == "notice_not_sent"]
    assert lost["error"] == "HTTPError 302"


def test_a_server_that_says_nothing_holds_up_neither_the_next_notice_nor_a_daemon_that_stops() -> None:
    async def tell(port: int) -> None:
        with pytest.raises(TimeoutError):
            await by_url(f"http://127.0.0.1:{port}/hook", send_timeout_s=0.05)(NOTICE)

    async def tell_one_that_takes_its_time(port: int) -> None:
        sending = send_to_all([by_url(f"http://127.0.0.1:{port}/hook")], NOTICE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sending

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        asyncio.run(tell(port))
        with capture_logs() as logged:
            asyncio.run(tell_one_that_takes_its_time(port))
        assert [each["event"] for each in logged] == ["notice", "notice_not_sent"]
        assert any(thread.name == "notice" for thread in threading.enumerate()), "nobody waited for it"


@asynccontextmanager
async def slow_web(answer: asyncio.Event) -> AsyncIterator[tuple[str, asyncio.Semaphore]]:
    """A server that answers when it may; the semaphore has one for each request."""
    taken = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            taken.release()
            await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", taken


async def tell(send: Send) -> None:
    await send(NOTICE)


async def cut_off(send: Send, taken: asyncio.Semaphore) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(tell(send))
        await taken.acquire()
        first.cancel()


async def test_a_server_that_does_not_end_its_answer_is_sent_no_second_notice() -> None:
    answer = asyncio.Event()
    async with slow_web(answer) as (url, taken):
        send = by_url(url, busy_timeout_s=0.01)
        await cut_off(send, taken)
        with capture_logs() as logged:
            for _ in range(3):
                await send_to_all([send], NOTICE)
        lost = [each["error"] for each in logged if each["event"] == "notice_not_sent"]
        assert (lost, taken.locked()) == (["TimeoutError"] * 3, True)
        answer.set()
        await by_url(url)(NOTICE)


async def test_a_notice_waits_for_the_one_before_that_was_cut_off() -> None:
    answer = asyncio.Event()
    async with slow_web(answer) as (url, taken), asyncio.TaskGroup() as group:
        send = by_url(url)
        await cut_off(send, taken)
        second = group.create_task(tell(send))
        await asyncio.sleep(0)
        answer.set()
        await second
        assert not taken.locked()


async def test_the_desktop_is_told_by_the_systems_own_tool_where_there_is_one(tmp_path: Path) -> None:
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "OUT": str(tmp_path / "out")}
    assert ways_to_notify(NotifySection(desktop=True), {"PATH": "/nowhere"}) == []
    tool = tmp_path / ("osascript" if sys.platform == "darwin" else "notify-send")
    tool.write_text('#!/bin/sh\nfor word; do echo "$word"; done > "$OUT"\n')
    tool.chmod(0o755)
    (send,) = ways_to_notify(NotifySection(desktop=True), env)
    await send(NOTICE)
    told = (tmp_path / "out").read_text().splitlines()
    assert told[-2:] == [NOTICE.title, NOTICE.text]
    assert sys.platform == "darwin" or "--urgency=critical" in told


def test_a_notice_is_no_program_for_either_tool() -> None:
    """Words of a task go in as arguments, after what ends the options."""
    tricky = Notice(NoticeKind.FINISHED, "-t", 'x" & do shell script "id')
    assert _desktop_words("notify-send", tricky)[-3:] == ["--", tricky.title, tricky.text]
    option, script, *words = _desktop_words("osascript", tricky)
    assert (option, words) == ("-e", [tricky.title, tricky.text])
    assert "do shell script" not in script


def test_apprise_that_is_not_installed_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(DaemonError, match="Apprise is not installed") as refused:
        ways_to_notify(NotifySection(apprise=("json://localhost/",)), {})
    assert "agentcoord[apprise]" in refused.value.mend


async def test_a_command_that_goes_on_is_ended_with_the_daemon_and_what_it_began_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    os.mkfifo(tmp_path / "held")
    send = by_command(
        'sleep 60 > "$HELD" & echo $$ > "$OUT"; wait',
        {"PATH": "/usr/bin:/bin", "OUT": str(tmp_path / "pid"), "HELD": str(tmp_path / "held")},
    )
    async with asyncio.TaskGroup() as group:

        async def send_it() -> None:
            await send(NOTICE)

        sending = group.create_task(send_it())
        held = await asyncio.to_thread((tmp_path / "held").open)
        pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
        sending.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with held:
        ends = select.poll()
        ends.register(held, 0)
        assert ends.poll(5_000), "nobody holds its other end any more"


async def test_the_end_of_the_run_is_asked_for_when_a_task_ends_and_told_once_the_store_knows() -> None:
    answers: list[Exception | bool] = [StoreUnavailableError("away"), False, True]
    heard: list[Notice] = []
    told = asyncio.Event()

    async def hear(notice: Notice) -> None:
        heard.append(notice)
        told.set()

    async def ask() -> StatusView:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return status(ended=answer)

    hub = EventHub(cast("EventLog", MemoryLog()), HandClock())
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(hub.run()),
            group.create_task(Notifier(hub, desk(), ask, [hear], str, HandClock()).run()),
        ]
        await asyncio.sleep(0)
        for kind in (EventKind.PLAN_LOADED, *[EventKind.TASK_DONE] * 3):
            hub.emit(kind, task="a")
        async with asyncio.timeout(10):
            await told.wait()
        for each in tasks:
            each.cancel()
    assert (answers, [each.kind for each in heard]) == ([], [NoticeKind.FINISHED])
