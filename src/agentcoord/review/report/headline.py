"""The night in three sentences, for the top of every form of the report. Pure."""

from __future__ import annotations

from agentcoord.review.report.facts import Night, Outcome
from agentcoord.review.report.words import count, duration, money

RUNS_HERE = "Runs on your machine or in your CI"
"""The title above the landed files that do: read before anything is run."""


def headline(night: Night) -> str:
    """What became of the tasks, in one sentence."""
    total, landed = len(night.tasks), len(night.landed)
    if not total:
        return "No tasks yet."
    if landed == total:
        words = f"All {count(total, 'task')} landed" if total > 1 else "The task landed"
    else:
        words = f"{landed} of {count(total, 'task')} landed"
    parts = [words]
    for outcome, word in (
        (Outcome.FAILED, "failed"),
        (Outcome.PARKED, "parked"),
        (Outcome.CANCELLED, "cancelled"),
        (Outcome.UNDONE, "undone"),
        (Outcome.OPEN, "still open"),
    ):
        if n := len(night.with_outcome(outcome)):
            parts.append(f"{n} {word}")
    return ", ".join(parts) + "."


def proof(night: Night) -> str:
    """What stands in the tree, and what holds it up."""
    words = _standing(night)
    if night.unconfined:
        words += " The workers' commands ran unconfined (--unsafe-no-sandbox): they could do what you can."
    return words


def _standing(night: Night) -> str:
    landed = night.landed
    if not landed:
        return "Nothing of the night stands in the tree."
    files = len({path for task in landed for path in task.files})
    added = sum(task.lines_added for task in landed)
    removed = sum(task.lines_removed for task in landed)
    words = f"{count(files, 'file')} changed, +{added:,} -{removed:,} lines, left uncommitted"
    if any(not task.checks for task in landed):
        unchecked = sum(not task.checks for task in landed)
        return f"{words}; {count(unchecked, 'task')} landed without any check."
    if any(not check.ok for task in landed for check in task.checks):
        return f"{words}; what was red before a task landed was red before it began."
    return f"{words}; each task's checks exited 0 before it landed."


def price(night: Night) -> str:
    """What it took."""
    cap = f" of {money(night.cap_usd)}" if night.cap_usd else ""
    spent = f"{money(night.total_usd)}{cap}"
    if night.scripted:
        spent += " (scripted model, nobody pays)"
    words = f"{spent} in {duration(night.wall_ms)}"
    if night.usd_per_landed is not None:
        words += f", {money(night.usd_per_landed)} a landed task"
    if night.failed_usd >= 0.0005:
        words += f", {money(night.failed_usd)} on failures"
    return words + "."
