"""The control socket against clients that are slow, silent, broken or hostile, and a store that is away."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest
from daemon_kit import PATIENCE_S, Daemonlet, daemonlet, own_valkey, until

from agentcoord.daemon.connection import Desk
from agentcoord.daemon.control import LOOK_EVERY_S, ControlServer
from agentcoord.daemon.event_hub import QUEUE_EVENTS
from agentcoord.daemon.farewell import Farewell
from agentcoord.daemon.pages import PAGE_ROWS
from agentcoord.daemon.places import Places
from agentcoord.daemon.project_lock import identity, touch_identity
from agentcoord.daemon.supervisor import answers_on
from agentcoord.daemon.task_views import TaskViews
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.errors import ConnectionLostError
from agentcoord.wire.client import ControlClient
from agentcoord.wire.codec import FrameDecoder
from agentcoord.wire.messages import FRAME_BYTES, Method, RpcCode, Topic


@asynccontextmanager
async def served(
    d: Daemonlet, *, places: Places | None = None, look_every_s: float = LOOK_EVERY_S, **given: object
) -> AsyncIterator[None]:
    """The socket answers and the hub runs inside the block."""
    desk = Desk(d.requests, d.views, d.hub, d.store.events, d.shop.board, d.shop.clock)
    async with asyncio.TaskGroup() as group:
        hub = group.create_task(d.hub.run())
        desk = replace(desk, **given)  # type: ignore[arg-type]  # a test's
        server = ControlServer(desk, places)
        touch = partial(touch_identity, d.paths)
        async with server.serving(d.paths.socket, look_every_s=look_every_s, unreachable=touch):
            yield
        hub.cancel()


class Raw:
    """A client that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, line: bytes) -> None:
        self.writer.write(line + b"\n")

    def ask(self, number: int, method: str, **params: object) -> None:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.say(json.dumps(message).encode())

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            line = await self.reader.readline()
        return dict(json.loads(line)) if line else {}

    async def hear_event(self, **data: object) -> dict[str, Any]:
        """The next event with this data."""
        while True:
            heard = await self.hear()
            event = heard.get("params", {}).get("event")
            if event is not None and data.items() <= event["data"].items():
                return dict(heard)


HELLO = b'{"jsonrpc":"2.0","id":0,"method":"hello","params":{"protocol":[1],"client":"test"}}'


@asynccontextmanager
async def mute(d: Daemonlet) -> AsyncIterator[Raw]:
    """A client that has not said `hello`."""
    reader, writer = await asyncio.open_unix_connection(str(d.paths.socket), limit=2 * FRAME_BYTES)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def raw(d: Daemonlet) -> AsyncIterator[Raw]:
    """A client that has said `hello`, and nothing else."""
    async with mute(d) as client:
        client.say(HELLO)
        assert "result" in await client.hear()
        yield client


async def test_nonsense_is_answered_and_the_connection_goes_on(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        nonsense = [b"{", b"[" * 100_000, b'"x"', b'{"jsonrpc":"1.0"}', b"x" * (FRAME_BYTES + 1), b"\xff\xfe"]
        for line in nonsense:
            client.say(line)
            assert "error" in await client.hear(), line[:20]
        client.ask(1, "x" * (FRAME_BYTES - 200))
        assert (await client.hear())["error"]["code"] == RpcCode.UNKNOWN_METHOD
        client.ask(2, Method.LOAD, text="[[task]]\n" * 20_000)
        refused = await client.hear()
        assert (refused["error"]["code"], refused["id"]) == (RpcCode.BAD_PLAN, 2)
        client.ask(3, Method.SUBSCRIBE, topics="all")
        assert (await client.hear())["error"]["code"] == RpcCode.INVALID_PARAMS
        client.ask(4, Method.WORKERS)
        assert (await client.hear())["result"] == {"workers": []}


async def test_an_id_as_long_as_a_line_ends_that_connection_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client, raw(d) as other:
        client.say(json.dumps({"jsonrpc": "2.0", "id": "i" * (FRAME_BYTES - 100), "method": "no"}).encode())
        assert await client.hear() == {}
        other.ask(1, Method.WORKERS)
        assert "result" in await other.hear()


def few(d: Daemonlet) -> Places:
    """Three places, of which two may follow."""
    return Places(d.shop.clock.monotonic, most=3, kept_for_questions=1)


async def test_a_newcomer_gets_the_place_of_who_was_idle_for_longest(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with (
        daemonlet(valkey_url, project_id) as d,
        served(d, places=few(d)),
        raw(d) as follower,
        raw(d) as first,
        mute(d) as second,
    ):
        follower.ask(1, Method.SUBSCRIBE, topics=["events"])
        assert "result" in await follower.hear()
        async with raw(d) as newcomer:
            told = await first.hear()
            assert (told["id"], told["error"]["code"]) == (None, RpcCode.UNAVAILABLE)
            assert await first.hear() == {}
            async with raw(d):
                assert "error" in await second.hear()
                newcomer.ask(1, Method.WORKERS)
                assert "result" in await newcomer.hear()
        d.hub.emit(EventKind.ERROR, where="test")
        await follower.hear_event(where="test")


async def test_followers_leave_a_place_for_questions(valkey_url: str, project_id: ProjectId) -> None:
    async with (
        daemonlet(valkey_url, project_id) as d,
        served(d, places=few(d)),
        raw(d) as first,
        raw(d) as second,
    ):
        for follower in (first, second, first):
            follower.ask(1, Method.SUBSCRIBE, topics=["events"])
            assert "result" in await follower.hear()
        async with raw(d) as third:
            third.ask(1, Method.SUBSCRIBE, topics=["events"])
            assert (await third.hear())["error"]["code"] == RpcCode.UNAVAILABLE
            third.ask(2, Method.STATUS)
            assert "result" in await third.hear()
        second.writer.write_eof()
        assert await second.reader.read() == b""
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            await client.subscribe([Topic.EVENTS])


async def test_who_finds_only_busy_clients_is_told_and_the_supervisor_takes_that_for_life(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        places = few(d)
        busy = [place for _ in range(3) if (place := places.take()) is not None]
        with ExitStack() as answering:
            for place in busy:
                answering.enter_context(place.answering())
            async with served(d, places=places):
                async with mute(d) as late:
                    assert (await late.hear())["error"]["code"] == RpcCode.UNAVAILABLE
                    assert await late.hear() == {}
                with pytest.raises(ConnectionLostError, match="3 clients are connected already"):
                    async with ControlClient.connect(d.paths.socket, client_name="test"):
                        pass
                assert await asyncio.to_thread(answers_on(d.paths), PATIENCE_S)
                places.give_back(busy[0])
                async with ControlClient.connect(d.paths.socket, client_name="test") as client:
                    assert client.hello["pid"]


async def until_async(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await happened():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def is_reached(d: Daemonlet) -> bool:
    with suppress(OSError):
        async with mute(d):
            return True
    return False


async def test_a_socket_whose_folder_was_removed_is_bound_anew_in_one_that_is_ours_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d, look_every_s=0.01):
        folder = d.paths.runtime_dir
        answers = answers_on(d.paths)
        d.paths.state_dir.mkdir(parents=True, exist_ok=True)
        async with raw(d) as early:
            with identity(d.paths):
                folder.rename(folder.with_name("removed"))
                folder.mkdir(mode=0o777)
                folder.chmod(0o777)  # Whatever the umask says: somebody else may have been faster.
                await until_async(lambda: asyncio.to_thread(answers, PATIENCE_S))
            assert not await asyncio.to_thread(answers, PATIENCE_S), "as of one that hangs while it ends"
            assert not d.paths.socket.exists()
            folder.rmdir()
            await until(d.paths.socket.exists)
            assert folder.stat().st_mode & 0o777 == 0o700
            assert d.paths.socket.stat().st_mode & 0o777 == 0o600
            early.ask(1, Method.STATUS)
            assert "result" in await early.hear(), "who was connected still is"
        shutil.rmtree(folder)
        folder.with_name("removed").rename(folder)
        await until_async(partial(is_reached, d))
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            assert client.hello["pid"]
    assert not d.paths.socket.exists()


async def test_a_socket_whose_folder_is_away_for_a_while_is_the_same_when_it_is_back(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        above = d.paths.runtime_dir.parent
        looks: list[bool] = []
        desk = Desk(d.requests, d.views, d.hub, d.store.events, d.shop.board, d.shop.clock)
        server = ControlServer(desk).serving(
            d.paths.socket, look_every_s=0.01, unreachable=lambda: looks.append(True)
        )
        async with server:
            bound = d.paths.socket.stat().st_ino
            above.rename(above.with_name("away"))
            try:
                await until(lambda: len(looks) > 1)
            finally:
                above.with_name("away").rename(above)
            assert await is_reached(d)
            assert d.paths.socket.stat().st_ino == bound


async def test_a_socket_that_another_took_and_left_is_bound_anew(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d, look_every_s=0.01):
        assert await is_reached(d)
        with socket.socket(socket.AF_UNIX) as other:
            d.paths.socket.with_name("other").unlink(missing_ok=True)
            other.bind(str(d.paths.socket.with_name("other")))
            other.listen()
            d.paths.socket.with_name("other").rename(d.paths.socket)
            other.setblocking(False)
            peer, _ = await asyncio.get_running_loop().sock_accept(other)  # We looked who listens there.
            peer.close()
        await until_async(partial(is_reached, d))


@pytest.mark.parametrize("turns", range(8))
async def test_a_client_that_comes_in_the_moment_of_the_stop_does_not_hold_it_up(
    valkey_url: str, project_id: ProjectId, turns: int
) -> None:
    async with daemonlet(valkey_url, project_id) as d, asyncio.timeout(PATIENCE_S):
        with socket.socket(socket.AF_UNIX) as late:
            async with served(d), raw(d):
                late.connect(str(d.paths.socket))
                late.sendall(HELLO + b"\n")
                for _ in range(turns):
                    await asyncio.sleep(0)


async def test_a_method_before_hello_is_refused_and_hello_makes_it_good(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), mute(d) as client:
        for method in (Method.STATUS, Method.SUBSCRIBE, "no such"):
            client.ask(1, method)
            assert (await client.hear())["error"]["code"] == RpcCode.REFUSED
        client.say(HELLO)
        assert (await client.hear())["result"]["protocol"] == 1
        client.ask(2, Method.STATUS)
        assert "result" in await client.hear()


async def test_a_version_that_is_not_spoken_ends_the_connection_before_the_next_request(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), mute(d) as client:
        client.ask(1, Method.HELLO, protocol=[9], client="test")
        client.ask(2, Method.STATUS)
        assert (await client.hear())["error"]["code"] == RpcCode.INVALID_PARAMS
        assert await client.hear() == {}


@pytest.mark.parametrize("says", [b"", b"no JSON\n", b'{"jsonrpc":"2.0","id":1,"method":"status"}\n'])
async def test_who_says_all_but_hello_is_hung_up_on(
    valkey_url: str, project_id: ProjectId, says: bytes
) -> None:
    async with (
        daemonlet(valkey_url, project_id) as d,
        served(d, hello_timeout_s=0.2),
        raw(d) as polite,
        mute(d) as rude,
    ):
        rude.writer.write(says)
        with suppress(ConnectionError):  # What it says into the closing goes nowhere.
            while await rude.hear():
                rude.writer.write(says)
        polite.ask(1, Method.WORKERS)
        assert "result" in await polite.hear()


async def test_a_client_whose_subscription_failed_is_no_follower() -> None:
    with own_valkey() as valkey:
        async with (
            daemonlet(valkey.url, ProjectId("p")) as d,
            served(d, idle_timeout_s=0.2),
            raw(d) as client,
        ):
            valkey.kill()
            client.ask(1, Method.SUBSCRIBE, topics=["events"])
            assert (await client.hear())["error"]["code"] == RpcCode.UNAVAILABLE
            assert await client.hear() == {}, "it is silent, and dropped for it"
            await asyncio.to_thread(valkey.start)


async def test_a_silent_client_is_dropped_but_a_silent_subscriber_is_not(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with (
        daemonlet(valkey_url, project_id) as d,
        served(d, idle_timeout_s=0.2),
        raw(d) as subscriber,
        raw(d) as silent,
    ):
        subscriber.ask(1, Method.SUBSCRIBE, topics=["events"])
        assert (await subscriber.hear())["id"] == 1
        silent.writer.write(b'{"jsonrpc": ')
        assert await silent.hear() == {}
        d.hub.emit(EventKind.ERROR, where="test")
        assert (await subscriber.hear_event(where="test"))["params"]["event"]["seq"] == 1


async def test_a_subscriber_that_never_reads_is_dropped_and_slows_nobody(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with (
        daemonlet(valkey_url, project_id) as d,
        served(d, write_timeout_s=0.3),
        raw(d) as stuck,
        ControlClient.connect(d.paths.socket, client_name="test") as client,
    ):
        stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
        stuck.ask(1, Method.SUBSCRIBE, topics=["events"])
        notices = await client.subscribe([Topic.EVENTS])
        for number in range(400):
            d.hub.emit(EventKind.ERROR, number=number, ballast="x" * 2_000)
        async with asyncio.timeout(PATIENCE_S):
            async for notice in notices:
                if notice.params["event"]["data"]["number"] == 399:
                    break
        await until(lambda: connections() == 1)


def connections() -> int:
    """How many clients the daemon serves."""
    return sum(task.get_name() == "control:client" for task in asyncio.all_tasks())


async def test_clients_that_hang_up_in_the_middle_of_an_answer_end_themselves_alone(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d):
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(str(d.paths.socket))
                rude.sendall(HELLO + b'\n{"jsonrpc":"2.0","id":1,"method":"status"}' * 50 + b"\n")
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            assert (await client.call(Method.STATUS))["state"] == "starting"


async def test_a_subscribe_is_answered_before_the_next_request(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        client.ask(1, Method.SUBSCRIBE, topics=["events"])
        client.ask(2, Method.WORKERS)
        client.ask(3, Method.SUBSCRIBE, topics=["events"])
        client.ask(4, Method.WORKERS)
        assert [(await client.hear())["id"] for _ in range(4)] == [1, 2, 3, 4]


async def test_a_replay_beside_new_events_has_no_gap_and_no_duplicate(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), asyncio.TaskGroup() as group:

        async def go_on_telling() -> None:
            for number in range(600):
                d.hub.emit(EventKind.ERROR, number=number)
                await asyncio.sleep(0)

        telling = group.create_task(go_on_telling())
        for since in (0, 0, 5):
            async with ControlClient.connect(d.paths.socket, client_name="test") as client:
                notices = await client.subscribe([Topic.EVENTS], since=(d.hub.epoch, min(since, d.hub.seq)))
                assert notices.view["mode"] == "replay"
                seen: list[int] = []
                async for notice in notices:
                    seen.append(notice.params["event"]["seq"])
                    if len(seen) == 500:
                        break
                assert seen == list(range(seen[0], seen[0] + 500))
                assert seen[0] == notices.view["seq"] + 1
        await telling


async def test_ten_dashboards_that_come_and_go_see_every_event_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), asyncio.TaskGroup() as group:

        async def watch(looks: int) -> list[int]:
            """Follow the events; leave after every few, and come back for the rest."""
            seen: list[int] = []
            while not seen or seen[-1] < 1_000:
                async with ControlClient.connect(d.paths.socket, client_name="test") as client:
                    topics = [Topic.EVENTS, Topic.TASKS, Topic.WORKERS, Topic.STATUS]
                    notices = await client.subscribe(topics, since=(d.hub.epoch, seen[-1] if seen else 0))
                    async for notice in notices:
                        if "event" in notice.params:
                            seen.append(notice.params["event"]["seq"])
                            if len(seen) % looks == 0 or seen[-1] == 1_000:
                                break
            return seen

        watching = [group.create_task(watch(50 + 70 * number)) for number in range(10)]
        for number in range(1_000):
            d.hub.emit(EventKind.ERROR, number=number)
            if number % 20 == 0:
                await asyncio.sleep(0.001)
    assert [watched.result() for watched in watching] == [list(range(1, 1_001))] * 10


async def test_events_that_are_no_longer_kept_are_a_resync_not_a_silent_gap(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d):
        for _ in range(10):
            d.hub.emit(EventKind.ERROR)
        await d.hub.flushed()
        await d.store.client.delete(d.store.keys.of("events"))
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            assert (await client.subscribe(since=(d.hub.epoch, 4))).view["mode"] == "resync"


async def test_a_log_that_begins_anew_is_told_to_those_who_follow(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        for _ in range(5):
            d.hub.emit(EventKind.ERROR)
        await d.hub.flushed()
        client.ask(1, Method.SUBSCRIBE, topics=["events"])
        before = (await client.hear())["result"]
        await d.store.cleanup(everything=True)
        d.hub.emit(EventKind.ERROR, where="new log")
        lagged = await client.hear()
        assert lagged["method"] == "lagged"
        snapshot = lagged["params"]["snapshot"]
        assert (snapshot["seq"], len(snapshot["events"])) == (1, 1)
        assert snapshot["epoch"] != before["epoch"]
        d.hub.emit(EventKind.ERROR, where="later")
        assert (await client.hear_event(where="later"))["params"]["event"]["seq"] == 2


async def test_a_subscriber_outlives_a_store_that_is_away() -> None:
    with own_valkey() as valkey:
        async with daemonlet(valkey.url, ProjectId("p")) as d, served(d), raw(d) as client:
            client.ask(1, Method.SUBSCRIBE)
            assert "result" in await client.hear()
            valkey.kill()
            d.shop.board.touch()
            client.ask(2, Method.TASKS)
            while (heard := await client.hear()).get("id") != 2:
                pass
            assert heard["error"]["code"] == RpcCode.UNAVAILABLE
            await asyncio.to_thread(valkey.start)
            d.hub.emit(EventKind.ERROR, where="back again")
            await client.hear_event(where="back again")


async def test_more_tasks_than_fit_a_line_come_in_pages_and_in_rows(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d):
        await d.load(
            *(f"t{n:04}" for n in range(700)), writes=tuple(f"src/{n}{'x' * 100}" for n in range(20))
        )
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            found: list[dict[str, Any]] = []
            offset: int | None = 0
            while offset is not None:
                page = await client.call(Method.TASKS, offset=offset)
                found += page["tasks"]
                offset = page["next_offset"]
            assert [task["id"] for task in found] == [f"t{n:04}" for n in range(700)]
            notices = await client.subscribe([Topic.TASKS])
            assert notices.view["snapshot"] is not None
            rows: set[str] = set()
            async with asyncio.timeout(PATIENCE_S):
                async for notice in notices:
                    rows |= {task["id"] for task in notice.params["tasks"]}
                    if len(rows) == 700:
                        break


async def test_an_event_that_fits_no_line_is_told_with_shorter_lists_or_without_its_particulars(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        client.ask(1, Method.SUBSCRIBE, topics=["events"])
        await client.hear()
        d.hub.emit(EventKind.ERROR, files=["x" * 1_000] * 1_200, ok=True)
        told = (await client.hear())["params"]["event"]["data"]
        assert (set(told["files"]), told["ok"], len(told["files"]) < 1_200) == ({"x" * 1_000}, True, True)
        d.hub.emit(EventKind.ERROR, error="x" * 1_200_000)
        assert (await client.hear())["params"]["event"]["data"] == {"left_out": "too long for one line"}


def rows_in_memory() -> int:
    """How many rows of tasks there are."""
    gc.collect()
    return sum(isinstance(each, dict) and "runs_here" in each for each in gc.get_objects())


async def test_a_page_reads_its_own_tasks_and_what_they_wait_for_and_no_others(
    valkey_url: str, project_id: ProjectId
) -> None:
    async def hashes_read() -> int:
        stats: dict[str, Any] = await d.store.client.info("commandstats")
        return int(stats["cmdstat_hgetall"]["calls"])

    async with daemonlet(valkey_url, project_id) as d, served(d):
        await d.load(*(f"t{n:04}" for n in range(PAGE_ROWS)))
        await d.load("t0500", "t0501", "t0502", needs=(TaskId("t0001"), TaskId("t0002"), TaskId("t0003")))
        await d.store.queue.cancel(TaskId("t0502"), why="not needed")
        async with ControlClient.connect(d.paths.socket, client_name="test") as client:
            before = await hashes_read()
            page = await client.call(Method.TASKS, offset=PAGE_ROWS)
            told = {task["id"]: (task["state"], task["why"]) for task in page["tasks"]}
            blocked = ("blocked", "needs t0001, t0002, t0003")
            assert told == {"t0500": blocked, "t0501": blocked, "t0502": ("cancelled", "not needed")}
            assert page["next_offset"] is None
            assert (await client.call(Method.TASK, id="t0500"))["task"] == page["tasks"][0]
            assert await hashes_read() - before < 20  # 10 tasks, and what else a task shows.
            beyond = await client.call(Method.TASKS, offset=PAGE_ROWS + 3)
            assert beyond == {"tasks": [], "next_offset": None}


async def test_a_task_whose_last_need_ends_while_it_is_read_names_nothing_that_it_waits_for(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d:
        await d.load("below")
        await d.load("above", needs=(TaskId("below"),))
        by_id = {task.id: task for task in await d.store.queue.all()}
        above, below = by_id[TaskId("above")], by_id[TaskId("below")]
        rows = TaskViews(d.shop, "a test", lambda: "running")
        assert rows.of(above, by_id)["why"] == "needs below"
        done = {below.id: msgspec.structs.replace(below, state=TaskState.DONE)}
        assert rows.of(above, by_id | done)["why"] == ""


async def test_who_does_not_read_holds_up_a_line_and_not_all_that_it_tells(
    valkey_url: str, project_id: ProjectId
) -> None:
    subscribe = b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"topics":["tasks"]}}\n'
    async with daemonlet(valkey_url, project_id) as d, served(d):
        names = [f"t{n}" for n in range(PAGE_ROWS)]
        await d.load(*names)
        for name in names:
            await d.store.queue.cancel(TaskId(name), why="not needed")
        before = rows_in_memory()
        with ExitStack() as clients:
            for _ in range(3):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(d.paths.socket))
                client.sendall(HELLO + b"\n")
                await asyncio.to_thread(client.recv, FRAME_BYTES)
                client.sendall(subscribe)
                await asyncio.to_thread(client.recv, 1)
            assert rows_in_memory() - before < PAGE_ROWS


async def test_what_a_client_sent_goes_with_it_and_waits_for_no_collector(
    valkey_url: str, project_id: ProjectId
) -> None:
    def decoders() -> int:
        return sum(isinstance(each, FrameDecoder) for each in gc.get_objects())

    async with daemonlet(valkey_url, project_id) as d, served(d):
        gc.collect()
        before = decoders()
        gc.disable()
        try:
            with ExitStack() as clients:
                for _ in range(3):
                    client = clients.enter_context(socket.socket(socket.AF_UNIX))
                    client.connect(str(d.paths.socket))
                    ask = b'{"jsonrpc":"2.0","id":1,"method":"workers","params":{}}\n'
                    await asyncio.to_thread(client.sendall, HELLO + b"\n" + ask + b"x" * 100_000)
                    await asyncio.to_thread(client.recv, 1)  # The rest stays unread, which cuts the line.
                assert decoders() == before + 3
            await until(lambda: decoders() == before)
        finally:
            gc.enable()


async def test_a_place_in_the_log_that_cannot_be_is_a_resync(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        d.hub.emit(EventKind.ERROR)
        await d.hub.flushed()
        for number, seq in enumerate([d.hub.seq + 1, -10_000, "4", None], start=1):
            client.ask(number, Method.SUBSCRIBE, topics=["events"], since={"epoch": d.hub.epoch, "seq": seq})
            view = (await client.hear())["result"]
            assert (view["mode"], view["seq"]) == ("resync", 1)


async def test_notices_and_answers_from_a_client_mean_nothing(valkey_url: str, project_id: ProjectId) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        client.say(b'{"jsonrpc":"2.0","method":"stop","params":{}}')
        client.say(b'{"jsonrpc":"2.0","id":9,"result":{}}')
        client.ask(1, Method.TASKS)
        assert (await client.hear())["id"] == 1


async def test_who_lags_behind_is_told_so_with_a_snapshot_and_follows_again(
    valkey_url: str, project_id: ProjectId
) -> None:
    """A client that reads nothing while more happens than its queue holds."""
    loop, some = asyncio.get_running_loop(), 1_000
    async with daemonlet(valkey_url, project_id) as d, served(d):
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await loop.sock_connect(client, str(d.paths.socket))
            ask = b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"topics":["events"]}}\n'
            await loop.sock_sendall(client, HELLO + b"\n" + ask)
            heard = b""
            async with asyncio.timeout(PATIENCE_S):
                while heard.count(b"\n") < 2:  # From here on it follows.
                    heard += await loop.sock_recv(client, 1 << 20)
            for _ in range(QUEUE_EVENTS // some + 3):
                for _ in range(some):
                    d.hub.emit(EventKind.ERROR, words="x" * 300)
                await d.hub.flushed()
            last = d.hub.seq
            seen: list[int] = []
            lagged: dict[str, Any] = {}
            while not seen or seen[-1] <= last:
                async with asyncio.timeout(PATIENCE_S):
                    heard += await loop.sock_recv(client, 1 << 20)
                *lines, heard = heard.split(b"\n")
                for line in map(json.loads, lines):
                    if line.get("method") == "lagged":
                        assert not lagged
                        lagged = line["params"]["snapshot"]
                        assert seen == list(range(1, seen[-1] + 1)), "nothing was left out until then"
                        assert seen[-1] < lagged["seq"] == last
                        seen.clear()
                        d.hub.emit(EventKind.ERROR, where="later")
                    elif "params" in line:
                        seen.append(line["params"]["event"]["seq"])
            assert seen == [last + 1]
            assert (lagged["epoch"], lagged["events"][-1]["seq"]) == (d.hub.epoch, last)


async def test_more_changed_rows_than_a_page_are_due_in_several_lines_each_once(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, served(d), raw(d) as client:
        names = [f"t{number:04}" for number in range(PAGE_ROWS + 1)]
        await d.load(*names)
        client.ask(1, Method.SUBSCRIBE, topics=["tasks"])
        assert "result" in await client.hear()

        async def rows_due() -> list[list[str]]:
            pages: list[list[str]] = []
            while sum(map(len, pages)) < len(names):
                pages.append([row["id"] for row in (await client.hear())["params"]["tasks"]])
            return pages

        first = await rows_due()
        for name in names:
            await d.store.queue.cancel(TaskId(name), why="not needed")
        d.shop.board.touch()
        again = await rows_due()
        for pages in (first, again):
            assert [len(page) for page in pages] == [PAGE_ROWS, 1]
            assert sorted(name for page in pages for name in page) == names


@asynccontextmanager
async def stoppable(d: Daemonlet, farewell: Farewell) -> AsyncIterator[Callable[[], asyncio.Task[None]]]:
    """The socket answers until the test calls what it is given: the task that closes it."""
    begun, asked = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with served(d, farewell=farewell):
            begun.set()
            await asked.wait()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        serving = group.create_task(serve())
        await begun.wait()

        def stop() -> asyncio.Task[None]:
            asked.set()
            return serving

        yield stop
        asked.set()


async def test_what_was_told_last_reaches_every_subscriber_before_the_socket_closes(
    valkey_url: str, project_id: ProjectId
) -> None:
    async with daemonlet(valkey_url, project_id) as d, stoppable(d, Farewell()) as stop, raw(d) as client:
        client.ask(1, Method.SUBSCRIBE, topics=["events"])
        assert (await client.hear())["id"] == 1
        for _ in range(400):
            d.hub.emit(EventKind.ERROR, ballast="x" * 2_000)
        d.hub.emit(EventKind.DAEMON_STOPPING, now=False)
        await d.hub.flushed()
        closing = stop()
        kinds = []
        while heard := await client.hear():
            kinds.append(heard["params"]["event"]["kind"])
        assert len(kinds) == 401
        assert kinds[-1] == EventKind.DAEMON_STOPPING
        await closing


async def test_who_wants_to_ask_once_more_is_answered_until_it_hangs_up(
    valkey_url: str, project_id: ProjectId
) -> None:
    farewell = Farewell(patience_s=PATIENCE_S)
    async with daemonlet(valkey_url, project_id) as d, stoppable(d, farewell) as stop:
        async with raw(d) as client:
            client.ask(1, Method.SUBSCRIBE, topics=["events"], last_words=True)
            assert (await client.hear())["id"] == 1
            closing = stop()
            await until(lambda: farewell.begun)
            client.ask(2, Method.STATUS)
            assert (await client.hear())["id"] == 2
            assert not closing.done()
        await closing


async def test_who_neither_asks_nor_hangs_up_does_not_hold_up_a_stop(
    valkey_url: str, project_id: ProjectId
) -> None:
    farewell = Farewell(patience_s=0.05)
    async with daemonlet(valkey_url, project_id) as d, stoppable(d, farewell) as stop, raw(d) as client:
        client.ask(1, Method.SUBSCRIBE, topics=["events"], last_words=True)
        assert (await client.hear())["id"] == 1
        await stop()
        assert await client.hear() == {}
