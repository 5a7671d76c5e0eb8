"""What the model says while it says it, on its way to whoever watches: bounded, and never in the way.

Separate from the loop so that the bound stands in one place: a turn of 64,000 tokens must not flood
those who follow six workers at once. The transcript has everything; this is only for looking.
"""

from __future__ import annotations

from collections.abc import Callable

TURN_CHARS = 20_000
"""Of one turn; what comes after is left out, with a word."""
_CUT = "\n[more follows in the transcript]"


class LiveText:
    """The pieces of one turn."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """`tell` must not block or raise."""
        self._tell = tell
        self._left_chars = TURN_CHARS

    def note(self, piece: str) -> None:
        """Hand on a piece, as far as there is room."""
        if self._left_chars <= 0:
            return
        shown = piece[: self._left_chars]
        self._left_chars -= len(shown)
        self._tell(shown if self._left_chars > 0 else shown + _CUT)
