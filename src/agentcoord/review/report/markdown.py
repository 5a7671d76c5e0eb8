"""The report as Markdown: for an issue, a chat, or a pager. Pure.

What others wrote goes into code spans, fences or escaped text, so that it cannot become markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import tzinfo

from agentcoord.review.report.facts import Night, TaskStory
from agentcoord.review.report.headline import RUNS_HERE, headline, price, proof
from agentcoord.review.report.words import clock_time, compact, count, day, duration, money, share


def markdown_of(night: Night, zone: tzinfo | None = None) -> str:
    """The whole report."""
    name = f"{night.project}@{night.branch}" if night.branch else night.project
    lines = [
        f"# {headline(night)}",
        "",
        f"{_words(name)}, {day(night.made_at_ms, zone)}. {proof(night)} {price(night)}",
    ]
    for title, body in (
        (RUNS_HERE, _runs_here(night)),
        ("Needs you", _needs(night)),
        ("Failed", _failed(night)),
        ("Review in this order", _order(night)),
        ("Figures", _figures(night)),
        ("Workers", _workers(night, zone)),
        ("Task by task", _stories(night)),
    ):
        written = list(body)
        if written:
            lines += ["", f"## {title}", "", *written]
    return "\n".join(lines) + "\n"


def _runs_here(night: Night) -> Iterator[str]:
    for path, tasks in night.runs_here:
        yield f"- {_code(path)}: {', '.join(f'**{_words(task)}**' for task in tasks)}"


def _needs(night: Night) -> Iterator[str]:
    for need in night.needs:
        yield f"- **{_words(need.task)}** ({need.kind}): {_words(need.text)} {_code(need.command)}"


def _failed(night: Night) -> Iterator[str]:
    for failure in night.failures:
        cause = f" First cause: {_code(failure.cause)}" if failure.cause else ""
        yield f"- **{_words(failure.task)}** ({failure.kind}): {_words(failure.why)}.{cause}"
        if failure.lines:
            yield ""
            yield from (f"  {line}" for line in _fenced("\n".join(failure.lines)))
            yield ""


def _order(night: Night) -> Iterator[str]:
    for place, reading in enumerate(night.reading_order, 1):
        flags = "; ".join(reading.flags) or "nothing stands out"
        yield f"{place}. **{_words(reading.task)}**: {_words(flags)}"


def _figures(night: Night) -> Iterator[str]:
    if not night.tasks:
        return
    yield "| Task | Outcome | Checks | Lines | Turns | In | Cached | Out | Cost | Time |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for task in night.tasks:
        yield f"| {' | '.join(_figures_of(task))} |"


def _figures_of(task: TaskStory) -> tuple[str, ...]:
    green = sum(check.ok for check in task.checks)
    tokens = task.tokens
    return (
        _words(task.id),
        str(task.outcome),
        f"{green}/{len(task.checks)} exit 0" if task.checks else "none",
        f"+{task.lines_added:,} -{task.lines_removed:,}" if task.files else "",
        str(task.turns or ""),
        compact(tokens.prompt) if tokens.prompt else "",
        share(tokens.cache_read, tokens.prompt) if tokens.prompt else "",
        compact(tokens.output) if tokens.output else "",
        money(task.cost_usd) if task.cost_usd else "",
        duration(task.wall_ms) if task.wall_ms is not None else "",
    )


def _workers(night: Night, zone: tzinfo | None) -> Iterator[str]:
    timeline = night.timeline
    if timeline is None:
        return
    yield f"{clock_time(timeline.from_ms, zone)} to {clock_time(timeline.to_ms, zone)}, "
    yield f"{night.max_parallel} at once at most."
    yield ""
    yield "| Worker | Busy | Waiting | Idle | Cost | Tasks |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for lane in timeline.lanes:
        tasks = ", ".join(dict.fromkeys(_words(stretch.task) for stretch in lane.stretches))
        yield (
            f"| {_words(lane.worker)} | {duration(lane.busy_ms)} | {duration(lane.waiting_ms)} | "
            f"{duration(lane.idle_ms)} | {money(lane.cost_usd)} | {tasks} |"
        )


def _stories(night: Night) -> Iterator[str]:
    for task in night.tasks:
        yield f"### {_words(task.title or task.id)} ({_words(task.id)}, {task.outcome})"
        yield ""
        if task.why:
            yield f"{_words(task.why)}."
            yield ""
        if task.summary:
            yield _words(task.summary)
            yield ""
        for decision in task.decisions:
            yield f"- {_words(decision)}"
        for check in task.checks:
            yield f"- check {_code(check.command)}: exit {check.exit_code}, {duration(check.ms)}"
        if task.files:
            yield f"- {count(len(task.files), 'file')}: {', '.join(_code(path) for path in task.files)}"
        if task.models:
            yield f"- {_words(task.worker)} with {', '.join(task.models)}"
        yield ""


def _words(text: str) -> str:
    """Text that others wrote, on one line and without effect as markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A code span; its fence is longer than any run of backticks inside."""
    inside = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", inside)), default=0))
    pad = " " if inside.startswith("`") or inside.endswith("`") else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def _fenced(text: str) -> list[str]:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return [fence, *text.splitlines(), fence]
