"""One landed task as a reviewer reads it: why it comes here, what was asked, the proof, the diff. Pure.

The order is the report's (`review.report.reading_order`), so that both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.states import TaskState
from agentcoord.review.report.headline import RUNS_HERE
from agentcoord.review.report.reading_order import Change, Flag, flags_of, score_of, told_flags
from agentcoord.tui.diff_page import DiffPage, DiffPages, Layout
from agentcoord.tui.glyphs import TROUBLE, task_glyph, task_word
from agentcoord.tui.reflow import reflowed
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.table_rows import Row
from agentcoord.tui.text import money, one_line, plural, span, wrap
from agentcoord.tui.widgets.columns import Column
from agentcoord.values import dataclass
from agentcoord.wire.messages import TaskView
from agentcoord.wire.task_views import CheckView, TaskDetail

REVIEW_COLUMNS: Final = (
    Column("glyph", "", 1),
    Column("id", "By risk", 12, flex=1),
    Column("flags", "▲", 2, right=True),
    Column("lines", "Lines", 9, right=True, rank=1),
)
OUTPUT_LINES: Final = 6
"""How much of a green check's output is shown; the newest lines."""
HEAVY: Final = 30
"""From this weight on a flag is a warning, below it a remark."""


@dataclass(frozen=True, slots=True)
class Case:
    """One task under review."""

    detail: TaskDetail
    diff: str
    cut: bool
    """Whether the diff is longer than what was read."""

    @property
    def task_id(self) -> str:
        return self.detail["task"]["id"]

    @property
    def change(self) -> Change:
        """What the order of review looks at."""
        task = self.detail["task"]
        merged = [
            str(path)
            for event in self.detail["events"]
            if event.get("kind") == EventKind.TASK_DONE
            for path in (event.get("data") or {}).get("merged") or ()
        ]
        return Change(
            task=task["id"],
            files=task["files"],
            writes=task["writes"],
            lines_added=task["lines_added"],
            lines_removed=task["lines_removed"],
            checked=bool(self.detail["checks"]),
            attempt=task["attempt"],
            merged=merged,
            diff=self.diff,
            flags=told_flags(self.detail.get("flags")),
        )


def by_risk(cases: Sequence[Case]) -> list[Case]:
    """The riskiest first; equals keep their order."""
    return sorted(cases, key=lambda case: -score_of(case.change))


def queue_row(case: Case, row: TaskView | None) -> Row:
    """One line of the list at the side; `row` is the newest that is known of the task."""
    task = row if row is not None else case.detail["task"]
    judged = task_word(task) != TaskState.DONE
    flags = flags_of(case.change)
    weight = max((flag.weight for flag in flags), default=0)
    glyph = task_glyph(task["state"], task["review"]) if judged else Span("·", Tone.MUTED)
    return Row(
        task["id"],
        (
            glyph,
            Span(one_line(task["id"]), Tone.MUTED if judged else Tone.STRONG),
            Span(str(len(flags) or ""), Tone.WARN if weight >= HEAVY else Tone.MUTED),
            Span(f"+{task['lines_added']} -{task['lines_removed']}", Tone.MUTED),
        ),
    )


def case_lines(case: Case, row: TaskView | None, *, width: int) -> list[Line]:
    """The page of one task, its diff unified."""
    page = DiffPages(case.diff).page(Layout.UNIFIED, width=width)
    return case_page(case, row, page, width=width).lines


def case_page(case: Case, row: TaskView | None, diff: DiffPage, *, width: int) -> DiffPage:
    """What speaks for a task and against it, and then its diff."""
    lines = _case_head(case, row, width=width)
    # What is shown, and not what the task says: of a long diff, or a task without some hunks, that is less.
    shown = f", {plural(len(diff.files), 'file')}" if diff.files else ""
    lines += [(), (Span(f" Diff{shown}", Tone.TITLE),)]
    first = len(lines)
    lines += diff.lines or [(Span("   No changes.", Tone.MUTED),)]
    if case.cut:
        lines.append((Span(f" Cut here. All of it: agentcoord diff {case.task_id}", Tone.WARN),))
    hunks = [(first + start, hunk) for start, hunk in diff.hunks]
    return DiffPage(lines, [first + start for start in diff.files], hunks)


def _case_head(case: Case, row: TaskView | None, *, width: int) -> list[Line]:
    text_width = max(20, width - 4)
    task = row if row is not None else case.detail["task"]
    detail = case.detail
    lines = _facts(task)
    lines += runs_here_lines(task.get("runs_here", []))
    lines += _flags(flags_of(case.change), text_width)
    lines += _section("Asked for", detail["description"], text_width)
    lines += _section("What it says it did", detail["summary"], text_width)
    if detail["decisions"]:
        lines += [(), (Span(" Decisions and assumptions", Tone.TITLE),)]
        for decision in detail["decisions"]:
            lines += _bullet("·", Tone.MUTED, decision, text_width)
    return lines + _checks(detail["checks"], text_width)


def _facts(task: TaskView) -> list[Line]:
    glyph = task_glyph(task["state"], task["review"])
    word = one_line(task_word(task))
    took = ""
    if task["started_at"] is not None and task["ended_at"] is not None:
        took = f"  took {span(task['ended_at'] - task['started_at'])}"
    facts = (
        f"  +{task['lines_added']} -{task['lines_removed']} in {plural(len(task['files']), 'file')}"
        f"  {money(task['cost_usd'])}  {plural(task['turns'], 'turn')}{took}"
        f"  {one_line(task['worker'] or '')}"
    )
    return [(Span(" "), Span(f"{glyph.text} {word}", glyph.tone), Span(facts, Tone.MUTED))]


def runs_here_lines(paths: Sequence[str]) -> list[Line]:
    """The files that run on the user's machine or in their CI, a line each; none, no lines."""
    lines: list[Line] = [(), (Span(f" {RUNS_HERE}", Tone.TITLE),)] if paths else []
    return [*lines, *((Span(f"   {TROUBLE} ", Tone.WARN), Span(one_line(path), Tone.WARN)) for path in paths)]


def _flags(flags: Sequence[Flag], width: int) -> list[Line]:
    if not flags:
        return [(), (Span(" Nothing stands out.", Tone.MUTED),)]
    lines: list[Line] = [(), (Span(" Look at", Tone.TITLE),)]
    for flag in flags:
        tone = Tone.WARN if flag.weight >= HEAVY else Tone.PLAIN
        lines += _bullet(TROUBLE if flag.weight >= HEAVY else "·", tone, flag.words, width)
    return lines


def _section(title: str, text: str, width: int) -> list[Line]:
    body: list[Line] = [(Span(f"   {line}"),) for line in wrap(reflowed(text), width)]
    return [(), (Span(f" {title}", Tone.TITLE),), *body] if body else []


def _bullet(sign: str, tone: Tone, text: str, width: int) -> list[Line]:
    return [
        (Span(f"   {sign if i == 0 else ' '} ", tone), Span(line, tone if tone is Tone.WARN else Tone.PLAIN))
        for i, line in enumerate(wrap(one_line(text), width - 2))
    ]


def _checks(checks: Sequence[CheckView], width: int) -> list[Line]:
    lines: list[Line] = [(), (Span(" Checks before it landed", Tone.TITLE),)]
    if not checks:
        return [*lines, (Span("   none: nothing but the diff speaks for it", Tone.WARN),)]
    for check in checks:
        sign, tone = ("✔", Tone.GOOD) if check["ok"] else ("✗", Tone.BAD)
        if check.get("excused"):
            sign, tone = "▲", Tone.WARN
        lines.append(
            (
                Span(f"   {sign} exit {check['exit_code']} ", tone),
                Span(one_line(check["name"]), Tone.STRONG),
                Span(f"  {check['ms'] / 1000:.1f} s  ", Tone.MUTED),
                Span(one_line(check["command"])),
            )
        )
        if check.get("excused"):
            lines.append((Span("       red for nothing but tests that were red before", Tone.WARN),))
        shown = wrap(check["output"], width - 4)[-OUTPUT_LINES:]
        lines += [(Span(f"       {line}", Tone.MUTED),) for line in shown]
    return lines
