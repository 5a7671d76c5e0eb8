"""The rehearsal server as a process of the daemon's: started, kept alive on one port, ended with it.

Which turn is due is read from each request, so a server that was started again goes on where the dead
one was. Deliberately absent: what it plays (`llm.rehearsal`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agentcoord.daemon.kept_server import kept_server, log_tail, stop
from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.errors import DaemonError
from agentcoord.values import dataclass

START_TIMEOUT_S = 30.0


@asynccontextmanager
async def rehearsal_server(
    scripts: Path, latency: float, log_file: Path, *, tell: Callable[[str], None]
) -> AsyncIterator[str]:
    """Run the rehearsal server; yield its base URL; end it afterwards.

    It ends by itself when this process dies, because its standard input closes then. `tell` hears that
    it died and was started again. Raises DaemonError when it does not start, or keeps dying.
    """
    launch = _Launch(scripts, latency, log_file)
    async with kept_server(
        launch.start,
        name="the rehearsal server",
        last_words=partial(log_tail, log_file),
        mend=f"look into {scripts} and {log_file}",
        tell=tell,
    ):
        yield launch.base_url


@dataclass(slots=True)
class _Launch:
    """How it is started: on any free port first, on the same one ever after."""

    scripts: Path
    latency: float
    log_file: Path
    base_url: str = ""

    async def start(self) -> Process:
        """Start it and wait until it listens. Raises DaemonError."""
        port = self.base_url.rpartition(":")[2] or "0"
        errors = await asyncio.to_thread(os.open, self.log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "agentcoord.llm.rehearsal", "--scripts", os.fspath(self.scripts)),
                *("--latency-scale", str(self.latency), "--port", port, "--exit-with-parent"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        finally:
            os.close(errors)
        try:
            self.base_url = await self._announced(process)
        except BaseException:
            await to_its_end(stop(process))
            raise
        return process

    async def _announced(self, process: Process) -> str:
        """Read the one line that it says: its base URL."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        except TimeoutError as error:
            raise DaemonError(f"the rehearsal server did not answer in {START_TIMEOUT_S:.0f} s") from error
        if not line:
            raise DaemonError(
                f"the rehearsal server did not start: {await asyncio.to_thread(log_tail, self.log_file)}",
                mend=f"look into {self.scripts}",
            )
        return str(json.loads(line)["base_url"])
