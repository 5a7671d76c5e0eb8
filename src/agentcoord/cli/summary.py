"""The closing words of a run: what came of each task, what changed, what it took, and what next.

Pure: built from the daemon's own views. Deliberately absent: asking for them (`nights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentcoord.cli.money_words import spend_words, tokens_words
from agentcoord.cli.render import Column, cell, fields, table
from agentcoord.domain.states import SETTLED_STATES, ReviewState, TaskState
from agentcoord.tui.glyphs import task_glyph, task_word
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import money, plural, span
from agentcoord.values import dataclass
from agentcoord.wire.answers import StatsView
from agentcoord.wire.messages import ExitCode, StatusView, TaskView

_BAD_ENDS = (TaskState.FAILED, TaskState.CANCELLED, TaskState.PARKED)


@dataclass(frozen=True, slots=True)
class Ending:
    """A run that has nothing left to do by itself."""

    status: StatusView
    tasks: Sequence[TaskView]
    stats: StatsView

    @property
    def exit_code(self) -> ExitCode:
        """0 when every task is done; 7 when one ended otherwise, or was not begun."""
        all_done = all(task["state"] == TaskState.DONE for task in self.tasks)
        return ExitCode.OK if all_done else ExitCode.TASK_FAILED

    @property
    def standing(self) -> list[TaskView]:
        """The tasks whose changes are in the tree: done, and not taken back."""
        done = [task for task in self.tasks if task["state"] == TaskState.DONE]
        return [task for task in done if task["review"] != ReviewState.UNDONE]

    def count(self, state: TaskState) -> int:
        """How many tasks ended so."""
        return sum(task["state"] == state for task in self.tasks)

    def document(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "exit_code": int(self.exit_code),
            "status": self.status,
            "tasks": self.tasks,
            "stats": self.stats,
        }


def summary_page(ending: Ending, width: int) -> list[Line]:
    """The whole summary as lines."""
    stats, status = ending.stats, ending.status
    files = {path for task in ending.standing for path in task["files"]}
    added = sum(task["lines_added"] for task in ending.standing)
    removed = sum(task["lines_removed"] for task in ending.standing)
    landed = ending.count(TaskState.DONE)
    lines = [headline(ending), (), *_task_table(ending.tasks, width), ()]
    lines += fields(
        [
            (
                "changed",
                f"{plural(len(files), 'file')}, +{added} -{removed} lines, nothing staged or committed",
            ),
            ("checks", _checks_words(stats, landed, status["baseline"])),
            ("model", f"{plural(stats['turns'], 'turn')}, {plural(stats['tool_calls'], 'tool call')}"),
            ("tokens", tokens_words(status["tokens"])),
            ("cost", spend_words(status["spend"], scripted=status["scripted"])),
            ("workers", f"{status['max_parallel']} of {status['workers_total']} at once at most"),
            ("time", span(round(stats["wall_s"] * 1000))),
        ]
    )
    if why := status.get("paused_why"):
        lines.append((Span(f"Paused: {why}. Mend it, then: agentcoord ctl resume", Tone.WARN),))
    if status["sandbox"].startswith("none"):
        lines.append((Span("The workers' commands ran unconfined: there was no sandbox.", Tone.WARN),))
    if status["scripted"]:
        lines.append((Span("The model was scripted: a local rehearsal server answered, nothing was paid."),))
    return lines


def headline(ending: Ending) -> Line:
    """One line that says how it went."""
    total, done = len(ending.tasks), len(ending.standing)
    undone = ending.count(TaskState.DONE) - done
    skipped = sum(task.get("skipped", False) for task in ending.tasks)
    waiting = sum(TaskState(task["state"]) not in SETTLED_STATES for task in ending.tasks)
    counted = (
        (ending.count(TaskState.PARKED), "waiting for you"),
        (ending.count(TaskState.FAILED), "failed"),
        (ending.count(TaskState.CANCELLED) - skipped, "cancelled"),
        (skipped, "skipped"),
    )
    others = [f"{count} {word}" for count, word in counted if count]
    others += [f"{undone} undone"] if undone else []
    others += [f"{waiting} not begun or not ended"] if waiting else []
    text = ", ".join([f"{done} of {plural(total, 'task')} done", *others])
    return (Span(text, Tone.GOOD if done == total else Tone.WARN),)


def next_steps(ending: Ending, prefix: str = "") -> list[Line]:
    """The commands for looking further, each with what it is for."""
    done = next((task["id"] for task in ending.standing), None)
    bad_ends = (task for task in ending.tasks if task["state"] in _BAD_ENDS and not task.get("dead_need"))
    stuck = next((task["id"] for task in bad_ends), None)
    steps = [("git status && git diff", "what changed in your tree")]
    if stuck is not None:
        steps.append((f"{prefix}agentcoord task {stuck}", "why it did not get done"))
        steps.append((f"{prefix}agentcoord retry {stuck}", "queue it again, once what was wrong is mended"))
    if done is not None:
        steps += [
            (f"{prefix}agentcoord diff {done}", "what one task changed"),
            (f"{prefix}agentcoord undo {done}", "take one task back, and only that"),
        ]
    if ending.status["state"] == "stopping":
        steps.insert(1, (f"{prefix}agentcoordd restart", "the daemon stops; this goes on, as it was started"))
    steps.append((f"{prefix}agentcoord dashboard", "look around"))
    return commands(steps)


def commands(steps: Sequence[tuple[str, str]]) -> list[Line]:
    """Commands with what each is for."""
    width = max((len(command) for command, _ in steps), default=0)
    return [
        (Span(f"  {command:<{width}}", Tone.ACCENT), Span(f"   {purpose}", Tone.MUTED))
        for command, purpose in steps
    ]


def _task_table(tasks: Sequence[TaskView], width: int) -> list[Line]:
    columns = [
        Column(""),
        Column("TASK"),
        Column("STATE"),
        Column("FILES", right=True),
        Column("LINES", right=True),
        Column("COST", right=True),
        Column("WORKER"),
        Column("WHY", elastic=True),
    ]
    rows = [
        (
            task_glyph(task["state"], task["review"]),
            cell(task["id"]),
            cell(task_word(task)),
            cell(len(task["files"]) or ""),
            cell(f"+{task['lines_added']} -{task['lines_removed']}" if task["files"] else ""),
            cell(money(task["cost_usd"])),
            cell(task["worker"], Tone.MUTED),
            cell("" if task["state"] == TaskState.DONE else task["why"]),
        )
        for task in tasks
    ]
    return table(columns, rows, width=width)


def _checks_words(stats: StatsView, landed: int, baseline: str) -> str:
    """What the checks did and what that proves; `baseline` as in the status."""
    runs = f"{plural(stats['checks_run'], 'run')} in {stats['check_s']:.1f} s"
    if not landed:
        return runs
    if not stats["checks_run"]:
        return "none: nothing proves what landed" if baseline == "none" else runs
    if baseline.startswith("red"):
        return f"{runs}; what landed fails nothing that passed before"
    return f"{runs}; every landed task passed them"
