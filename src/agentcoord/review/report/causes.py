"""Why a task failed: its class, the first line that says so, and the lines around it. Pure.

The daemon says each cause in one sentence; this sorts those sentences, and what it cannot sort is
`OTHER` with the sentence beside it. Places that word these sentences: `daemon/task_run.py`,
`daemon/attempt_ends.py`, `agent/loop.py`, `daemon/broken_runs.py`.
"""

from __future__ import annotations

import re
from typing import Final

from agentcoord.review.report.facts import Failure, FailureClass, Outcome, TaskStory

LINES_SHOWN: Final = 20
LINES_BEFORE: Final = 8
"""Of the lines shown, how many stand before the cause."""
_CAUSE_CHARS: Final = 300
_CLASSES: Final = (
    (FailureClass.NEEDED, re.compile(r"which it needs|^needs \S+, which")),
    (FailureClass.CHECKS, re.compile(r"checks? (stay|failed|is|are)|not proven|red:")),
    (FailureClass.BUDGET, re.compile(r"\bcap\b|budget|spend limit|credit")),
    (FailureClass.CONFLICT, re.compile(r"conflict|merg|you saved|never stands still")),
    (
        FailureClass.STUCK,
        re.compile(
            r"turns|same call|without a change|nothing in|no file|empty|refuses to go on|context window|"
            r"malformed|unknown tool|max_tokens|stop reason|paused"
        ),
    ),
    (FailureClass.MODEL, re.compile(r"model|server|overloaded|rate limit|connection|api key", re.IGNORECASE)),
    (
        FailureClass.MACHINE,
        re.compile(r"sandbox|disk|private copy|journal|permission|no space|attempt broke"),
    ),
)
_TELLING: Final = re.compile(
    r"^\s*(E\s+)?\w*(Error|Exception|Failure|Failed)\b\s*:|^\s*(FAILED|ERROR|FAIL)\b|^E\s{2,}"
)
_LOOSE: Final = re.compile(r"(?i)\b(error|failed|fatal|panic|cannot|not found|undefined)\b")


def failure_of(task: TaskStory) -> Failure:
    """Sort and shorten a failed task's cause."""
    red = task.red_checks
    shown = red[0] if red else None
    kind = class_of(task.why)
    if kind is FailureClass.OTHER and red:
        kind = FailureClass.CHECKS
    output = shown.output if shown else ""
    cause = first_cause(output)
    return Failure(
        task=task.id,
        kind=kind,
        why=task.why or f"it ended as {task.outcome}",
        cause=cause,
        lines=_around(output.rstrip().splitlines(), cause),
        check=shown.name if shown else "",
    )


def class_of(why: str) -> FailureClass:
    """The class of a cause that the daemon gave in words."""
    return next((kind for kind, pattern in _CLASSES if pattern.search(why)), FailureClass.OTHER)


def first_cause(output: str) -> str:
    """The first line that names an error; the last line when none does; empty without output.

    An exception's own line tells more than the banner above it, so those are looked for first.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return ""
    named = (line for line in lines if re.match(r"(E\s+)?[\w.]*(Error|Exception)\b\s*:", line))
    telling = (line for line in lines if _TELLING.search(line))
    loose = (line for line in lines if _LOOSE.search(line))
    found = next(named, None) or next(telling, None) or next(loose, None) or lines[-1]
    return re.sub(r"^E\s+", "", found)[:_CAUSE_CHARS]


def _around(lines: list[str], cause: str) -> tuple[str, ...]:
    """Twenty lines with the cause among them."""
    at = next((i for i, line in enumerate(lines) if cause and cause in line), len(lines))
    first = max(0, min(at - LINES_BEFORE, len(lines) - LINES_SHOWN))
    return tuple(lines[first : first + LINES_SHOWN])


def is_failure(task: TaskStory) -> bool:
    """Whether the report owes an explanation."""
    return task.outcome is Outcome.FAILED
