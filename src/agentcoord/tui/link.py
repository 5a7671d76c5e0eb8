"""How the dashboard stands with the daemon: the connection, and what may be done over it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from agentcoord.values import dataclass


class Link(StrEnum):
    """How we stand with the daemon."""

    CONNECTING = "connecting"
    """Nothing was ever shown."""
    LIVE = "live"
    LOST = "lost"


class Mode(StrEnum):
    """What may be done from here."""

    LIVE = "live"
    """Everything."""
    READ_ONLY = "read-only"
    REPLAY = "replay"
    """A past night is shown: there is nothing that could be changed."""

    @property
    def why_not(self) -> str:
        """Why nothing can be changed; empty where it can."""
        return _WHY_NOT[self]


_WHY_NOT: Final = {
    Mode.LIVE: "",
    Mode.READ_ONLY: "This view is read-only. To act, leave it and start: agentcoord dashboard",
    Mode.REPLAY: "This is a replay of a past night: nothing can be changed in it.",
}


@dataclass(frozen=True, slots=True)
class LinkView:
    """The connection, as the header tells it."""

    link: Link
    since_ms: int
    """When it became so; for LOST, when the last word came."""
    reason: str = ""
    """Why it was lost; one sentence."""
    mend: str = ""
    """A command that helps, if there is one."""
    retry_at_ms: int | None = None
    """When the next attempt is made; None while one is under way."""
