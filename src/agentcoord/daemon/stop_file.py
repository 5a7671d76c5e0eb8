"""`touch STOP` in the state folder ends the daemon in order: for scripts that have nothing but a file.

The file is removed when it is obeyed, and one from before the start is removed unread, so that it
never stops the next daemon too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from agentcoord.clock import Clock

NAME = "STOP"
LOOK_EVERY_S = 2.0

log = structlog.get_logger("stop")


class StopFile:
    """Looks for the file. `run()` belongs in the daemon's task group."""

    def __init__(self, folder: Path, clock: Clock, stop: Callable[[], None]) -> None:
        self._path = folder / NAME
        self._clock = clock
        self._stop = stop

    async def forget_old(self) -> None:
        """Remove one from before the start. To be called before the daemon is ready; later ones count."""
        await asyncio.to_thread(self._take)

    async def run(self) -> None:
        """Look, until it is there."""
        while not self._take():  # One lstat: no thread is worth it.
            await self._clock.sleep(LOOK_EVERY_S)
        log.info("stop_file_found", path=str(self._path))
        self._stop()

    def _take(self) -> bool:
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:  # A folder, for one: somebody wants it to stop all the same.
            log.warning("stop_file_stays", error=str(error))
        return True
