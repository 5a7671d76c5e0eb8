"""Reading a task's diff from the daemon, piece by piece, up to a bound."""

from __future__ import annotations

from agentcoord.tui.feed import FeedSource
from agentcoord.values import dataclass
from agentcoord.wire.protocol import Method


@dataclass(frozen=True, slots=True)
class DiffText:
    """What was read."""

    text: str
    cut: bool
    """Whether there is more."""
    runs_here: tuple[str, ...]
    """Of its files, those that run on the user's machine or in their CI."""


async def read_diff_text(source: FeedSource, task_id: str, *, most_chars: int) -> DiffText:
    """Collect the pieces until there are so many characters.

    Raises AgentCoordError when the daemon refuses one.
    """
    text, offset = "", 0
    while True:
        piece = await source.call(Method.DIFF, id=task_id, offset=offset)
        text += str(piece["text"])
        following = piece["next_offset"]
        if following is None or len(text) >= most_chars:
            runs_here = tuple(str(path) for path in piece.get("runs_here") or ())
            return DiffText(text, following is not None, runs_here)
        offset = int(following)
