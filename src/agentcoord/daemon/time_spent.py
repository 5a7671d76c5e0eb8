"""Where the time of one claim went: a sum of milliseconds a stretch, told when the task is done.

Separate from the metrics, which count the fleet: this is one task's own account, so that a night that took
too long can be explained from its event log. Stretches do not overlap; what is in none of them (the
store's round trips, the transcript, the tools) is the difference to the whole.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from enum import StrEnum

from agentcoord.values import dataclass


class Stretch(StrEnum):
    """What a claim may be at."""

    COPY = "copy"
    """Its private copy is brought up to date; waits for one that is free."""
    BRIEFING = "briefing"
    """The transcript, the map of the repository, the first message."""
    MODEL = "model"
    """A turn, from asking for room under the cap to its last word."""
    TURN = "turn"
    """Waits for its own worker, which is at another task of its."""
    DECLARED = "declared"
    """Waits for the locks of the files that it says it will write."""
    LOCK = "lock"
    """Waits for the lock of a file."""
    CHANGES = "changes"
    """What the worker changed is looked for."""
    BASELINE = "baseline"
    """Waits for the checks on the untouched tree."""
    PROOF_COPY = "proof_copy"
    """Waits for a copy to run the checks in."""
    STAGING = "staging"
    """The change is put on top of the tree."""
    CHECKS = "checks"
    """The checks run for the first time."""
    CHECKS_AGAIN = "checks_again"
    """They run once more, because the tree moved."""
    LINE = "line"
    """Waits for those who land before it."""
    LANDING = "landing"
    """Files are swapped into the tree, and the task is called done."""


@dataclass(slots=True)
class TimeSpent:
    """The account of one claim. Not for two stretches at once."""

    monotonic_s: Callable[[], float] = time.monotonic
    ms: dict[Stretch, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def on(self, stretch: Stretch) -> Iterator[None]:
        """Book the length of the block."""
        begun = self.monotonic_s()
        try:
            yield
        finally:
            self.add(stretch, (self.monotonic_s() - begun) * 1000)

    def add(self, stretch: Stretch, ms: float) -> None:
        self.ms[stretch] = self.ms.get(stretch, 0.0) + ms

    def to_dict(self) -> dict[str, int]:
        """Whole milliseconds by stretch; those that took none are left out."""
        return {str(stretch): round(ms) for stretch, ms in self.ms.items() if round(ms)}
