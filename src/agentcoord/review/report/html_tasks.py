"""One task of the HTML report as a card: what was asked, what came of it, and the proof, folded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from html import escape
from typing import Final

from agentcoord.review.report.facts import STANDING, Check, Failure, Night, Outcome, TaskStory
from agentcoord.review.report.words import clock_time, compact, count, duration, money, share

DIFF_LINES: Final = 600
"""Beyond this a diff is cut in the page; the command prints all of it."""


def badge(outcome: Outcome) -> str:
    """An outcome as a coloured word."""
    return f'<span class="badge {outcome}">{outcome}</span>'


def task_card(task: TaskStory, night: Night, zone: tzinfo | None) -> str:
    """Everything that is told of one task."""
    reading = next((each for each in night.reading_order if each.task == task.id), None)
    opening = (
        f'<article class="card {task.outcome}" id="task-{escape(task.id)}"><div class="top">'
        f'<h3>{escape(task.title or task.id)} <span class="id">{escape(task.id)}</span></h3>'
        f"{badge(task.outcome)}</div>"
    )
    parts = [
        opening,
        _facts(task, zone),
        f'<p class="words">{escape(task.why)}</p>' if task.why else "",
    ]
    if task.summary:
        parts.append(f'<h4>What it says it did</h4><p class="words">{escape(task.summary)}</p>')
    parts += [
        _list("Decisions and assumptions", task.decisions),
        _list("Look at", reading.flags if reading else [flag.words for flag in task.flags or ()]),
        _checks(task),
        _folded("Asked for", f'<p class="words">{escape(task.description)}</p>') if task.description else "",
        _folded(count(len(task.files), "file"), _files(task)) if task.files else "",
        _diff(task),
        _commands(task),
        "</article>",
    ]
    return "".join(parts)


def failure_card(failure: Failure, task: TaskStory | None) -> str:
    """A failed task: class, first cause, and the lines around it."""
    spent = f" after {money(task.cost_usd)} and {count(task.turns, 'turn')}" if task and task.turns else ""
    cause = f"<p><code>{escape(failure.cause)}</code></p>" if failure.cause else ""
    lines = escape("\n".join(failure.lines))
    red = next((i for i, check in enumerate(task.checks) if not check.proves), 0) if task else 0
    output = (
        f"<details open><summary>{count(len(failure.lines), 'line')} of "
        f'<a href="#{check_anchor(failure.task, red)}">{escape(failure.check)}</a></summary>'
        f'<pre tabindex="0">{lines}</pre></details>'
        if failure.lines
        else ""
    )
    return (
        f'<article class="card failed"><div class="top"><h3><a href="#task-{escape(failure.task)}">'
        f"{escape(task.title if task else failure.task)}</a></h3>"
        f'<span class="badge failed">{failure.kind}</span></div>'
        f"<p>{escape(failure.why)}{spent}.</p>{cause}{output}"
        f"<p><code>agentcoord retry {escape(failure.task)}</code></p></article>"
    )


def check_anchor(task_id: str, number: int) -> str:
    """Where a check's exit code and output lie in the page; two checks may share a name."""
    return escape(f"check-{task_id}-{number}")


def _facts(task: TaskStory, zone: tzinfo | None) -> str:
    tokens = task.tokens
    facts = [
        ("Lines", f"+{task.lines_added:,} -{task.lines_removed:,}" if task.files else ""),
        ("Cost", _cost(task)),
        ("Turns", f"{task.turns}" if task.turns else ""),
        ("Attempts", f"{task.attempt}" if task.attempt > 1 else ""),
        (
            "Tokens",
            f"{compact(tokens.prompt)} in ({share(tokens.cache_read, tokens.prompt)} cached), "
            f"{compact(tokens.output)} out"
            if tokens.prompt
            else "",
        ),
        ("Took", duration(task.wall_ms) if task.wall_ms is not None else ""),
        ("Ended", clock_time(task.ended_at_ms, zone) if task.ended_at_ms else ""),
        ("Worker", task.worker),
        ("Model", " then ".join(task.models)),
        ("Needs", ", ".join(task.needs)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    return f'<dl class="facts">{cells}</dl>' if cells else ""


def _cost(task: TaskStory) -> str:
    if not task.cost_usd:
        return ""
    return money(task.cost_usd) + (f" of {money(task.budget_usd)}" if task.budget_usd else "")


def _list(title: str, items: Iterable[str]) -> str:
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<h4>{title}</h4><ul class="plain">{lines}</ul>' if lines else ""


def _checks(task: TaskStory) -> str:
    if not task.checks:
        return ""
    items = "".join(
        f"<li>{_check(check, check_anchor(task.id, i))}</li>" for i, check in enumerate(task.checks)
    )
    word = "Checks before it landed" if task.outcome in STANDING else "Newest check run"
    return f'<h4 id="checks-{escape(task.id)}">{word}</h4><ul class="checks">{items}</ul>'


def _check(check: Check, anchor: str) -> str:
    tone = "ok" if check.proves else "red"
    notes = [duration(check.ms) if check.ms >= 1000 else f"{check.ms} ms", check.tests]
    if check.excused:
        notes.append("red for nothing but tests that were red before")
    told = escape(" · ".join(note for note in notes if note))
    output = escape(check.output.rstrip()) or "(no output)"
    return (
        f'<details><summary><span class="exit {tone}">exit {check.exit_code}</span> {escape(check.name)} '
        f'<span class="quiet">{told}</span></summary>'
        f'<div id="{anchor}"><p><code>{escape(check.command)}</code></p>'
        f'<pre tabindex="0">{output}</pre></div></details>'
    )


def _files(task: TaskStory) -> str:
    return '<ul class="plain">' + "".join(f"<li><code>{escape(f)}</code></li>" for f in task.files) + "</ul>"


def _diff(task: TaskStory) -> str:
    if not task.diff:
        return ""
    lines = task.diff.splitlines()
    body = "\n".join(_diff_line(line) for line in lines[:DIFF_LINES])
    cut = ""
    if len(lines) > DIFF_LINES or task.diff_cut:
        cut = f"<p>Cut here. All of it: <code>agentcoord diff {escape(task.id)}</code></p>"
    return _folded("Diff", f'<pre tabindex="0">{body}</pre>{cut}')


def _diff_line(line: str) -> str:
    written = escape(line)
    if line.startswith("+") and not line.startswith("+++"):
        return f'<span class="plus">{written}</span>'
    if line.startswith("-") and not line.startswith("---"):
        return f'<span class="minus">{written}</span>'
    return f'<span class="quiet">{written}</span>' if line.startswith("@@") else written


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _commands(task: TaskStory) -> str:
    """What to type next about this task."""
    commands = {
        Outcome.LANDED: ("accept", "undo"),
        Outcome.ACCEPTED: ("undo",),
        Outcome.FAILED: ("retry",),
        Outcome.CANCELLED: ("retry",),
        Outcome.PARKED: ("land", "retry", "cancel") if task.held else ("retry", "cancel"),
    }.get(task.outcome, ())
    written = " ".join(f"<code>agentcoord {each} {escape(task.id)}</code>" for each in commands)
    return f"<p>{written}</p>" if written else ""
