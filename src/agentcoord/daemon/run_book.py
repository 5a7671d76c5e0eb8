"""Which night this is: the run's id and the day, by which money is counted.

A run begins when a plan is loaded while no task is open, and goes on across restarts of the
daemon. Its id is kept in the store's settings.
"""

from __future__ import annotations

import datetime

from agentcoord.clock import Clock
from agentcoord.domain.ids import RUN_ID_FORMAT, RunId
from agentcoord.store.connection import Store

_SETTING = "run"


class RunBook:
    """The current run."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.run = RunId("")
        """Empty until the first plan is loaded."""

    async def open(self) -> None:
        """Read the run that was going on."""
        self.run = RunId(await self._store.get_setting(_SETTING) or "")

    async def begin_if_none(self, *, any_open: bool) -> RunId:
        """Begin a new run unless tasks of the current one are still open."""
        if not self.run or not any_open:
            moment = datetime.datetime.fromtimestamp(self._clock.now_ms() / 1000, datetime.UTC)
            self.run = RunId(moment.strftime(RUN_ID_FORMAT))
            await self._store.set_setting(_SETTING, self.run)
        return self.run

    def __repr__(self) -> str:
        """For the log, to which it is bound: each line says which run there was when it was written."""
        return self.run

    def day(self) -> str:
        """Today's local date, by which the day cap counts."""
        return local_day(self._clock.now_ms())


def local_day(at_ms: int) -> str:
    """The local date of a moment."""
    moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{moment.astimezone():%Y-%m-%d}"
