"""The dispatcher's own way to the server: a few scripts, sent again and again, answered in order.

Separate from `Scripts`, which takes a connection from the pool for each call, waits for its answer in a
coroutine of its own and reads it as text: most of what a call costs is spent there. A lane keeps one
connection, sends without awaiting, and hands on each answer from the event loop's own call when its bytes
arrive, as bytes. Up to `depth` calls may be under way; after any failure it must be dropped, because nobody
knows which answer would come next. This is what `traffic` sees of it; `own_lane` and `cluster_lane` are the
two kinds.

Deliberately absent: bounds of time, and repeating a call; only `traffic` knows that this is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from agentcoord.errors import StoreUnavailableError
from agentcoord.store.scripts import ScriptName
from agentcoord.values import dataclass

Argument = str | int | bytes
LaneCall = tuple[ScriptName, Sequence[Argument]]
"""A script and its arguments."""
DOING = "dispatch"
"""What the server's refusals are said to be about."""


class ScriptsForgottenError(StoreUnavailableError):
    """The call did not run: the server does not know the script any more. `tell_again` does."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of what comes back. Neither may raise."""

    answered: Callable[[Any], None]
    """The oldest call's answer, strings as bytes; or the StoreError that it came to."""
    lost: Callable[[StoreUnavailableError], None]
    """The connection is gone: what is under way will not be answered. A cluster's calls fail one by one."""


class Lane(Protocol):
    """Calls of the scripts that it was made for, in order."""

    @property
    def depth(self) -> int:
        """The most calls that may be under way."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether `send` may be called without `connect` before it."""
        ...

    def listen(self, listener: Listener) -> None:
        """Say who hears; before anything else, once."""
        ...

    def begin(self, parent: asyncio.TaskGroup) -> None:
        """Say whose is what runs beside the caller; before `connect`, once. `drop` ends all of it."""
        ...

    async def connect(self) -> None:
        """Be ready to send; does nothing when that is so. Only while nothing is under way, if it does.

        Raises StoreUnavailableError or StoreError.
        """
        ...

    def rouse(self, script: ScriptName) -> None:
        """Have a server that sleeps wake up while the caller puts a call of `script` together.

        The script is run without arguments, and what it answers nobody hears: it should look where it would
        look, and do nothing. Only while `is_open` and nothing is under way.
        """
        ...

    def send(self, calls: Sequence[LaneCall]) -> None:
        """Send calls, in order and together; they may or may not run. Only while `is_open`."""
        ...

    def tell_again(self) -> None:
        """Have the next call of each script take its whole text along, which no server can have forgotten."""
        ...

    def hang_up(self) -> None:
        """Hear no more of the calls under way, which the caller has taken back; `connect` begins anew."""
        ...

    async def drop(self) -> None:
        """Hang up, and give back what it holds."""
        ...
