"""The reading commands as pages of text: one pure function from a view to lines.

Cheap to import, because `status`, `tasks` and `workers` must answer at once. Deliberately absent:
asking the daemon (`reading`), and colours (`terminal`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentcoord.cli.money_words import forecast_words, of_cap, spend_words, tokens_of_cap
from agentcoord.cli.render import Column, cell, fields, table
from agentcoord.tui.glyphs import NEEDS_YOU, task_glyph, task_word, worker_glyph
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import money, one_line, plural, span, time_of_day

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Any

    from agentcoord.wire.answers import CostsView, StatsView, SuccessView
    from agentcoord.wire.messages import SpendView, StatusView, TaskView, TokensView, WorkerView
    from agentcoord.wire.task_views import LockView


def status_page(view: StatusView, width: int) -> list[Line]:
    """`agentcoord status`."""
    project = view["project"]
    counts = ", ".join(f"{n} {state}" for state, n in view["counts"].items() if n) or "none yet"
    lines = fields(
        [
            ("project", f"{one_line(project['name'])} @ {one_line(project['branch'])}  {project['root']}"),
            ("daemon", f"{view['state']}, pid {view['pid']}, version {view['version']}"),
            *_paused(view),
            ("model", view["model_source"]),
            ("sandbox", Span(view["sandbox"], _sandbox_tone(view["sandbox"]))),
            ("baseline", view["baseline"]),
            ("tasks", counts),
            (
                "workers",
                f"{view['workers_busy']} of {view['workers_total']} busy, {view['max_parallel']} at most",
            ),
            ("spend", spend_words(view["spend"], scripted=view["scripted"])),
            ("forecast", forecast_words(view["forecast_usd"], view["forecast_p90_usd"])),
            ("tokens", tokens_of_cap(view["tokens"], view["spend"]["tokens"], view["spend"]["tokens_cap"])),
        ]
    )
    if view["needs_you"]:
        lines += [(), (Span("Needs you", Tone.TITLE),)]
        rows = [
            (Span(NEEDS_YOU, Tone.WARN), cell(need["task"]), cell(need["kind"]), cell(need["text"]))
            for need in view["needs_you"]
        ]
        lines += table(
            [Column(""), Column("task"), Column("why"), Column("", elastic=True)], rows, width=width
        )[1:]
    return lines


def _paused(view: StatusView) -> list[tuple[str, Span]]:
    """Why nothing new begins, and what goes on with it."""
    if view["state"] != "paused":
        return []
    why = one_line(view["paused_why"]) or "at your word"
    return [("paused", Span(f"{why}; agentcoord ctl resume goes on", Tone.WARN))]


def daemon_page(view: Mapping[str, Any], width: int) -> list[Line]:
    """`agentcoordd status`."""
    del width  # Nothing here is cut: people copy these paths.
    return fields(
        [
            ("state", str(view["state"])),
            ("pid", str(view["pid"])),
            ("version", str(view["version"])),
            ("started", time_of_day(view["started_at"], None)),
            ("socket", str(view["socket"])),
            ("state dir", str(view["state_dir"])),
            ("project", str(view["project"]["root"])),
        ]
    )


def tasks_page(tasks: Sequence[TaskView], width: int) -> list[Line]:
    """`agentcoord tasks`."""
    if not tasks:
        return [(Span("No tasks yet: agentcoord load plan.toml"),)]
    columns = [
        Column(""),
        Column("TASK"),
        Column("STATE"),
        Column("P", right=True),
        Column("TITLE", elastic=True),
        Column("WORKER"),
        Column("COST", right=True),
        Column("FILES", right=True),
        Column("WHY", elastic=True),
    ]
    rows = [
        (
            task_glyph(task["state"], task["review"]),
            cell(task["id"]),
            cell(task_word(task)),
            cell(task["priority"]),
            cell(task["title"]),
            cell(task["worker"], Tone.MUTED),
            cell(money(task["cost_usd"]) if task["cost_usd"] else ""),
            cell(len(task["files"]) or ""),
            cell(task["why"], Tone.MUTED),
        )
        for task in tasks
    ]
    return table(columns, rows, width=width)


def workers_page(workers: Sequence[WorkerView], width: int) -> list[Line]:
    """`agentcoord workers`."""
    if not workers:
        return [(Span("No workers: agentcoord spawn --role backend-engineer"),)]
    columns = [
        Column(""),
        Column("WORKER"),
        Column("STATE"),
        Column("SINCE"),
        Column("TASK"),
        Column("DOING", elastic=True),
        Column("TURNS", right=True),
        Column("COST", right=True),
        Column("TAGS", elastic=True),
    ]
    rows = [
        (
            worker_glyph(worker["state"]),
            cell(worker["name"]),
            cell(worker["state"]),
            cell(time_of_day(worker["since"], None), Tone.MUTED),
            cell(worker["task"]),
            cell(_doing(worker)),
            cell(worker["turns"] or ""),
            cell(money(worker["cost_usd"]) if worker["cost_usd"] else ""),
            cell(", ".join(worker["tags"]), Tone.MUTED),
        )
        for worker in workers
    ]
    return table(columns, rows, width=width)


def _doing(worker: WorkerView) -> str:
    if worker["proving"] is None:
        return worker["doing"]
    return f"{worker['doing']} (proving {worker['proving']}: {worker['proving_doing']})"


def costs_page(view: CostsView, width: int) -> list[Line]:
    """`agentcoord costs`."""
    spend: SpendView = {
        "spent_usd": view["total_usd"],
        "reserved_usd": view["reserved_usd"],
        "cap_usd": view["cap_usd"],
        "day_spent_usd": view["day_usd"],
        "day_cap_usd": view["day_cap_usd"],
        "tokens": view["total_tokens"],
        "tokens_cap": view["tokens_cap"],
        "day_tokens": view["day_tokens"],
        "day_tokens_cap": view["day_tokens_cap"],
    }
    today = of_cap(view["day_usd"], view["day_cap_usd"])
    if view["day_tokens_cap"] is not None:
        today += f", {view['day_tokens']:,} of {view['day_tokens_cap']:,} tokens"
    lines = fields(
        [
            ("this run", spend_words(spend, scripted=view["scripted"])),
            ("today", today),
            ("tokens", tokens_of_cap(view["tokens"], view["total_tokens"], view["tokens_cap"])),
            ("forecast", forecast_words(view["forecast_usd"], view["forecast_p90_usd"])),
            ("", _forecast_source(view)),
        ]
    )
    tables: tuple[tuple[str, Sequence[Mapping[str, Any]]], ...] = (
        ("model", view["by_model"]),
        ("worker", view["by_worker"]),
        ("id", view["by_task"]),
    )
    for title, rows in tables:
        if rows:
            lines += [(), *_costs_table(title, rows, width)]
    return lines


def _forecast_source(view: CostsView) -> str:
    """What the forecast rests on; empty without one."""
    if view["forecast_usd"] is None:
        return ""
    words = f"from {plural(view['forecast_tasks'], 'ended task')} of this run"
    if earlier := view["forecast_earlier_tasks"]:
        words += f" and {earlier} of earlier ones"
    return words


def _costs_table(title: str, rows: Sequence[Mapping[str, Any]], width: int) -> list[Line]:
    columns = [
        Column({"id": "TASK", "model": "MODEL", "worker": "WORKER"}[title], elastic=True),
        Column("COST", right=True),
        Column("CACHED", right=True),
        Column("INPUT", right=True),
        Column("CACHE WRITE", right=True),
        Column("CACHE READ", right=True),
        Column("OUTPUT", right=True),
    ]
    cells = [
        (
            cell(row[title]),
            cell(money(row["usd"])),
            cell(_cached_share(row["tokens"])),
            *(cell(f"{row['tokens'][kind]:,}") for kind in ("input", "cache_write", "cache_read", "output")),
        )
        for row in rows
    ]
    return table(columns, cells, width=width)


def stats_page(view: StatsView, width: int) -> list[Line]:
    """`agentcoord stats`."""
    del width
    return fields(
        [
            ("run", view["run"]),
            ("time", span(round(view["wall_s"] * 1000))),
            ("tasks", f"{view['tasks_done']} done, {view['tasks_failed']} failed"),
            ("throughput", f"{plural(round(view['tasks_per_hour']), 'task')} an hour"),
            ("workers", f"{view['max_parallel']} at once at most"),
            ("model", f"{plural(view['turns'], 'turn')}, {plural(view['tool_calls'], 'tool call')}"),
            ("checks", f"{plural(view['checks_run'], 'run')}, {view['check_s']:.1f} s"),
            ("landings", f"{view['landings']}, {view['merges']} of them merged"),
            ("changes", f"{plural(view['files'], 'file')}, +{view['lines_added']} -{view['lines_removed']}"),
            ("waits", f"{view['lock_waits']} for locks, {view['rate_limit_waits']} for rate limits"),
            ("events", f"{view['events']:,}"),
            ("daemon", f"{view['memory_mb']:.0f} MB, loop {view['loop_lag_ms_max']:.0f} ms late at most"),
            *((one_line(each["name"]), _success(each)) for each in (*view["by_role"], *view["by_model"])),
        ]
    )


def _success(view: SuccessView) -> str:
    attempts = view["landed"] + view["failed"]
    return f"{view['landed']} of {plural(attempts, 'attempt')} landed, {100 * view['landed'] // attempts}%"


def locks_page(locks: Sequence[LockView], width: int) -> list[Line]:
    """`agentcoord locks`."""
    if not locks:
        return [(Span("No file is locked."),)]
    columns = [Column("FILE", elastic=True), Column("TASK"), Column("SINCE"), Column("WAITING", elastic=True)]
    rows = [
        (
            cell(lock["path"]),
            cell(lock["task"]),
            cell(time_of_day(lock["since"], None), Tone.MUTED),
            cell(
                ", ".join(f"{one['task']} (since {time_of_day(one['since'], None)})" for one in lock["waits"])
            ),
        )
        for lock in locks
    ]
    return table(columns, rows, width=width)


def _sandbox_tone(words: str) -> Tone:
    return Tone.WARN if words.startswith(("none", "unavailable")) else Tone.PLAIN


def _cached_share(tokens: TokensView) -> str:
    """How much of the input was read from the cache."""
    prompt = tokens["input"] + tokens["cache_write"] + tokens["cache_read"]
    return f"{100 * tokens['cache_read'] // prompt}%" if prompt else ""
