"""The timeline of the night as one inline SVG: a lane a worker, idle time left bare. Pure.

All horizontal places are percentages, so that the drawing is as wide as the page while its words
keep their size: the same SVG reads on a phone and on a desk. Colours are classes of `page.css`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import Final

from agentcoord.review.report.facts import Doing, Lane, Stretch, Timeline
from agentcoord.review.report.words import clock_time, duration, money, share

LANE_PX: Final = 52
BAR_TOP_PX: Final = 20
BAR_PX: Final = 24
AXIS_PX: Final = 26
TICKS: Final = 6
"""How many fit on a phone."""
LABEL_LEAST_SHARE: Final = 0.05
"""A bar narrower than this share of the night is not labelled."""
_STEPS_MS: Final = tuple(
    seconds * 1000
    for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
)


def timeline_svg(timeline: Timeline, zone: tzinfo | None) -> str:
    """The drawing, with a text alternative."""
    height = len(timeline.lanes) * LANE_PX + AXIS_PX
    body = "".join(_lane(lane, i * LANE_PX, timeline) for i, lane in enumerate(timeline.lanes))
    return (
        f'<svg class="timeline" width="100%" height="{height}" role="group" aria-labelledby="timeline-words">'
        f'<title id="timeline-words">{escape(_in_words(timeline, zone))}</title>'
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="hatch" width="3" height="6"/></pattern></defs>'
        f"{''.join(_axis(timeline, height, zone))}{body}</svg>"
    )


def _in_words(timeline: Timeline, zone: tzinfo | None) -> str:
    lanes = "; ".join(
        f"{lane.worker}: {len(lane.stretches)} stretches, busy {duration(lane.busy_ms)}, "
        f"idle {duration(lane.idle_ms)}"
        for lane in timeline.lanes
    )
    return f"{clock_time(timeline.from_ms, zone)} to {clock_time(timeline.to_ms, zone)}. {lanes}"


def _lane(lane: Lane, y: int, timeline: Timeline) -> str:
    night_ms = timeline.to_ms - timeline.from_ms
    # What stands in a `tspan` is left out where the page is narrow.
    facts = f"{share(lane.busy_ms, night_ms)} busy"
    if lane.waiting_ms:
        facts += f'<tspan class="more">, {duration(lane.waiting_ms)} waiting</tspan>'
    if lane.cost_usd:
        facts += f'<tspan class="cost"> · {money(lane.cost_usd)}</tspan>'
    bars = "".join(_bar(stretch, y + BAR_TOP_PX, timeline) for stretch in lane.stretches)
    return (
        f'<text class="who" x="0" y="{y + 14}">{escape(lane.worker)}</text>'
        f'<text class="facts" x="100%" y="{y + 14}" text-anchor="end">{facts}</text>'
        f'<rect class="idle" x="0" y="{y + BAR_TOP_PX}" width="100%" height="{BAR_PX}" rx="4"/>{bars}'
    )


def _bar(stretch: Stretch, y: int, timeline: Timeline) -> str:
    """One stretch; the inner `svg` clips its label to the bar."""
    x, width = _place(stretch.from_ms, stretch.to_ms, timeline)
    length_ms = max(1, stretch.to_ms - stretch.from_ms)
    words = f"{stretch.task}: {stretch.end}, {duration(length_ms)}"
    parts = []
    for part in stretch.parts:
        left = 100 * (part.from_ms - stretch.from_ms) / length_ms
        wide = 100 * (part.to_ms - part.from_ms) / length_ms
        at = f'x="{left:.2f}%" width="{wide:.2f}%"'
        told = escape(f"{stretch.task}: {part.doing} {part.what} {duration(part.to_ms - part.from_ms)}")
        if part.doing is Doing.WAITING:
            parts.append(f'<rect class="waiting" {at} y="0" height="{BAR_PX}"><title>{told}</title></rect>')
        else:
            top = BAR_PX - 5
            parts.append(f'<rect class="checking" {at} y="{top}" height="5"><title>{told}</title></rect>')
    label = ""
    if width >= 100 * LABEL_LEAST_SHARE:
        label = f'<text class="label" x="6" y="15">{escape(stretch.task)}</text>'
    # The link makes each bar reachable by keyboard and leads to the task's own chapter.
    return (
        f'<a href="#task-{escape(stretch.task, quote=True)}"><svg x="{x:.3f}%" y="{y}" width="{width:.3f}%" '
        f'height="{BAR_PX}"><title>{escape(words)}</title>'
        f'<rect class="bar {stretch.end}" width="100%" height="{BAR_PX}" rx="4"/>{"".join(parts)}{label}'
        "</svg></a>"
    )


def _axis(timeline: Timeline, height: int, zone: tzinfo | None) -> Iterator[str]:
    bottom = height - AXIS_PX
    seconds = timeline.to_ms - timeline.from_ms < 10 * 60_000
    for at_ms in tick_times(timeline.from_ms, timeline.to_ms, zone):
        x, _ = _place(at_ms, at_ms, timeline)
        anchor = "start" if x < 6 else "end" if x > 94 else "middle"
        yield f'<line class="tick" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{bottom}"/>'
        words = clock_time(at_ms, zone, seconds=seconds)
        yield f'<text class="hour" x="{x:.3f}%" y="{height - 8}" text-anchor="{anchor}">{words}</text>'
    for at_ms in timeline.rate_limits:
        x, _ = _place(at_ms, at_ms, timeline)
        yield (
            f'<rect class="limited" x="{x:.3f}%" y="{bottom}" width="2" height="6">'
            f"<title>the model's server asked us to slow down, {clock_time(at_ms, zone, seconds=True)}"
            "</title></rect>"
        )


def tick_times(from_ms: int, to_ms: int, zone: tzinfo | None) -> list[int]:
    """Round instants, at most `TICKS` of them: whole hours of the local day where the night is long."""
    step = next((s for s in _STEPS_MS if (to_ms - from_ms) / s <= TICKS), _STEPS_MS[-1])
    offset = datetime.fromtimestamp(from_ms / 1000, tz=UTC).astimezone(zone).utcoffset()
    shift_ms = round(offset.total_seconds() * 1000) if offset else 0
    first = -(-(from_ms + shift_ms) // step) * step - shift_ms
    return list(range(first, to_ms + 1, step))[: TICKS + 1]


def _place(from_ms: int, to_ms: int, timeline: Timeline) -> tuple[float, float]:
    """Left edge and width, in percent of the night; nothing is thinner than a hair."""
    night_ms = timeline.to_ms - timeline.from_ms
    left = 100 * max(0, from_ms - timeline.from_ms) / night_ms
    return left, max(0.3, min(100 - left, 100 * (to_ms - from_ms) / night_ms))
