"""Where a replay stands, and how fast it goes: a clock that can be stopped, sped up and set.

The position is computed when it is asked for, from an anchor: nothing ticks here. Times are
milliseconds since the epoch, as in the recording. Deliberately absent: what happened when (`source`).
"""

from __future__ import annotations

from typing import Final

from agentcoord.clock import Clock

SPEEDS: Final = (1, 2, 5, 10, 20, 60, 120, 300, 1000)
"""How many seconds of the night pass in one of ours."""
WHOLE_NIGHT_S: Final = 120
"""A replay begins at the speed that shows the night in about so long."""


class Player:
    """Plays a span of time. Also the dashboard's clock: `now_ms` is the moment that is shown."""

    def __init__(self, begin_ms: int, end_ms: int, clock: Clock) -> None:
        self.begin_ms = begin_ms
        self.end_ms = end_ms
        self.jumps = 0
        """Grows when the position was set, so that whoever shows the night starts over."""
        wanted = (end_ms - begin_ms) / 1000 / WHOLE_NIGHT_S
        self._speed = next((speed for speed in SPEEDS if speed >= wanted), SPEEDS[-1])
        self._clock = clock
        self._playing = True
        self._anchor_ms = float(begin_ms)
        self._anchored_at_s = clock.monotonic()

    # The clock of what is shown.

    def now_ms(self) -> int:
        """The moment of the night that is shown."""
        return round(self._position_ms())

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of the person who looks, not of the night."""
        await self._clock.sleep(seconds)

    @property
    def speed(self) -> int:
        return self._speed

    @property
    def playing(self) -> bool:
        """Whether it moves; at the end nothing does."""
        return self._playing and self._position_ms() < self.end_ms

    @property
    def share(self) -> float:
        """How much of the night has passed, from 0 to 1."""
        length = self.end_ms - self.begin_ms
        return (self._position_ms() - self.begin_ms) / length if length else 1.0

    # What a person does.

    def toggle(self) -> None:
        """Pause, or go on; at the end, begin again."""
        if self._position_ms() >= self.end_ms:
            self.seek(self.begin_ms)
            self._playing = True
        else:
            self._anchor(self._position_ms())
            self._playing = not self._playing

    def faster(self, by: int) -> None:
        """Take the next higher speed, or the next lower one."""
        place = SPEEDS.index(self._speed) + by
        self.set_speed(SPEEDS[max(0, min(place, len(SPEEDS) - 1))])

    def set_speed(self, wanted: int) -> None:
        """Take the speed that is nearest to the one wanted."""
        self._anchor(self._position_ms())
        self._speed = min(SPEEDS, key=lambda speed: abs(speed - wanted))

    def seek(self, at_ms: float) -> None:
        """Go to a moment; beyond an end, to that end."""
        self._anchor(max(self.begin_ms, min(at_ms, self.end_ms)))
        self.jumps += 1

    def step_to(self, at_ms: int) -> None:
        """Stop at a moment."""
        self._playing = False
        self.seek(at_ms)

    def _anchor(self, at_ms: float) -> None:
        self._anchor_ms, self._anchored_at_s = float(at_ms), self._clock.monotonic()

    def _position_ms(self) -> float:
        passed_s = self._clock.monotonic() - self._anchored_at_s if self._playing else 0.0
        return min(float(self.end_ms), self._anchor_ms + passed_s * 1000 * self._speed)
