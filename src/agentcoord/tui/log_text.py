"""The daemon's log in words: one JSON object a line in, one toned line out. Pure."""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from typing import Final

from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import one_line
from agentcoord.values import dataclass

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_KNOWN: Final = frozenset({"event", "level", "timestamp", "logger"})
_TONES: Final = {"warning": Tone.WARN, "error": Tone.BAD, "critical": Tone.BAD, "debug": Tone.MUTED}
_BEGINS_RUN: Final = "plan.loaded"
_TIME_CELLS: Final = 10
_EVENT_CELLS: Final = 15
"""As wide as most names of events: then what is told of them stands in one column."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log, and what it is chosen by."""

    line: Line
    at_ms: int
    """0 where the line tells no time."""
    level: str
    about: frozenset[str]
    """The task and the worker that it names."""


def log_line(raw: str, zone: tzinfo | None = None) -> Line:
    """One log line in words: time, level, what, and the facts; what is no JSON is shown as it is."""
    return read_log_line(raw, zone).line


def read_log_line(raw: str, zone: tzinfo | None = None) -> LogLine:
    """The same, with what it is chosen by."""
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        line: Line = (Span(one_line(raw)),)
        return LogLine(line, 0, "info", frozenset())
    level = str(record.get("level", ""))
    event = one_line(str(record.get("event", "")))
    known = _KNOWN if event == _BEGINS_RUN else _KNOWN | {"run"}  # It stands in every line.
    told = (key for key, value in record.items() if key not in known and value is not None)
    facts = " ".join(f"{key}={_fact(record[key])}" for key in told)
    at_ms, stamp = _time_of(str(record.get("timestamp", "")), zone)
    line = (
        Span(f"{stamp:<{_TIME_CELLS}}", Tone.MUTED),
        Span(f"{level:<8}", _TONES.get(level, Tone.PLAIN)),
        Span(f"{event:<{_EVENT_CELLS}}" if facts else event),
        Span(f"  {one_line(facts)}" if facts else "", Tone.MUTED),
    )
    about = frozenset(str(record[key]) for key in ("task", "worker") if record.get(key))
    return LogLine(line, at_ms, level, about)


def is_at_least(line: LogLine, level: str) -> bool:
    """Whether a line is as serious as `level`; a level that we do not know counts as info."""
    own = LEVELS.index(line.level) if line.level in LEVELS else LEVELS.index("info")
    return own >= LEVELS.index(level)


def with_match(line: Line, wanted: str) -> Line:
    """The line with each place where `wanted` (lower case) stands made visible."""
    if not wanted:
        return line
    spans: list[Span] = []
    for span in line:
        folded, at = span.text.casefold(), 0
        # Folding may change the length of odd letters: then the line is shown as it is.
        while len(folded) == len(span.text) and (found := folded.find(wanted, at)) >= 0:
            spans.append(Span(span.text[at:found], span.tone))
            spans.append(Span(span.text[found : found + len(wanted)], Tone.BADGE))
            at = found + len(wanted)
        spans.append(Span(span.text[at:], span.tone))
    return tuple(span for span in spans if span.text)


def _time_of(timestamp: str, zone: tzinfo | None) -> tuple[int, str]:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return 0, timestamp
    return round(moment.timestamp() * 1000), moment.astimezone(zone).strftime("%H:%M:%S")


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
