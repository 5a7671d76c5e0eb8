"""Keeps the machine awake while tasks run, by a child of the system's own tool.

`systemd-inhibit` (Linux) or `caffeinate` (macOS) hold the machine awake as long as their command
runs, and the command reads our pipe: whichever way the daemon ends, the pipe closes and the machine
may sleep. Where there is no such tool, or it is refused, nothing is done and that is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence

import structlog

from agentcoord.daemon.worker_row import FleetBoard

LINGER_S = 30.0
"""How long the machine is kept awake after the last task: the next one often follows at once."""
END_S = 5.0

log = structlog.get_logger("sleep")


def inhibiting_command(env: Mapping[str, str], platform: str = sys.platform) -> Sequence[str]:
    """The command that keeps the machine awake until its standard input closes; empty where there is none."""
    path = env.get("PATH")
    if platform == "darwin":
        found = shutil.which("caffeinate", path=path)
        return [found, "-i", "cat"] if found else []
    found = shutil.which("systemd-inhibit", path=path)
    if found is None:
        return []
    return [found, "--what=sleep:idle", "--who=agentcoord", "--why=Tasks are running", "--mode=block", "cat"]


class SleepInhibitor:
    """Holds the machine awake while the board is busy. `run()` belongs in the daemon's task group."""

    def __init__(self, board: FleetBoard, command: Sequence[str], *, linger_s: float = LINGER_S) -> None:
        self._board = board
        self._command = list(command)
        self._linger_s = linger_s
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the board, until there is no use in it."""
        self._board.on_change.append(self._changed.set)
        try:
            while True:
                await self._until_busy()
                if not await self._hold():
                    return
        finally:
            self._board.on_change.remove(self._changed.set)

    async def _until_busy(self) -> None:
        while not self._board.busy:
            self._changed.clear()
            await self._changed.wait()

    async def _hold(self) -> bool:
        """Keep awake until nothing has run for a while; False when the system refuses."""
        quiet = asyncio.subprocess.DEVNULL
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=quiet,
                stderr=quiet,
                start_new_session=True,
            )
        except OSError as error:
            log.info("sleep_not_inhibited", why=str(error))
            return False
        log.debug("sleep_inhibited")
        try:
            async with asyncio.TaskGroup() as group:
                idle = group.create_task(self._until_idle(), name="until idle")
                ended = group.create_task(child.wait(), name="inhibitor's end")
                await asyncio.wait({idle, ended}, return_when=asyncio.FIRST_COMPLETED)
                refused = ended.done() and not idle.done()
                idle.cancel()
                ended.cancel()
        finally:
            await _end(child)
        if refused:
            log.info("sleep_not_inhibited", why=f"exit code {child.returncode}", tool=self._command[0])
        return not refused

    async def _until_idle(self) -> None:
        while True:
            while self._board.busy:
                self._changed.clear()
                await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_s):
                    await self._until_busy()
            if not self._board.busy:
                return


async def _end(child: asyncio.subprocess.Process) -> None:
    """Close the pipe, which ends the child; bounded."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
