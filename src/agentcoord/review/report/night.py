"""From the daemon's answers to one `Night`: the only place of the report that reads the wire's JSON.

Fields that a daemon of another version lacks are taken as empty; a report is told as well as it
can be, never refused. Pure: whoever asks the daemon hands the answers in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.review.report.causes import failure_of, is_failure
from agentcoord.review.report.facts import (
    Check,
    ModelSpend,
    Need,
    Night,
    Outcome,
    Question,
    Reading,
    TaskStory,
    Tokens,
)
from agentcoord.review.report.lanes import timeline_of
from agentcoord.review.report.reading_order import Change, by_risk, flags_of, score_of, told_flags
from agentcoord.review.report.words import count
from agentcoord.values import dataclass

View = Mapping[str, Any]
_REVIEWS: Final = {ReviewState.ACCEPTED: Outcome.ACCEPTED, ReviewState.UNDONE: Outcome.UNDONE}
_OUTCOMES: Final = {
    TaskState.PARKED: Outcome.PARKED,
    TaskState.FAILED: Outcome.FAILED,
    TaskState.CANCELLED: Outcome.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the daemon said, as it came."""

    status: View
    tasks: Sequence[View]
    workers: Sequence[View]
    costs: View
    stats: View
    details: Mapping[str, View] = field(default_factory=dict)
    """By task id."""
    diffs: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """By task id: the diff, and whether it was cut."""
    events: Sequence[View] = ()
    """Oldest first."""
    events_complete: bool = True


def night_of(answers: Answers, *, now_ms: int) -> Night:
    """Put a night together."""
    status, costs, stats = answers.status, answers.costs, answers.stats
    models, merged = _models_of(answers.events), _merged_of(answers.events)
    tasks = tuple(
        _story(
            row,
            answers.details.get(row["id"], {}),
            answers.diffs.get(row["id"], ("", False)),
            models.get(row["id"], ()),
            merged.get(row["id"], ()),
        )
        for row in answers.tasks
    )
    project = status.get("project") or {}
    return Night(
        project=str(project.get("name", "")),
        branch=str(project.get("branch", "")),
        root=str(project.get("root", "")),
        run=str(status.get("run", "")),
        version=str(status.get("version", "")),
        made_at_ms=now_ms,
        ended=bool(status.get("ended")),
        scripted=bool(status.get("scripted")),
        model_source=str(status.get("model_source", "")),
        sandbox=str(status.get("sandbox", "")),
        unconfined=_ran_unconfined(status, answers.events),
        baseline=str(status.get("baseline", "")),
        total_usd=float(costs.get("total_usd") or 0.0),
        cap_usd=costs.get("cap_usd"),
        tokens=_tokens(costs.get("tokens")),
        wall_ms=round(float(stats.get("wall_s") or 0.0) * 1000),
        max_parallel=int(stats.get("max_parallel") or 0),
        tool_calls=int(stats.get("tool_calls") or 0),
        checks_run=int(stats.get("checks_run") or 0),
        events_complete=answers.events_complete,
        tasks=tasks,
        needs=_needs(tasks),
        failures=tuple(failure_of(task) for task in tasks if is_failure(task)),
        timeline=timeline_of(
            answers.events, tasks, [str(worker["name"]) for worker in answers.workers], now_ms=now_ms
        ),
        reading_order=reading_order(tasks),
        by_model=tuple(
            ModelSpend(str(each.get("model", "")), float(each.get("usd") or 0), _tokens(each.get("tokens")))
            for each in costs.get("by_model") or ()
        ),
    )


def reading_order(tasks: Iterable[TaskStory]) -> tuple[Reading, ...]:
    """The landed tasks that nobody judged yet, riskiest first."""
    changes = [
        Change(
            task=task.id,
            files=task.files,
            writes=task.writes,
            lines_added=task.lines_added,
            lines_removed=task.lines_removed,
            checked=bool(task.checks),
            attempt=task.attempt,
            merged=task.merged,
            diff=task.diff,
            flags=task.flags,
        )
        for task in tasks
        if task.outcome is Outcome.LANDED
    ]
    return tuple(
        Reading(change.task, score_of(change), tuple(flag.words for flag in flags_of(change)))
        for change in by_risk(changes)
    )


def _story(
    row: View, detail: View, diff: tuple[str, bool], models: tuple[str, ...], merged: tuple[str, ...]
) -> TaskStory:
    state = str(row["state"])
    return TaskStory(
        id=str(row["id"]),
        title=str(row.get("title", "")),
        outcome=_outcome(state, str(row.get("review", ""))),
        state=state,
        why=str(row.get("why") or ""),
        priority=int(row.get("priority") or 3),
        tags=tuple(row.get("tags") or ()),
        needs=tuple(row.get("needs") or ()),
        writes=tuple(row.get("writes") or ()),
        worker=str(row.get("worker") or ""),
        attempt=int(row.get("attempt") or 0),
        turns=int(row.get("turns") or 0),
        cost_usd=float(row.get("cost_usd") or 0.0),
        budget_usd=row.get("budget_usd"),
        tokens=_tokens(row.get("tokens")),
        files=tuple(row.get("files") or ()),
        runs_here=tuple(row.get("runs_here") or ()),
        lines_added=int(row.get("lines_added") or 0),
        lines_removed=int(row.get("lines_removed") or 0),
        started_at_ms=row.get("started_at"),
        ended_at_ms=row.get("ended_at"),
        models=models,
        merged=merged,
        description=str(detail.get("description") or ""),
        summary=str(detail.get("summary") or ""),
        decisions=tuple(str(each) for each in detail.get("decisions") or ()),
        checks=tuple(_check(each) for each in detail.get("checks") or ()),
        questions=tuple(
            Question(str(each.get("question", "")), str(each.get("default") or ""))
            for each in detail.get("questions") or ()
        ),
        flags=told_flags(detail.get("flags")),
        held=state == TaskState.PARKED and any(each.get("holds") for each in detail.get("flags") or ()),
        diff=diff[0],
        diff_cut=diff[1],
    )


def _outcome(state: str, review: str) -> Outcome:
    if state == TaskState.DONE:
        return (
            _REVIEWS.get(ReviewState(review), Outcome.LANDED)
            if review in list(ReviewState)
            else Outcome.LANDED
        )
    return _OUTCOMES.get(TaskState(state), Outcome.OPEN) if state in list(TaskState) else Outcome.OPEN


def _check(raw: View) -> Check:
    return Check(
        name=str(raw.get("name", "")),
        command=str(raw.get("command", "")),
        exit_code=int(raw.get("exit_code", 0)),
        ok=bool(raw.get("ok")),
        ms=int(raw.get("ms") or 0),
        output=str(raw.get("output") or ""),
        excused=bool(raw.get("excused")),
        tests=_tests(raw.get("tests") or {}),
    )


def _tests(raw: View) -> str:
    """`214 tests, 31 more than before, 2 fixed`; empty where no single tests are known."""
    ran, before = int(raw.get("ran") or 0), int(raw.get("ran_before") or 0)
    if not ran:
        return ""
    parts = [count(ran, "test")]
    if before and ran > before:
        parts.append(f"{ran - before} more than before")
    for key, word in (
        ("fixed", "fixed"),
        ("new_failures", "newly red"),
        ("old_failures", "red before too"),
        ("gone", "gone"),
        ("flaky", "flaky"),
    ):
        if n := len(raw.get(key) or ()):
            parts.append(f"{n} {word}")
    return ", ".join(parts)


def _tokens(raw: View | None) -> Tokens:
    raw = raw or {}
    return Tokens(*(int(raw.get(kind) or 0) for kind in ("input", "cache_write", "cache_read", "output")))


def _needs(tasks: Iterable[TaskStory]) -> tuple[Need, ...]:
    """Open questions first, then parked tasks. Failures have their own chapter; reviews too."""
    found = list(tasks)
    questions = [
        Need(
            task.id,
            "question",
            f"{each.question} Until you answer it goes on with: {each.default or 'its own judgement'}",
            f'agentcoord answer {task.id} "..."',
        )
        for task in found
        if task.outcome in (Outcome.OPEN, Outcome.PARKED)  # Nobody would read the answer any more.
        for each in task.questions
    ]
    parked = [
        Need(task.id, "parked", task.why, f"agentcoord {'land' if task.held else 'retry'} {task.id}")
        for task in found
        if task.outcome is Outcome.PARKED
    ]
    return (*questions, *parked)


def _ran_unconfined(status: View, events: Iterable[View]) -> bool:
    """Whether this start of the daemon, or another of the night, was told --unsafe-no-sandbox and used it."""
    starts = [(event.get("data") or {}) for event in events if event.get("kind") == EventKind.DAEMON_STARTED]
    return any(str(each.get("sandbox", "")).startswith("none") for each in (status, *starts))


def _models_of(events: Iterable[View]) -> dict[str, tuple[str, ...]]:
    """Which models worked on each task, in the order of their first turn."""
    found: dict[str, dict[str, None]] = {}
    for event in events:
        model = (event.get("data") or {}).get("model")
        if event.get("kind") == EventKind.TASK_TURN and event.get("task") and model:
            found.setdefault(event["task"], {})[str(model)] = None
    return {task: tuple(models) for task, models in found.items()}


def _merged_of(events: Iterable[View]) -> dict[str, tuple[str, ...]]:
    return {
        str(event["task"]): tuple(str(path) for path in (event.get("data") or {}).get("merged") or ())
        for event in events
        if event.get("kind") == EventKind.TASK_DONE and event.get("task")
    }
