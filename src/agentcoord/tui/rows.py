"""Tasks and workers as table rows: which columns there are, what stands in them, in what order.

Pure, so that the tables' content is tested without a terminal. Widths and drop order belong
to the columns; fitting them to a terminal is `widgets/columns.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final, assert_never

from agentcoord.domain.states import HELD_STATES, TaskState
from agentcoord.domain.worker import WorkerState
from agentcoord.tui.glyphs import NEEDS_YOU, task_glyph, task_word, worker_glyph
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.table_rows import Row
from agentcoord.tui.text import money, one_line, short_worker, span
from agentcoord.tui.widgets.columns import Column
from agentcoord.wire.messages import NeedsYou, TaskView, WorkerView

TASK_COLUMNS: Final = (
    Column("glyph", "", 1),
    Column("id", "Task", 8, most=22),
    Column("state", "State", 9, rank=3),
    Column("priority", "P", 1, right=True, rank=4),
    Column("title", "Title", 18, flex=3),
    # Before the reason: who works is told above, and who did matters least.
    Column("worker", "Worker", 8, most=12, rank=6),
    Column("cost", "Cost", 5, most=7, right=True, rank=2),
    Column("why", "Why", 20, flex=2, rank=5),
)
WORKER_COLUMNS: Final = (
    Column("glyph", "", 1),
    Column("name", "Worker", 9, most=20),
    Column("task", "Task", 8, most=22),
    Column("title", "Title", 20, flex=2, rank=6),
    Column("doing", "Doing", 18, flex=3),
    Column("turns", "Turn", 4, right=True, rank=5),
    Column("since", "Since", 5, right=True, rank=3),
    Column("cost", "Cost", 5, most=7, right=True, rank=1),
)
EVENT_COLUMNS: Final = (
    Column("time", "Time", 8),
    # Fixed: to find the longest name, every row would have to be made.
    Column("who", "Worker", 9, rank=1),
    Column("what", "Event", 31, flex=1),
)

_ORDER: Final[dict[str, int]] = {
    TaskState.PARKED: 0,
    TaskState.FAILED: 0,
    TaskState.LANDING: 1,
    TaskState.CHECKING: 1,
    TaskState.RUNNING: 1,
    TaskState.QUEUED: 2,
    TaskState.BLOCKED: 3,
    TaskState.DONE: 4,
    TaskState.CANCELLED: 5,
}
"""What comes first in the table: what needs a person, then what goes on."""
_WORKER_BUSY: Final = frozenset({WorkerState.WORKING, WorkerState.WAITING})


def asking_tasks(needs_you: Iterable[NeedsYou]) -> frozenset[str]:
    """Ids of tasks whose worker asked something: they may run on, yet need a person."""
    return frozenset(need["task"] for need in needs_you if need["kind"] == "question")


class Order(StrEnum):
    """How the tasks are sorted."""

    NEEDS = "what needs you first"
    """Then running, queued, blocked, done; by priority, then by age."""
    PRIORITY = "by priority"
    COST = "by cost"
    AGE = "by age"
    ID = "by id"


def sorted_tasks(
    tasks: Iterable[TaskView], asking: Collection[str] = (), order: Order = Order.NEEDS
) -> list[TaskView]:
    """The tasks in one of the orders; what it leaves open stays as it came."""

    def by_needs(task: TaskView) -> tuple[int, int, int]:
        rank = 0 if task["id"] in asking else _ORDER.get(task["state"], 3)
        return rank, -task["priority"], task["queued_at"]

    match order:
        case Order.NEEDS:
            return sorted(tasks, key=by_needs)
        case Order.PRIORITY:
            return sorted(tasks, key=lambda task: -task["priority"])
        case Order.COST:
            return sorted(tasks, key=lambda task: -task["cost_usd"])
        case Order.AGE:
            return sorted(tasks, key=lambda task: task["queued_at"])
        case Order.ID:
            return sorted(tasks, key=lambda task: task["id"])
        case _:
            assert_never(order)


def task_row(task: TaskView, *, asks: bool) -> Row:
    """One row of the task table."""
    glyph = Span(NEEDS_YOU, Tone.WARN) if asks else task_glyph(task["state"], task["review"])
    word = task_word(task)
    ended = task["state"] in (TaskState.DONE, TaskState.CANCELLED)
    cost = money(task["cost_usd"]) if task["cost_usd"] else ""
    return Row(
        task["id"],
        (
            glyph,
            Span(one_line(task["id"]), Tone.MUTED if ended else Tone.STRONG),
            Span(one_line(word), glyph.tone),
            Span(str(task["priority"]), Tone.WARN if task["priority"] == 5 and not ended else Tone.MUTED),
            Span(one_line(task["title"]), Tone.MUTED if ended else Tone.PLAIN),
            Span(_holder(task), Tone.MUTED),
            Span(cost, Tone.MUTED if ended else Tone.PLAIN),
            Span(one_line(why(task, asks=asks)), Tone.WARN if asks else Tone.MUTED),
        ),
    )


def why(task: TaskView, *, asks: bool) -> str:
    """Why the task is where it is: the daemon's reason, or what a landed task brought."""
    if task["why"]:
        return task["why"]
    if asks:
        return "asks you something"
    if task["state"] == TaskState.DONE:
        return f"+{task['lines_added']} -{task['lines_removed']} in {len(task['files'])}"
    if task["state"] == TaskState.BLOCKED and task["needs"]:
        return f"needs {', '.join(task['needs'])}"
    return f"turn {task['turns']}" if task["state"] in HELD_STATES else ""


def worker_row(worker: WorkerView, *, now_ms: int, short: bool = False) -> Row:
    """One row of the worker table; `short` leaves out the part of the name that all share."""
    glyph = worker_glyph(worker["state"])
    name = worker["name"]
    busy = worker["state"] in _WORKER_BUSY
    doing = worker["doing"] or worker["state"]
    if worker["proving"]:
        doing = f"{doing} (proving {worker['proving']}: {worker['proving_doing']})"
    doing_tone = Tone.PLAIN if worker["state"] == WorkerState.WORKING else glyph.tone
    return Row(
        name,
        (
            glyph,
            Span(short_worker(name) if short else one_line(name), Tone.STRONG if busy else Tone.PLAIN),
            Span(one_line(worker["task"] or ""), Tone.ACCENT),
            Span(one_line(worker["title"])),
            Span(one_line(doing), doing_tone),
            Span(str(worker["turns"]) if worker["task"] else "", Tone.MUTED),
            Span(span(now_ms - worker["since"]), Tone.MUTED),
            Span(money(worker["cost_usd"]) if worker["task"] else "", Tone.PLAIN),
        ),
    )


def _holder(task: TaskView) -> str:
    """Who works on it, or who did; nobody while it waits in the queue."""
    waits = task["state"] in (TaskState.QUEUED, TaskState.BLOCKED)
    return "" if waits or not task["worker"] else short_worker(task["worker"])
