"""How often the screen is drawn: often while a person is at it, once a second otherwise.

A picture costs what it shows, whatever changed; at night most of them are drawn for nobody. What comes
after a calm is drawn at once, so only what follows each other closely waits for the next second.
Counts the app's ticks, so that tests move it by hand. Deliberately absent: the timer (`app`).
"""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.25
"""The shortest time between two pictures."""
CALM_TICKS: Final = 4
"""Between two pictures that nobody waits for: a second."""
ATTENTION_TICKS: Final = 40
"""For so long after a key, or the mouse, a person is taken to watch: ten seconds."""


class Pace:
    """Says of each tick whether it draws."""

    def __init__(self) -> None:
        self._attention = ATTENTION_TICKS
        self._since_picture = CALM_TICKS

    def touched(self) -> None:
        """A person pressed a key or moved the mouse."""
        self._attention = ATTENTION_TICKS

    def tick(self) -> None:
        """Time goes on."""
        self._attention = max(0, self._attention - 1)
        self._since_picture += 1

    def is_due(self, *, in_view: bool, moving: bool) -> bool:
        """Whether what changed is drawn now.

        `in_view`: whether the terminal has the focus, where it tells; `moving`: whether the picture is
        looked at for its motion, as a replay is.
        """
        if self._since_picture >= CALM_TICKS:
            return True
        return in_view and (moving or self._attention > 0)

    def drawn(self) -> None:
        """A picture was drawn."""
        self._since_picture = 0
