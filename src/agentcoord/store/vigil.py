"""Keeping the event loop awake for the moment in which an answer is due.

Separate from `traffic`, which knows what is due. A process that goes to sleep for a tenth of a millisecond
is woken late, and finds its caches cold: on a virtual machine that costs a twentieth of a pick-up. So while
a task is handed over the loop's rounds go on without sleeping. It is for answers that take less than a
millisecond and come seldom: the bound is short, and where there is one processor nothing is kept awake,
because the server needs it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import field

from agentcoord.values import dataclass

MOST_S = 0.0006
"""How long at most; of a processor's time, too."""


def _several_processors() -> bool:
    return (os.cpu_count() or 1) > 1


@dataclass(slots=True)
class Vigil:
    """Has the loop go on turning while `is_due` says so."""

    is_due: Callable[[], bool]
    possible: bool = field(default_factory=_several_processors)
    _until: float = 0.0
    """On the loop's clock."""
    _turning: bool = False

    def begin(self) -> None:
        """Stay awake from now on, if something will be due by the loop's next round."""
        if self.possible:
            loop = asyncio.get_running_loop()
            self._until = loop.time() + MOST_S
            if not self._turning:
                self._turning = True
                loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turning = loop.time() < self._until and self.is_due()
        if self._turning:
            loop.call_soon(self._turn, loop)
