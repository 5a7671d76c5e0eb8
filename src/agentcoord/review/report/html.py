"""The report as one self-contained HTML page: no script, no request, light and dark, phone and desk.

Every claim that checks passed links to the exit code and the stored output, which lie folded in the
page itself. Everything that a model or a repository wrote is escaped here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from html import escape
from importlib.resources import files
from typing import Final

from agentcoord.review.report.facts import Night, Outcome, TaskStory
from agentcoord.review.report.headline import RUNS_HERE, headline, price, proof
from agentcoord.review.report.html_tasks import badge, failure_card, task_card
from agentcoord.review.report.timeline_svg import timeline_svg
from agentcoord.review.report.words import clock_time, compact, count, day, duration, money, share

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load: nothing. A browser holds us to it."""
_LEGEND: Final = (
    ("bar landed", "landed"),
    ("bar failed", "failed"),
    ("bar parked", "parked"),
    ("bar requeued", "handed back"),
    ("checking", "checks"),
    ("waiting", "waiting"),
    ("idle", "idle"),
    ("limited", "rate limited"),
)


def page_of(night: Night, zone: tzinfo | None = None) -> str:
    """The whole page."""
    chapters = [
        ("runs-here", RUNS_HERE, _runs_here(night)),
        ("needs", "Needs you", _needs(night)),
        ("failed", "Failed", "".join(failure_card(each, _task(night, each.task)) for each in night.failures)),
        ("order", "Review in this order", _order(night)),
        ("timeline", "The night", _timeline(night, zone)),
        ("money", "What it took", _money(night)),
        ("tasks", "Task by task", "".join(task_card(task, night, zone) for task in _by_reading(night))),
    ]
    told = [(anchor, title, body) for anchor, title, body in chapters if body]
    links = "".join(f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title, _ in told)
    sections = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{title}</h2>{body}</section>'
        for anchor, title, body in told
    )
    name = escape(f"{night.project}@{night.branch}" if night.branch else night.project)
    css = files("agentcoord.review.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(headline(night))} {name}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">To the report</a>\n<header>\n'
        f'<p class="where">{name} · {escape(_when(night, zone))}</p>\n'
        f'<h1>{escape(headline(night))}</h1>\n<p class="lead">{escape(proof(night))}</p>\n'
        f'<p class="lead">{escape(price(night))}</p>\n{_tiles(night)}\n'
        f'<nav aria-label="Chapters"><ul>{links}</ul></nav>\n</header>\n'
        f'<main id="main">\n{sections}\n</main>\n{_footer(night, zone)}\n</body>\n</html>\n'
    )


def _runs_here(night: Night) -> str:
    items = []
    for path, tasks in night.runs_here:
        links = ", ".join(f'<a href="#task-{escape(task)}">{escape(task)}</a>' for task in tasks)
        items.append(f"<li><code>{escape(path)}</code> {links}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _task(night: Night, task_id: str) -> TaskStory | None:
    return next((task for task in night.tasks if task.id == task_id), None)


def _by_reading(night: Night) -> list[TaskStory]:
    """What needs eyes first, then the rest as planned."""
    place = {reading.task: i for i, reading in enumerate(night.reading_order)}
    return sorted(night.tasks, key=lambda task: place.get(task.id, len(place)))


def _when(night: Night, zone: tzinfo | None) -> str:
    if night.timeline is None:
        return day(night.made_at_ms, zone)
    begin, end = night.timeline.from_ms, night.timeline.to_ms
    return f"{day(end, zone)}, {clock_time(begin, zone)} to {clock_time(end, zone)}"


def _tiles(night: Night) -> str:
    landed = night.landed
    tiles = [
        ("Landed", f"{len(landed)} of {len(night.tasks)}", _lines(landed)),
        (
            "Needs you",
            str(len(night.needs)),
            f"and {len(night.reading_order)} to review" if night.reading_order else "nothing to review",
        ),
        ("Failed", str(len(night.failures)), f"{money(night.failed_usd)} spent on them"),
        ("Spent", money(night.total_usd), f"of {money(night.cap_usd)}" if night.cap_usd else "no cap"),
        (
            "A landed task",
            "none" if night.usd_per_landed is None else money(night.usd_per_landed),
            "all spending included",
        ),
    ]
    if night.timeline is not None:
        whole = night.timeline.busy_ms + night.timeline.idle_ms
        tiles.append(
            ("Time", duration(night.wall_ms), f"workers {share(night.timeline.busy_ms, whole)} busy")
        )
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)} <small>{escape(more)}</small></dd></div>"
        for name, value, more in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _lines(tasks: Iterable[TaskStory]) -> str:
    found = list(tasks)
    added, removed = sum(t.lines_added for t in found), sum(t.lines_removed for t in found)
    return f"+{added:,} -{removed:,} lines"


def _needs(night: Night) -> str:
    cards = []
    for need in night.needs:
        task = _task(night, need.task)
        title = escape(task.title if task else need.task)
        word = "asks you" if need.kind == "question" else "parked"
        cards.append(
            f'<article class="card {need.kind}"><div class="top"><h3><a href="#task-{escape(need.task)}">'
            f'{title}</a></h3><span class="badge {need.kind}">{word}</span></div>'
            f'<p class="words">{escape(need.text)}</p><p><code>{escape(need.command)}</code></p></article>'
        )
    return "".join(cards)


def _order(night: Night) -> str:
    items = []
    for reading in night.reading_order:
        task = _task(night, reading.task)
        flags = "".join(f"<li>{escape(words)}</li>" for words in reading.flags)
        told = f"<ul>{flags}</ul>" if flags else '<div class="quiet">Nothing stands out.</div>'
        size = escape(f"{_lines([task])} in {count(len(task.files), 'file')}") if task else ""
        items.append(
            f'<li><div><div class="top"><h3><a href="#task-{escape(reading.task)}">'
            f'{escape(task.title if task else reading.task)}</a></h3><span class="id">{size}</span></div>'
            f"{told}</div></li>"
        )
    return f'<ol class="order">{"".join(items)}</ol>' if items else ""


def _timeline(night: Night, zone: tzinfo | None) -> str:
    timeline = night.timeline
    if timeline is None:
        return ""
    keys = "".join(
        '<li><svg class="timeline" aria-hidden="true"><rect class="idle" width="14" height="12" rx="2"/>'
        f'<rect class="{kind}" width="14" height="12" rx="2"/></svg>{words}</li>'
        for kind, words in _LEGEND
    )
    whole = timeline.busy_ms + timeline.idle_ms
    words = (
        f"{count(len(timeline.lanes), 'worker')}, {night.max_parallel} at once at most. "
        f"Busy {share(timeline.busy_ms, whole)}, of which waiting {duration(timeline.waiting_ms)}; "
        f"idle {share(timeline.idle_ms, whole)}."
    )
    if not night.events_complete:
        words += " Early events are no longer kept: what they told is drawn from the tasks alone."
    return (
        f"<p>{escape(words)}</p><div class='night'>{timeline_svg(timeline, zone)}"
        f'<ul class="legend">{keys}</ul></div>'
    )


def _money(night: Night) -> str:
    """One row a task: the figures that are compared with each other."""
    if not night.tasks:
        return ""
    names = ("Task", "Outcome", "Checks", "Lines", "Turns", "In", "Cached", "Out", "Cost", "Time")
    head = "".join(f'<th scope="col"{_numeric(i)}>{name}</th>' for i, name in enumerate(names))
    rows = "".join(_money_row(task, names) for task in night.tasks)
    total = night.tokens
    sums = [
        "",
        "",
        _lines(night.landed).removesuffix(" lines"),
        str(sum(task.turns for task in night.tasks)),
        compact(total.prompt),
        share(total.cache_read, total.prompt),
        compact(total.output),
        money(night.total_usd),
        duration(night.wall_ms),
    ]
    foot = "".join(
        f'<td{_numeric(i)} data-name="{names[i]}">{escape(value)}</td>' for i, value in enumerate(sums, 1)
    )
    models = "".join(
        f"<li><code>{escape(each.model)}</code> {money(each.usd)}, {compact(each.tokens.prompt)} in "
        f"({share(each.tokens.cache_read, each.tokens.prompt)} cached), "
        f"{compact(each.tokens.output)} out</li>"
        for each in night.by_model
    )
    return (
        '<div class="overflow" tabindex="0" role="region" aria-label="Figures of each task">'
        f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f'<tfoot><tr><th scope="row">All</th>{foot}</tr></tfoot></table></div>'
        + (f'<h4>By model</h4><ul class="plain">{models}</ul>' if models else "")
    )


def _money_row(task: TaskStory, names: Sequence[str]) -> str:
    green = sum(check.ok for check in task.checks)
    cells = [
        badge(task.outcome),
        f'<a href="#checks-{escape(task.id)}">{green}/{len(task.checks)} exit 0</a>'
        if task.checks
        else "none",
        f"+{task.lines_added:,} -{task.lines_removed:,}" if task.files else "",
        str(task.turns or ""),
        compact(task.tokens.prompt) if task.tokens.prompt else "",
        share(task.tokens.cache_read, task.tokens.prompt) if task.tokens.prompt else "",
        compact(task.tokens.output) if task.tokens.output else "",
        money(task.cost_usd) if task.cost_usd else "",
        duration(task.wall_ms) if task.wall_ms is not None else "",
    ]
    written = "".join(
        f'<td{_numeric(i)} data-name="{names[i]}">{cell}</td>' for i, cell in enumerate(cells, 1)
    )
    return f'<tr><th scope="row"><a href="#task-{escape(task.id)}">{escape(task.id)}</a></th>{written}</tr>'


def _numeric(column: int) -> str:
    return ' class="n"' if column >= 3 else ""


def _footer(night: Night, zone: tzinfo | None) -> str:
    open_tasks = len(night.with_outcome(Outcome.OPEN))
    still = f" {count(open_tasks, 'task')} still open then." if open_tasks else ""
    return (
        f"<footer><p>Made {escape(day(night.made_at_ms, zone))} at {clock_time(night.made_at_ms, zone)} by "
        f"AgentCoord {escape(night.version)}, run {escape(night.run)}, in {escape(night.root)}.{still}</p>"
        f"<p>Model: {escape(night.model_source)}. Sandbox: {escape(night.sandbox)}. Checks on the untouched "
        f"tree: {escape(night.baseline)}. {count(night.checks_run, 'check run')}, "
        f"{count(night.tool_calls, 'tool call')} in this run.</p>"
        "<p>Nothing was committed, staged or deleted; every landed task can be taken back alone with "
        "<code>agentcoord undo ID</code>.</p></footer>"
    )
