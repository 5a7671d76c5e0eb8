"""The composed daemon in this process: its servers die, its store is away; it stays orderly."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from daemon_kit import PATIENCE_S, OwnValkey, own_valkey, until

from agentcoord.clock import SystemClock
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.background_start import start_background
from agentcoord.daemon.compose import composed
from agentcoord.daemon.head_start import head_start
from agentcoord.daemon.kept_file import KeptFile
from agentcoord.daemon.project_lock import read_identity
from agentcoord.daemon.running import Daemon
from agentcoord.daemon.service import run_foreground
from agentcoord.daemon.start_args import StartArgs
from agentcoord.domain.events import EventKind
from agentcoord.domain.states import TaskState
from agentcoord.errors import AgentCoordError, DaemonError, RpcError, StoreUnavailableError
from agentcoord.telemetry.logs import logging_to
from agentcoord.wire.client import ControlClient, Subscription
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import Method, RpcCode, Topic
from workspace_kit import make_repo

SCRIPT = """task = "t"
[[turn]]
thinking_ms = {thinking_ms}
[[turn.tool]]
name = "str_replace_based_edit_tool"
[turn.tool.input]
command = "create"
path = "src/new.py"
file_text = "Y = 2\\n"
[[turn.tool]]
name = "finish_task"
[turn.tool.input]
summary = "done"
decisions = []
"""
PLAN = '[[task]]\nid = "t"\ntitle = "A task"\n'


@dataclass
class Place:
    """A project on disk and what a daemon for it is told."""

    base: Path
    env: dict[str, str]

    @property
    def root(self) -> Path:
        return self.base / "repo"

    @property
    def paths(self) -> ProjectPaths:
        return ProjectPaths.of(self.root, self.env)

    def script(self, *, thinking_ms: int = 0) -> StartArgs:
        scripts = self.base / "scripts"
        scripts.mkdir(exist_ok=True)
        (scripts / "t.toml").write_text(SCRIPT.format(thinking_ms=thinking_ms))
        return StartArgs(rehearse=scripts, unsafe_no_sandbox=True)


@pytest.fixture
def place() -> Iterator[Place]:
    base = Path(tempfile.mkdtemp(prefix="ac-w-"))
    make_repo(base / "repo", {"src/app.py": b"X = 1\n", "agentcoord.toml": b'[checks]\ntests = "true"\n'})
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "XDG_STATE_HOME": str(base / "s"),
        "XDG_RUNTIME_DIR": str(base / "r"),
        "AGENTCOORD_ALLOW_ROOT": "1",
    }
    made = Place(base, env)
    made.paths.make()
    yield made
    shutil.rmtree(base, ignore_errors=True)


@asynccontextmanager
async def built(place: Place, args: StartArgs, **env: str) -> AsyncIterator[Daemon]:
    """A daemon that does not work yet."""
    begin = head_start(place.paths, args, place.env | env, SystemClock())
    async with begin as begun, composed(begun) as daemon:
        yield daemon


@asynccontextmanager
async def running(
    place: Place, args: StartArgs | None = None, **env: str
) -> AsyncIterator[tuple[Daemon, asyncio.Task[None]]]:
    """A daemon that works inside the block; stopped at its end unless it was before."""
    made = built(place, args or StartArgs(unsafe_no_sandbox=True), **env)
    async with made as daemon, asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        task = group.create_task(daemon.run(ready.set))
        await ready.wait()
        yield daemon, task
        daemon.shutdown.ask(now=True)


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[ControlClient]:
    async with ControlClient.connect(place.paths.socket, client_name="test") as client:
        yield client


async def event(place: Place, kind: str, **data: object) -> Mapping[str, Any]:
    """Wait for an event, past ones included."""
    async with asyncio.timeout(PATIENCE_S), connected(place) as client:
        notices = await _following(client)
        async for notice in notices:
            found: Mapping[str, Any] = notice.params["event"]
            if found["kind"] == kind and data.items() <= found["data"].items():
                return found
    raise AssertionError("the subscription ended")


async def notices_until(notices: Subscription, kind: str) -> AsyncIterator[Notice]:
    """What is told, up to an event of this kind."""
    async for notice in notices:
        yield notice
        if notice.params["event"]["kind"] == kind:
            return


async def _following(client: ControlClient) -> Subscription:
    """Subscribe to all events as soon as the store is there."""
    while True:
        try:
            return await client.subscribe([Topic.EVENTS], since=(client.hello["epoch"], 0))
        except RpcError as away:
            if away.code != RpcCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.02)


def child_running(*words: str) -> int | None:
    """The process that this one started with these words in its command line."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            line = (stat.parent / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if parent == os.getpid() and all(word in line for word in words):
            return int(stat.parent.name)
    return None


async def test_each_line_of_the_log_says_of_which_run_it_is(
    place: Place,
) -> None:
    with logging_to(place.paths.log_file):
        async with running(place, place.script()):
            async with connected(place) as client:
                run = (await client.call(Method.LOAD, text=PLAN))["run"]
            await event(place, "task.done")
    lines = [json.loads(line) for line in place.paths.log_file.read_text().splitlines()]
    begun = next(number for number, line in enumerate(lines) if line["event"] == "plan.loaded")
    assert {line["run"] for line in lines[begun:]} == {run}
    assert "" in {line.get("run") for line in lines[:begun]}


async def test_a_rehearsal_server_that_dies_in_mid_turn_is_brought_back_and_the_task_ends_done(
    place: Place,
) -> None:
    async with running(place, place.script(thinking_ms=1_500)):
        async with connected(place) as client:
            await client.call(Method.LOAD, text=PLAN)
        await event(place, "task.claimed")
        pid = child_running("agentcoord.llm.rehearsal", str(place.base))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        told = await event(place, "error", where="rehearsal server")
        assert "started again" in told["data"]["error"]
        await event(place, "task.done")
    assert child_running("agentcoord.llm.rehearsal", str(place.base)) is None


async def test_an_embedded_valkey_that_dies_in_mid_night_is_told_and_the_task_ends_done(
    place: Place,
) -> None:
    async with running(place, place.script(thinking_ms=1_500)):
        async with connected(place) as client:
            await client.call(Method.LOAD, text=PLAN)
        await event(place, "task.claimed")
        pid = child_running("valkey-server", str(place.base))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "started again" in (await event(place, "error", where="store"))["data"]["error"]
        done = await event(place, "task.done")
        assert done["data"]["files"] == ["src/new.py"]
    assert (place.root / "src/new.py").read_bytes() == b"Y = 2\n"


async def test_a_store_that_goes_away_ends_neither_the_daemon_nor_its_subscribers(place: Place) -> None:
    with own_valkey() as valkey:
        async with (
            running(place, AGENTCOORD_REDIS_URL=valkey.url) as (daemon, task),
            connected(place) as client,
        ):
            notices = await client.subscribe([Topic.STATUS])
            valkey.kill()
            daemon.baseline.want()
            daemon.shop.board.touch()
            await _refused(client)
            assert not task.done()
            await asyncio.to_thread(valkey.start)
            async with asyncio.timeout(PATIENCE_S):
                async for notice in notices:
                    if notice.params["baseline"] == "green":
                        break


async def _refused(client: ControlClient) -> None:
    with pytest.raises(AgentCoordError):
        await client.call(Method.TASKS)


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_a_stop_while_the_store_is_away_ends_in_time_and_without_an_error(
    place: Place, how: str
) -> None:
    with own_valkey() as valkey:
        try:
            async with asyncio.timeout(40), running(place, AGENTCOORD_REDIS_URL=valkey.url) as (daemon, task):
                _take_away(valkey, how)
                daemon.shutdown.ask(now=False)
                await task
        finally:
            valkey.go_on()


def _take_away(valkey: OwnValkey, how: str) -> None:
    if how == "killed":
        valkey.kill()
    else:
        valkey.hang()


async def test_copies_that_cannot_be_built_ahead_are_told_and_end_nothing(place: Place) -> None:
    shutil.rmtree(place.paths.workspaces_dir)
    place.paths.workspaces_dir.write_text("a file where a folder must be")
    async with running(place) as (_, task):
        assert await event(place, "error", where="private copies")
        assert not task.done()


async def test_a_companion_that_fails_is_told_and_ends_nothing(place: Place) -> None:
    async def broken() -> None:
        raise RuntimeError("a bug of its own")

    made = built(place, StartArgs(unsafe_no_sandbox=True))
    async with made as daemon, asyncio.TaskGroup() as group:
        task = group.create_task(replace(daemon, companions=(broken,)).run(lambda: None))
        told = await event(place, "error", where="companion")
        assert "a bug of its own" in told["data"]["error"]
        assert not task.done()
        daemon.shutdown.ask(now=True)


async def test_a_daemon_that_is_started_again_after_the_deadline_lets_no_worker_claim(place: Place) -> None:
    now = datetime.datetime.now().astimezone()
    deadline = f"{now - datetime.timedelta(minutes=30):%H:%M}"
    since_ms = round(now.timestamp() * 1000) - 3_600_000
    args = replace(place.script(), since_ms=since_ms)
    async with built(place, args, AGENTCOORD_BUDGET_DEADLINE=deadline) as daemon:
        async with connected(place) as client:
            await client.call(Method.LOAD, text=PLAN)
        async with asyncio.timeout(PATIENCE_S):
            await daemon.run(lambda: None)
        (task,) = await daemon.shop.store.queue.all()
        assert (task.state, task.attempt) == (TaskState.QUEUED, 0)
        since = f"{now - datetime.timedelta(hours=1):%Y-%m-%d %H:%M}"
        again = f"(started again; wanted since {since})"
        assert daemon.state.stopping_why == f"the deadline {deadline} has come {again}"
        kinds = [each.kind for each in daemon.shop.hub.recent]
        assert EventKind.DAEMON_STOPPING in kinds
        assert EventKind.TASK_CLAIMED not in kinds


@pytest.mark.parametrize("by_a_service_manager", [True, False])
async def test_a_daemon_that_a_service_manager_starts_again_keeps_its_deadline(
    place: Place, by_a_service_manager: bool
) -> None:
    now = datetime.datetime.now().astimezone()
    deadline = f"{now - datetime.timedelta(minutes=30):%H:%M}"
    since_ms = round(now.timestamp() * 1000) - 3_600_000
    place.paths.wanted_file.write_text(json.dumps({"since_ms": since_ms, "deadline": deadline}))
    env = {"AGENTCOORD_BUDGET_DEADLINE": deadline}
    if by_a_service_manager:
        env["NOTIFY_SOCKET"] = str(place.base / "nobody")
    async with built(place, StartArgs(unsafe_no_sandbox=True), **env) as daemon:
        assert place.paths.wanted_file.exists()
        daemon.chores.look_at_deadline()
        assert bool(daemon.state.stopping_why) is by_a_service_manager
        daemon.shutdown.ask(now=True)
        async with asyncio.timeout(PATIENCE_S):
            await daemon.run(lambda: None)
    assert not place.paths.wanted_file.exists(), "it ended in order"


async def test_a_daemon_without_a_metrics_port_says_so_beside_who_it_is(place: Place) -> None:
    place.paths.identity_file.write_text('{"pid": 7}')
    async with built(place, StartArgs(unsafe_no_sandbox=True)):
        assert read_identity(place.paths) == {"pid": 7, "metrics_port": 0}


async def test_a_client_may_stop_the_daemon_it_talks_to(place: Place) -> None:
    async with running(place) as (_, task), connected(place) as client:
        assert (await client.call(Method.STOP))["stopping"] is True
        await task


async def test_a_daemon_that_is_stopped_for_a_new_start_says_so(place: Place) -> None:
    async with running(place) as (daemon, task), connected(place) as client, connected(place) as other:
        notices = await client.subscribe([Topic.EVENTS])
        await other.call(Method.STOP, restarting=True)
        async with asyncio.timeout(PATIENCE_S):
            told = [notice.params["event"] async for notice in notices_until(notices, "daemon.stopping")]
        assert told[-1]["data"]["restarting"] is True
        await task
        assert daemon.state.state == "restarting"


def test_what_keeps_the_daemon_from_starting_is_said_in_words_whatever_wraps_it(place: Place) -> None:
    """The socket cannot be bound after the rehearsal server and the store have been started."""
    place.paths.socket.mkdir()
    with pytest.raises(AgentCoordError) as refused:
        run_foreground(place.root, args=place.script(), env=place.env)
    assert not isinstance(refused.value, StoreUnavailableError)


def test_the_starter_is_told_once_and_its_descriptor_is_never_used_again(place: Place) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(DaemonError):
        run_foreground(
            place.root, args=StartArgs(rehearse=place.base / "none"), env=place.env, ready_fd=writing
        )
    taken = os.open(os.devnull, os.O_RDONLY)
    assert taken == min(taken, writing), "the number is free"
    os.close(taken)


async def test_a_daemon_that_stops_at_once_has_copied_what_was_loaded(place: Place) -> None:
    async with running(place) as (daemon, task), connected(place) as client:
        await client.call(Method.LOAD, text=PLAN)
        daemon.shutdown.ask(now=True)
        await task
    assert "t:t" in KeptFile(place.paths.kept_file).read()


async def test_nothing_is_left_behind_by_a_daemon_that_stopped(place: Place) -> None:
    async with running(place, place.script()):
        pass
    await until(lambda: child_running(str(place.base)) is None)
    assert not place.paths.socket.exists()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_the_models_sdk_is_imported_before_any_task_wants_it_and_its_failing_ends_nothing(
    place: Place,
) -> None:
    called = asyncio.Event()

    async def warm_up() -> None:
        called.set()
        raise ImportError("no such module")

    args = place.script()
    async with built(place, args) as made, asyncio.TaskGroup() as group:
        assert made.warm_up_model is not None
        daemon = replace(made, warm_up_model=warm_up)
        ready = asyncio.Event()
        group.create_task(daemon.run(ready.set))
        await ready.wait()
        async with asyncio.timeout(PATIENCE_S):
            await called.wait()
        told = await event(place, "error", where="companion")
        assert "no such module" in told["data"]["error"]
        daemon.shutdown.ask(now=True)


async def test_work_that_waited_for_the_daemon_has_the_sdk_imported_beside_the_copies(place: Place) -> None:
    async with running(place) as (first, _), connected(place) as client:
        assert not first.work_waits
        await client.call(Method.LOAD, text=PLAN, format="toml", source="plan.toml")
    called = asyncio.Event()

    async def warm_up() -> None:
        called.set()

    async with built(place, place.script()) as made, asyncio.TaskGroup() as group:
        assert made.work_waits
        daemon = replace(made, warm_up_model=warm_up)
        async with daemon.shop.pool._reading, asyncio.timeout(PATIENCE_S):  # No copy gets built meanwhile.
            group.create_task(daemon.run(lambda: None))
            await called.wait()
        daemon.shutdown.ask(now=True)


async def test_who_asked_for_it_is_told_of_ready_and_of_the_end_and_what_cannot_be_sent_is_said(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    address = place.base / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        env = {
            "NOTIFY_SOCKET": str(address),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        async with running(place, None, **env), asyncio.timeout(PATIENCE_S):
            told = await asyncio.get_running_loop().sock_recv(manager, 4096)
            assert told.startswith(b"READY=1\nSTATUS=")
        assert manager.recv(4096) == b"STOPPING=1"
    assert "the protocol grpc is not spoken" in capsys.readouterr().out


def test_a_daemon_that_dies_before_it_is_ready_is_told_with_what_it_said_last(place: Place) -> None:
    with pytest.raises(DaemonError, match="the daemon ended before it was ready") as died:
        start_background(place.root, args=StartArgs(), env=place.env | {"PYTHONHOME": "/nowhere"})
    assert "Python" in died.value.message
    assert "encodings" in died.value.message
    assert died.value.mend == f"read {place.paths.log_file}"
