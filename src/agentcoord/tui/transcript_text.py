"""A conversation as lines: turns, what was said and thought, calls with their results. Pure.

Folded, a call is one line and its result another; unfolded, both are shown as far as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, one_line, plural, wrap
from agentcoord.wire.task_views import StepView

FOLDED_LINES: Final = 3
"""How much of a long text a folded step shows."""
UNFOLDED_LINES: Final = 80
SAYS_LINES: Final = 8
GAUGE_CELLS: Final = 12
_INDENT: Final = "   "


def transcript_lines(steps: Sequence[StepView], says: str, *, width: int, folded: bool) -> list[Line]:
    """The whole conversation so far, wrapped to `width` cells; last what is being said now."""
    lines: list[Line] = []
    turn = 0
    for step in _results_by_their_calls(steps):
        turn += step["kind"] == "turn"
        lines += _step_lines(step, turn, max(20, width - len(_INDENT) - 1), folded=folded)
    if says.strip():
        lines.append(())
        lines += [
            (Span(" ▌ ", Tone.ACCENT), Span(line)) for line in wrap(says, max(20, width - 4))[-SAYS_LINES:]
        ]
    return lines


def _results_by_their_calls(steps: Sequence[StepView]) -> list[StepView]:
    """Each result right after its call; one whose call is not here stays where it is."""
    results = {step["call"]: step for step in steps if step["kind"] == "result" and step["call"]}
    calls = {step["call"] for step in steps if step["kind"] == "ran"}
    ordered: list[StepView] = []
    for step in steps:
        if step["kind"] == "result" and step["call"] in calls:
            continue
        ordered.append(step)
        if step["kind"] == "ran" and step["call"] in results:
            ordered.append(results[step["call"]])
    return ordered


def gauge(context_tokens: int, window_tokens: int) -> Line:
    """How full the model's window is; nothing where that is not known."""
    if not context_tokens:
        return ()
    used = _thousands(context_tokens)
    if not window_tokens:
        return (Span(f"context {used}", Tone.MUTED),)
    share = min(1.0, context_tokens / window_tokens)
    tone = Tone.BAD if share >= 0.9 else Tone.WARN if share >= 0.7 else Tone.GOOD
    full = round(share * GAUGE_CELLS)
    return (
        Span("context ", Tone.MUTED),
        Span("█" * full, tone),
        Span("░" * (GAUGE_CELLS - full), Tone.MUTED),
        Span(f" {round(100 * share)}%", tone),
        Span(f" {used} of {_thousands(window_tokens)}", Tone.MUTED),
    )


def _step_lines(step: StepView, turn: int, width: int, *, folded: bool) -> list[Line]:
    match step["kind"]:
        case "turn":
            words = f" turn {turn} · {one_line(step['title'])} "
            return [(), (Span(f" ─{words}", Tone.MUTED), Span("─" * max(0, width - len(words)), Tone.MUTED))]
        case "asked":
            head: Line = (Span(f" {one_line(step['title'])}", Tone.TITLE),)
            return [(), head, *_text(step["text"], width, Tone.MUTED, folded=folded)]
        case "thought":
            return _text(step["text"], width, Tone.MUTED, folded=folded)
        case "ran":
            call: Line = (
                Span(" ▶ ", Tone.ACCENT),
                Span(fit(one_line(step["title"]), width).rstrip(), Tone.ACCENT),
            )
            return [call] if folded else [call, *_text(step["text"], width, Tone.MUTED, folded=False)]
        case "result":
            return _result(step, width, folded=folded)
        case _:
            return _text(step["text"], width, Tone.PLAIN, folded=False)


def _result(step: StepView, width: int, *, folded: bool) -> list[Line]:
    sign = Span("✗ ", Tone.BAD) if step["is_error"] else Span("✔ ", Tone.GOOD)
    shown = wrap(step["text"], width - 2)
    if not folded:
        return [
            (Span(_INDENT), sign if i == 0 else Span("  "), Span(line, Tone.MUTED))
            for i, line in enumerate(_ends(shown, UNFOLDED_LINES))
        ] or [(Span(_INDENT), sign)]
    told = one_line(shown[0]) if shown else "nothing"
    more = f"  ({plural(len(shown), 'line')})" if len(shown) > 1 else ""
    room = max(8, width - 2 - len(more))
    return [(Span(_INDENT), sign, Span(f"{fit(told, room).rstrip()}{more}", Tone.MUTED))]


def _text(text: str, width: int, tone: Tone, *, folded: bool) -> list[Line]:
    shown = wrap(text, width)
    if folded and len(shown) > FOLDED_LINES:
        more = f"... {plural(len(shown) - FOLDED_LINES, 'more line')}, z unfolds"
        shown = [*shown[:FOLDED_LINES], more]
    return [(Span(f"{_INDENT}{line}", tone),) for line in (shown if folded else _ends(shown, UNFOLDED_LINES))]


def _ends(lines: Sequence[str], most: int) -> list[str]:
    """Both ends of a long text."""
    if len(lines) <= most:
        return list(lines)
    half = most // 2
    return [*lines[:half], f"... {plural(len(lines) - 2 * half, 'line')} left out", *lines[-half:]]


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 10_000 else f"{tokens / 1000:.1f}k"
