"""Keeping the event loop awake for the moment in which an answer is due.

Separate from `traffic`, which knows what is due. A process that goes to sleep for a tenth of a millisecond
is woken late, and finds its caches cold: on a virtual machine that costs a tenth of a pick-up. So while
a task is handed over the loop's rounds go on without sleeping. It is for answers that take less than a
millisecond and come seldom. Where they take longer (a distant server, one processor for both, a quota) it
would only burn a processor's time: after a few vigils in vain, most are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agentcoord.values import dataclass

MOST_S = 0.0006
"""How long at most; of a processor's time, too."""
IN_VAIN = 3
"""So many in a row that ended before the answer came, and vigils are left out."""
LEFT_OUT = 100
"""How many are, before another is tried."""


@dataclass(slots=True)
class Vigil:
    """Has the loop go on turning while `is_due` says so."""

    is_due: Callable[[], bool]
    _until: float = 0.0
    """On the loop's clock."""
    _turning: bool = False
    _in_vain: int = 0
    """In a row."""
    _left_out: int = 0

    def begin(self) -> None:
        """Stay awake from now on, if something will be due by the loop's next round."""
        if self._in_vain == IN_VAIN:
            self._left_out += 1
            if self._left_out <= LEFT_OUT:
                return
            self._left_out = 0
            self._in_vain -= 1
        loop = asyncio.get_running_loop()
        self._until = loop.time() + MOST_S
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        is_due = self.is_due()
        self._turning = is_due and loop.time() < self._until
        if self._turning:
            loop.call_soon(self._turn, loop)
        else:
            self._in_vain = self._in_vain + 1 if is_due else 0
