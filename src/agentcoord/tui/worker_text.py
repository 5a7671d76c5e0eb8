"""One worker as lines: its facts, then its conversation, or its events where there is none. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any

from agentcoord.tui.event_text import sentence, tone_of
from agentcoord.tui.glyphs import worker_glyph
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import money, one_line, time_of_day, wrap
from agentcoord.wire.messages import WorkerView

_STAMP_CELLS = 10


def worker_facts(worker: WorkerView, gauge: Line) -> list[Line]:
    """What it is, and what it works on."""
    glyph = worker_glyph(worker["state"])
    lines: list[Line] = [
        (
            Span(f" {glyph.text} {one_line(worker['state'])}", glyph.tone),
            Span(f"  {one_line(worker['role'])}, takes {one_line(', '.join(worker['tags']))}", Tone.MUTED),
        )
    ]
    if worker["task"]:
        lines.append(
            (
                Span(f" {one_line(worker['task'])}", Tone.ACCENT),
                Span(f"  {one_line(worker['title'])}"),
                Span(f"  turn {worker['turns']}, {money(worker['cost_usd'])}", Tone.MUTED),
                Span(f"  {one_line(worker['model'])}", Tone.MUTED),
            )
        )
    if gauge:
        lines.append((Span(" "), *gauge))
    return lines


def last_task_of(events: Iterable[Mapping[str, Any]], name: str) -> str | None:
    """What a worker worked on last, as far as the events tell."""
    task = None
    for event in events:
        if event.get("worker") == name and event.get("task"):
            task = str(event["task"])
    return task


def event_lines(
    events: Iterable[Mapping[str, Any]], name: str, *, width: int, zone: tzinfo | None
) -> list[Line]:
    """What a worker did, one paragraph an event; a task's name stands where it changes."""
    lines: list[Line] = []
    task: str | None = None
    for event in events:
        if event.get("worker") != name:
            continue
        if event.get("task") and event["task"] != task:
            task = str(event["task"])
            lines += [(), (Span(f" {one_line(task)}", Tone.TITLE),)]
        stamp = time_of_day(int(event.get("at_ms") or 0), zone)
        for i, text in enumerate(wrap(sentence(event, with_task=False), max(20, width - _STAMP_CELLS - 3))):
            lines.append(
                (
                    Span(f" {stamp if i == 0 else '':<{_STAMP_CELLS}}", Tone.MUTED),
                    Span(text, tone_of(event)),
                )
            )
    return lines or [(), (Span(" It has done nothing yet that this view saw.", Tone.MUTED),)]
