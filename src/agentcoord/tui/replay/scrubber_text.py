"""The scrubber as one line: state, speed, the moment, and the night as a track with its marks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final

from agentcoord.tui.replay.player import Player
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import time_of_day
from agentcoord.values import dataclass

LEAST_TRACK: Final = 8
_PASSED, _TO_COME, _HEAD = "━", "─", "●"


@dataclass(frozen=True, slots=True)
class Track:
    """Where in the line the track lies, in cells."""

    begin: int
    cells: int

    def share_at(self, x: int) -> float:
        """How much of the night lies before the cell at `x`, from 0 to 1."""
        return max(0.0, min(1.0, (x - self.begin) / max(1, self.cells - 1)))


def track_of(width: int) -> Track:
    """The track in a line of `width` cells."""
    begin = len(_left("▶", 1000, "00:00:00"))
    return Track(begin, max(LEAST_TRACK, width - begin - len("  00:00:00 ")))


def scrubber_line(
    player: Player, marks: Sequence[tuple[int, Span, int]], *, width: int, zone: tzinfo | None
) -> Line:
    """The whole line; the head stands above every mark."""
    track = track_of(width)
    sign = "▶" if player.playing else "‖"
    now = time_of_day(player.now_ms(), zone)
    head = round(player.share * (track.cells - 1))
    cells = [
        Span(_PASSED, Tone.ACCENT) if i < head else Span(_TO_COME, Tone.MUTED) for i in range(track.cells)
    ]
    for i, mark in _marked(player, marks, track.cells).items():
        cells[i] = mark if i <= head else Span(mark.text, Tone.MUTED)
    cells[head] = Span(_HEAD, Tone.STRONG)
    left = _left(sign, player.speed, now)
    return (
        Span(left, Tone.TITLE),
        *_joined(cells),
        Span(f"  {time_of_day(player.end_ms, zone)} ", Tone.MUTED),
    )


def _left(sign: str, speed: int, now: str) -> str:
    return f" {sign} {f'{speed}x':<5}  {now}  "


def _marked(player: Player, marks: Sequence[tuple[int, Span, int]], cells: int) -> dict[int, Span]:
    length = max(1, player.end_ms - player.begin_ms)
    heaviest: dict[int, tuple[int, Span]] = {}
    for at_ms, mark, weight in marks:
        i = max(0, min(cells - 1, round((at_ms - player.begin_ms) / length * (cells - 1))))
        if i not in heaviest or weight >= heaviest[i][0]:
            heaviest[i] = (weight, mark)
    return {i: mark for i, (_, mark) in heaviest.items()}


def _joined(cells: Sequence[Span]) -> list[Span]:
    """Neighbours of one tone as one span: a strip of a hundred pieces costs more to draw."""
    joined: list[Span] = []
    for cell in cells:
        if joined and joined[-1].tone is cell.tone:
            joined[-1] = Span(joined[-1].text + cell.text, cell.tone)
        else:
            joined.append(cell)
    return joined
