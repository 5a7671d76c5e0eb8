"""The morning report in a terminal: the same facts, as lines that fit its width. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from agentcoord.cli.render import Column, cell, table
from agentcoord.review.report.facts import Doing, Lane, Night, Outcome, Stretch, StretchEnd, Timeline
from agentcoord.review.report.headline import RUNS_HERE, headline, price, proof
from agentcoord.review.report.words import clock_time, duration, money, share
from agentcoord.tui.glyphs import NEEDS_YOU, TROUBLE
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import harmless, one_line, wrap

PAGE_CELLS: Final = 100
"""How wide the report is where there is no terminal."""
LANE_CELLS: Final = 60
CAUSE_LINES: Final = 20
_SIGNS: Final = {
    Outcome.LANDED: Span("✔", Tone.GOOD),
    Outcome.ACCEPTED: Span("✔", Tone.GOOD),
    Outcome.UNDONE: Span("✗", Tone.MUTED),
    Outcome.PARKED: Span(NEEDS_YOU, Tone.WARN),
    Outcome.FAILED: Span("✗", Tone.BAD),
    Outcome.CANCELLED: Span("✗", Tone.MUTED),
    Outcome.OPEN: Span("▶", Tone.ACCENT),
}
_ENDS: Final = {
    StretchEnd.LANDED: Tone.GOOD,
    StretchEnd.PARKED: Tone.WARN,
    StretchEnd.FAILED: Tone.BAD,
    StretchEnd.REQUEUED: Tone.MUTED,
    StretchEnd.CANCELLED: Tone.MUTED,
    StretchEnd.OPEN: Tone.ACCENT,
}


def report_page(night: Night, width: int, zone: tzinfo | None = None) -> list[Line]:
    """The report; `width` 0 means that there is no terminal."""
    cells = width or PAGE_CELLS
    lines: list[Line] = [(Span(headline(night), Tone.TITLE),)]
    lines += [(Span(line),) for sentence in (proof(night), price(night)) for line in wrap(sentence, cells)]
    for title, body in (
        (RUNS_HERE, _runs_here(night)),
        ("Needs you", _needs(night, cells)),
        ("Failed", _failed(night, cells)),
        ("Review in this order", _order(night, cells)),
        ("Tasks", _tasks(night, width)),
        ("The night", _night(night, cells, zone)),
    ):
        written = list(body)
        if written:
            lines += [(), (Span(title, Tone.TITLE),), *written]
    return lines


def _runs_here(night: Night) -> Iterator[Line]:
    for path, tasks in night.runs_here:
        yield (
            Span(f"{TROUBLE} ", Tone.WARN),
            Span(one_line(path), Tone.STRONG),
            Span(f"  {one_line(', '.join(tasks))}"),
        )


def _needs(night: Night, cells: int) -> Iterator[Line]:
    for need in night.needs:
        yield (
            Span(f"{NEEDS_YOU} ", Tone.WARN),
            Span(one_line(need.task), Tone.STRONG),
            Span(f"  {need.kind}"),
        )
        yield from ((Span(f"  {line}"),) for line in wrap(need.text, cells - 2))
        yield (Span(f"  {one_line(need.command)}", Tone.ACCENT),)


def _failed(night: Night, cells: int) -> Iterator[Line]:
    for failure in night.failures:
        yield (
            Span("✗ ", Tone.BAD),
            Span(one_line(failure.task), Tone.STRONG),
            Span(f"  {failure.kind}", Tone.BAD),
        )
        yield from ((Span(f"  {line}"),) for line in wrap(failure.why, cells - 2))
        if failure.cause:
            yield from ((Span(f"  {line}", Tone.WARN),) for line in wrap(failure.cause, cells - 2))
        yield from ((Span(f"    {harmless(line)}", Tone.MUTED),) for line in failure.lines[-CAUSE_LINES:])
        yield (Span(f"  agentcoord retry {one_line(failure.task)}", Tone.ACCENT),)


def _order(night: Night, cells: int) -> Iterator[Line]:
    for place, reading in enumerate(night.reading_order, 1):
        yield (Span(f"{place:>2}  ", Tone.MUTED), Span(one_line(reading.task), Tone.STRONG))
        for flag in reading.flags:
            first, *rest = wrap(flag, cells - 6)
            yield (Span(f"    {TROUBLE} ", Tone.WARN), Span(first))
            yield from ((Span(f"      {line}"),) for line in rest)
    if night.reading_order:
        yield (Span("    agentcoord review walks through them", Tone.MUTED),)


def _tasks(night: Night, width: int) -> list[Line]:
    if not night.tasks:
        return []
    columns = [
        Column(""),
        Column("TASK"),
        Column("OUTCOME"),
        Column("CHECKS"),
        Column("LINES", right=True),
        Column("TURNS", right=True),
        Column("CACHED", right=True),
        Column("COST", right=True),
        Column("TIME", right=True),
        Column("WHY", elastic=True),
    ]
    rows = [
        (
            _SIGNS[task.outcome],
            cell(task.id),
            cell(task.outcome),
            cell(f"{sum(c.ok for c in task.checks)}/{len(task.checks)} exit 0" if task.checks else ""),
            cell(f"+{task.lines_added} -{task.lines_removed}" if task.files else ""),
            cell(task.turns or ""),
            cell(share(task.tokens.cache_read, task.tokens.prompt) if task.tokens.prompt else ""),
            cell(money(task.cost_usd) if task.cost_usd else ""),
            cell(duration(task.wall_ms) if task.wall_ms is not None else ""),
            cell(task.why, Tone.MUTED),
        )
        for task in night.tasks
    ]
    return table(columns, rows, width=width)


def _night(night: Night, cells: int, zone: tzinfo | None) -> Iterator[Line]:
    """A lane a worker, in blocks: full when it worked, hatched when it waited, a dot when idle."""
    timeline = night.timeline
    if timeline is None:
        return
    names = max((len(lane.worker) for lane in timeline.lanes), default=0)
    room = max(10, min(LANE_CELLS, cells - names - 26))
    for lane in timeline.lanes:
        night_ms = timeline.to_ms - timeline.from_ms
        facts = f"  {share(lane.busy_ms, night_ms):>4} busy  {money(lane.cost_usd)}"
        yield (Span(f"{one_line(lane.worker):<{names}}  "), *_blocks(lane, timeline, room), Span(facts))
    begin, end = clock_time(timeline.from_ms, zone), clock_time(timeline.to_ms, zone)
    yield (Span(f"{'':<{names}}  {begin}{end:>{room - len(begin)}}", Tone.MUTED),)


def _blocks(lane: Lane, timeline: Timeline, room: int) -> Iterator[Span]:
    night_ms = timeline.to_ms - timeline.from_ms
    for i in range(room):
        at_ms = timeline.from_ms + round((i + 0.5) * night_ms / room)
        # The newest: a task that is being proven lies under the one that was begun meanwhile.
        yield _block(next((s for s in reversed(lane.stretches) if s.from_ms <= at_ms < s.to_ms), None), at_ms)


def _block(stretch: Stretch | None, at_ms: int) -> Span:
    if stretch is None:
        return Span("·", Tone.MUTED)
    waits = any(p.doing is Doing.WAITING and p.from_ms <= at_ms < p.to_ms for p in stretch.parts)
    return Span("▒" if waits else "█", _ENDS[stretch.end])
