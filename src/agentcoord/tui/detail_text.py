"""One task in full, as lines: why it is where it is, its checks, files, questions, events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

from agentcoord.domain.states import HELD_STATES
from agentcoord.tui.event_text import sentence, tone_of
from agentcoord.tui.glyphs import task_glyph, task_word
from agentcoord.tui.reflow import reflowed
from agentcoord.tui.rows import why
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import money, one_line, span, spoken_span, time_of_day, wrap
from agentcoord.wire.messages import TaskView, TokensView
from agentcoord.wire.task_views import CheckView, FlagView, TaskDetail

OUTPUT_LINES: Final = 20
"""How much of a failed check's output is shown; the newest lines."""
_INDENT: Final = "  "
_PRIORITIES: Final = {1: "idle", 2: "low", 3: "normal", 4: "high", 5: "critical"}


def detail_lines(detail: TaskDetail, *, width: int, now_ms: int, zone: tzinfo | None) -> list[Line]:
    """Everything that is known of a task, wrapped to `width` cells."""
    text_width = max(20, width - len(_INDENT) - 1)
    lines = list(_facts(detail["task"], now_ms=now_ms, width=text_width))
    lines += _section("Flags", _flags(detail.get("flags", []), text_width))
    lines += _section("Description", _paragraph(detail["description"], text_width))
    lines += _section("Questions", _questions(detail["questions"], text_width))
    lines += _section("Checks", _checks(detail["check"], detail["checks"], text_width))
    lines += _section("Locks", _locks(detail, now_ms=now_ms, width=text_width))
    lines += _section("Files", _paths(detail["task"]["files"], text_width))
    lines += _section("Decisions", _bullets(detail["decisions"], text_width))
    lines += _section("Summary", _paragraph(detail["summary"], text_width))
    lines += _section("Events, newest first", _events(detail["events"], text_width, zone))
    return lines


def _facts(task: TaskView, *, now_ms: int, width: int) -> Iterator[Line]:
    glyph = task_glyph(task["state"], task["review"])
    word = one_line(task_word(task))
    yield (
        Span(" "),
        Span(f"{glyph.text} {word}", glyph.tone),
        Span(f"  {_timing(task, now_ms)}", Tone.MUTED),
    )
    for line in wrap(one_line(why(task, asks=False)), width):
        yield (Span(f" {line}", Tone.WARN if word in ("parked", "failed") else Tone.PLAIN),)
    yield ()
    budget = f" of {money(task['budget_usd'])}" if task["budget_usd"] is not None else ""
    priority = _PRIORITIES.get(task["priority"], "")
    facts = [
        ("Priority", f"{task['priority']} {priority}"),
        ("Tags", ", ".join(task["tags"])),
        ("Worker", task["worker"] or ""),
        ("Attempt", f"{task['attempt']}, {task['turns']} turns" if task["attempt"] else ""),
        ("Cost", f"{money(task['cost_usd'])}{budget}"),
        ("Tokens", _tokens(task["tokens"], task["budget_tokens"])),
        ("Needs", ", ".join(task["needs"])),
        ("Writes", ", ".join(task["writes"])),
    ]
    for name, value in facts:
        for i, line in enumerate(wrap(one_line(value), width - 10)):
            yield (Span(f" {name if i == 0 else '':<10}", Tone.MUTED), Span(line))


def _timing(task: TaskView, now_ms: int) -> str:
    started, ended = task["started_at"], task["ended_at"]
    if started is None:
        return f"waiting for {spoken_span(now_ms - task['queued_at'])}" if task["queued_at"] else ""
    if ended is not None and task["state"] not in HELD_STATES:
        return f"took {span(ended - started)}"
    return f"started {spoken_span(now_ms - started)} ago"


def _tokens(tokens: TokensView, cap: int | None) -> str:
    read = tokens["cache_read"] + tokens["cache_write"] + tokens["input"]
    most = f", {cap:,} at most" if cap is not None else ""
    if not read and not tokens["output"]:
        return most.removeprefix(", ")
    cached = round(100 * tokens["cache_read"] / read) if read else 0
    return f"{read:,} in ({cached}% cached), {tokens['output']:,} out{most}"


def _section(title: str, body: Sequence[Line]) -> list[Line]:
    """A heading and its lines; nothing where there is nothing to say."""
    return [(), (Span(f" {title}", Tone.TITLE),), *body] if body else []


def _paragraph(text: str, width: int) -> list[Line]:
    return [(Span(f"{_INDENT}{line}"),) for line in wrap(reflowed(text), width)]


def _bullets(texts: Sequence[str], width: int) -> list[Line]:
    lines: list[Line] = []
    for text in texts:
        for i, line in enumerate(wrap(one_line(text), width - 2)):
            lines.append((Span(f"{_INDENT}{'·' if i == 0 else ' '} {line}"),))
    return lines


def _paths(paths: Sequence[str], width: int) -> list[Line]:
    return [(Span(f"{_INDENT}{line}"),) for path in paths for line in wrap(one_line(path), width)]


def _questions(questions: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    lines: list[Line] = []
    for question in questions:
        answer = question.get("answer")
        lines += [(Span(f"{_INDENT}{t}", Tone.WARN),) for t in wrap(str(question.get("question", "")), width)]
        default = str(question.get("default") or "")
        told = f"answered: {answer}" if answer else f"goes on with: {default}" if default else "no answer yet"
        lines += [(Span(f"{_INDENT}{t}", Tone.MUTED),) for t in wrap(one_line(told), width)]
    return lines


def _checks(command: str, checks: Sequence[CheckView], width: int) -> list[Line]:
    if not checks:
        return [
            (Span(f"{_INDENT}{t}", Tone.MUTED),) for t in wrap(f"not run yet: {command}", width) if command
        ]
    lines: list[Line] = []
    for check in checks:
        sign, tone = ("✔", Tone.GOOD) if check["ok"] else ("✗", Tone.BAD)
        outcome = f"exit {check['exit_code']}, {check['ms'] / 1000:.1f} s"
        lines.append(
            (
                Span(f"{_INDENT}{sign} {one_line(check['name'])}", tone),
                Span(f"  {outcome}  ", Tone.MUTED),
                Span(one_line(check["command"])),
            )
        )
        if not check["ok"]:
            shown = wrap(check["output"], width - 2)[-OUTPUT_LINES:]
            lines += [(Span(f"{_INDENT}  {line}", Tone.MUTED),) for line in shown]
    return lines


def _locks(detail: TaskDetail, *, now_ms: int, width: int) -> list[Line]:
    """What it holds, and what it waits for, since when; a wait stands out."""
    own = detail["task"]["id"]
    lines: list[Line] = []
    for lock in detail.get("locks", []):
        waits = [f"{one['task']} for {spoken_span(now_ms - one['since'])}" for one in lock["waits"]]
        if lock["task"] == own:
            told = f"{lock['path']}: held for {spoken_span(now_ms - lock['since'])}"
            told, tone = f"{told}; wanted by {', '.join(waits)}" if waits else told, Tone.PLAIN
        else:
            since = next(one["since"] for one in lock["waits"] if one["task"] == own)
            told = f"{lock['path']}: wanted for {spoken_span(now_ms - since)}; {lock['task']} holds it"
            tone = Tone.WARN
        lines += [(Span(f"{_INDENT}{line}", tone),) for line in wrap(one_line(told), width)]
    return lines


def _flags(flags: Sequence[FlagView], width: int) -> list[Line]:
    """Where checks may say less than they did; what keeps a task from landing stands out."""
    lines: list[Line] = []
    for flag in flags:
        place = f"{flag['path']}:{flag['line']}" if flag["line"] else flag["path"]
        tone = Tone.WARN if flag["holds"] else Tone.PLAIN
        told = wrap(one_line(f"{place}: {flag['kind']}: {flag['words']}"), width)
        lines += [(Span(f"{_INDENT}{line}", tone),) for line in told]
    return lines


def _events(events: Sequence[dict[str, Any]], width: int, zone: tzinfo | None) -> list[Line]:
    lines: list[Line] = []
    for event in reversed(events):
        clock = time_of_day(int(event.get("at_ms", 0)), zone)
        for i, text in enumerate(wrap(sentence(event, with_task=False), width - 10)):
            stamp = clock if i == 0 else ""
            lines.append((Span(f"{_INDENT}{stamp:<10}", Tone.MUTED), Span(text, tone_of(event))))
    return lines
