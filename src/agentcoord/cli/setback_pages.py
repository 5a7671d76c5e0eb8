"""What went against tasks, as text: counts, the history of one, and the dead letters.

Cheap to import, like `pages`, which shows the rest of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentcoord.cli.render import Column, cell, table
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import one_line, time_of_day

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView
    from agentcoord.wire.task_views import AttemptView, DeadTaskView

_ON_NEED_FAILED = {"skip": "skipped if one fails", "run": "runs even if one fails"}
_WENT_TO = {"queued": "tried again", "blocked": "waits for its needs"}


def setbacks_words(setbacks: Mapping[str, int]) -> str:
    """`2 unproven, 1 overloaded`."""
    return ", ".join(f"{count} {_spoken(kind)}" for kind, count in setbacks.items())


def needs_words(task: TaskView) -> str:
    """What a task needs, and what becomes of it without that, where it is not the usual."""
    needs = ", ".join(task["needs"])
    rule = _ON_NEED_FAILED.get(task.get("on_need_failed", ""))
    return f"{needs} ({rule})" if needs and rule else needs


def history_lines(history: Sequence[AttemptView]) -> list[Line]:
    """One line an attempt, the oldest first."""
    lines: list[Line] = []
    for end in history:
        by = " ".join(one_line(word) for word in (end["worker"], end["model"]) if word)
        token = f" (token {end['token']})" if end["token"] is not None else ""
        went = _WENT_TO.get(end["to"], end["to"])
        lines.append(
            (
                Span(f"  {time_of_day(end['at'], None)}  ", Tone.MUTED),
                Span(f"attempt {end['attempt']}  {_spoken(end['setback'])}, {went}: {one_line(end['why'])}"),
                Span(f"  {by}{token}" if by else "", Tone.MUTED),
            )
        )
    return lines


def dead_page(tasks: Sequence[DeadTaskView], width: int) -> list[Line]:
    """`agentcoord tasks --dead`."""
    if not tasks:
        return [(Span("No task has failed."),)]
    columns = [
        Column("TASK"),
        Column("ENDED"),
        Column("CAUSE"),
        Column("ATTEMPT", right=True),
        Column("WORKER"),
        Column("MODEL"),
        Column("FELL", right=True),
        Column("WHY", elastic=True),
    ]
    rows = []
    for task in tasks:
        last = task["history"][-1] if task["history"] else None
        rows.append(
            (
                cell(task["id"]),
                cell(time_of_day(task["ended_at"], None) if task["ended_at"] else "", Tone.MUTED),
                cell(_spoken(task.get("setback", ""))),
                cell(task["attempt"]),
                cell(task["worker"], Tone.MUTED),
                cell(last["model"] if last else "", Tone.MUTED),
                cell(len(task["fell"]) or ""),
                cell(task["why"], Tone.MUTED),
            )
        )
    return table(columns, rows, width=width)


def _spoken(kind: str) -> str:
    return one_line(kind.replace("_", " "))
