"""What a person sees while a run goes on: a line for each thing that matters, and one that moves.

On a terminal the last line is rewritten in place; elsewhere (a pipe, a log) there are only whole
lines. All of it goes to standard error: the data of `run` is its summary. Deliberately absent:
the socket (`follow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final, Protocol

from agentcoord.cli.terminal import CLEAR_LINE, Terminal
from agentcoord.domain.events import EventKind
from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.tui.event_text import sentence, tone_of
from agentcoord.tui.glyphs import LIVE, NEEDS_YOU, TROUBLE, task_glyph
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, money, one_line, plural, time_of_day
from agentcoord.wire.messages import StatusView

_K = EventKind
TOLD: Final = frozenset(
    {
        _K.PLAN_LOADED,
        _K.BASELINE_ENDED,
        _K.RUN_PAUSED,
        _K.RUN_RESUMED,
        _K.TASK_CLAIMED,
        _K.TASK_CHECKED,
        _K.TASK_DONE,
        _K.TASK_REQUEUED,
        _K.TASK_PARKED,
        _K.TASK_FAILED,
        _K.TASK_CANCELLED,
        _K.QUESTION_ASKED,
        _K.WORKER_CRASHED,
        _K.RATE_LIMITED,
        _K.BUDGET_WARNED,
        _K.BUDGET_REACHED,
        _K.DAEMON_STARTED,
        _K.DAEMON_STOPPING,
        _K.ERROR,
        "missed",
    }
)
"""Kinds of events worth a line; turns and tool calls are not."""
WHO_CELLS: Final = 20
_SIGNS: Final = {
    str(_K.TASK_DONE): task_glyph(TaskState.DONE),
    str(_K.TASK_FAILED): task_glyph(TaskState.FAILED),
    str(_K.TASK_CANCELLED): task_glyph(TaskState.CANCELLED),
    str(_K.TASK_PARKED): task_glyph(TaskState.PARKED),
    str(_K.TASK_CLAIMED): task_glyph(TaskState.RUNNING),
    str(_K.QUESTION_ASKED): Span(NEEDS_YOU, Tone.WARN),
}


class Watcher(Protocol):
    """Who is told how a run goes."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened."""
        ...

    def status(self, status: StatusView) -> None:
        """How things stand now."""
        ...

    def note(self, words: str) -> None:
        """Something about the watching itself, such as a lost connection."""
        ...


class Progress:
    """Writes what it is told to the terminal. Close it before other words are written."""

    def __init__(self, terminal: Terminal, *, zone: tzinfo | None = None) -> None:
        self._terminal = terminal
        self._zone = zone
        self._moving: Line = ()
        """The unfinished last line, when there is one."""

    def event(self, event: Mapping[str, Any]) -> None:
        if event.get("kind") in TOLD and not _is_green_check(event):
            self._tell(event_line(event, self._zone))

    def status(self, status: StatusView) -> None:
        if self._terminal.live:
            self._moving = moving_line(status, self._terminal.err_width)
            self._terminal.rewrite(self._moving)

    def note(self, words: str) -> None:
        self._tell((Span(f"{TROUBLE} {words}", Tone.WARN),))

    def close(self) -> None:
        """Take the moving line away."""
        if self._moving:
            self._terminal.rewrite(())
            self._moving = ()

    def _tell(self, line: Line) -> None:
        if self._moving:
            self._terminal.say(CLEAR_LINE, *line)
            self._terminal.rewrite(self._moving)
        else:
            self._terminal.say(*line)


class Silence:
    """A watcher for `wait`: only notes about the watching itself are worth a word."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def event(self, event: Mapping[str, Any]) -> None:
        del event

    def status(self, status: StatusView) -> None:
        del status

    def note(self, words: str) -> None:
        self._terminal.say(words)


def event_line(event: Mapping[str, Any], zone: tzinfo | None) -> Line:
    """One event as a line: time, sign, who, what."""
    at_ms = int(event.get("at_ms", 0))
    sign = _SIGNS.get(str(event.get("kind", "")), Span("·", Tone.MUTED))
    return (
        Span(time_of_day(at_ms, zone) if at_ms else " " * 8, Tone.MUTED),
        Span("  "),
        sign,
        Span(" " + fit(one_line(str(event.get("worker") or "")), WHO_CELLS) + " ", Tone.MUTED),
        Span(sentence(event), tone_of(event)),
    )


def moving_line(status: StatusView, width: int) -> Line:
    """How things stand, on one line of at most `width` cells."""
    counts = status["counts"]
    total = sum(counts.values())
    held = sum(counts.get(state, 0) for state in HELD_STATES)
    trouble = sum(counts.get(state, 0) for state in (TaskState.FAILED, TaskState.PARKED))
    spend = status["spend"]
    cap = "" if spend["cap_usd"] is None else f" of {money(spend['cap_usd'])}"
    parts = [
        f"{LIVE} {counts.get(TaskState.DONE, 0)} of {plural(total, 'task')} done",
        f"{held} at work",
        f"{trouble} need you" if trouble else "",
        f"{money(spend['spent_usd'])}{cap}" + (" (scripted)" if status["scripted"] else ""),
        "paused" if status["state"] == "paused" else "",
    ]
    text = " · ".join(part for part in parts if part)
    return (Span(fit(text, min(width - 1, len(text))) if width else text, Tone.ACCENT),)


def _is_green_check(event: Mapping[str, Any]) -> bool:
    return event.get("kind") == _K.TASK_CHECKED and (event.get("data") or {}).get("ok") is not False
