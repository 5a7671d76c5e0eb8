"""All that is known of one task, as a page of text: a pure function from the daemon's answer to lines.

Separate from `pages`, which a fast command imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentcoord.cli.money_words import of_cap
from agentcoord.cli.render import fields
from agentcoord.cli.review_pages import flag_lines, tests_lines
from agentcoord.cli.setback_pages import history_lines, needs_words, setbacks_words
from agentcoord.tui.glyphs import NEEDS_YOU, task_glyph, task_word
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import harmless, one_line, plural

if TYPE_CHECKING:
    from agentcoord.wire.messages import TaskView
    from agentcoord.wire.task_views import TaskDetail

NEWEST_EVENTS = 15
"""How many events it shows."""


def task_page(detail: TaskDetail, event_lines: Sequence[Line]) -> list[Line]:
    """`agentcoord task ID`; `event_lines` are its newest events, in words."""
    task = detail["task"]
    glyph = task_glyph(task["state"], task["review"])
    lines: list[Line] = [
        (glyph, Span(f" {one_line(task['id'])}  "), Span(one_line(task["title"]), Tone.TITLE))
    ]
    lines += fields(
        [
            ("state", _state_words(task)),
            ("priority", str(task["priority"])),
            ("tags", ", ".join(task["tags"])),
            ("needs", needs_words(task)),
            ("may write", ", ".join(task["writes"])),
            ("check", one_line(detail["check"])),
            ("worker", task["worker"] or ""),
            ("attempt", f"{task['attempt']}, {plural(task['turns'], 'turn')}" if task["attempt"] else ""),
            ("setbacks", setbacks_words(task.get("setbacks", {}))),
            ("cost", of_cap(task["cost_usd"], task["budget_usd"])),
            ("tokens", f"{task['budget_tokens']:,} at most" if task["budget_tokens"] is not None else ""),
            ("files", ", ".join(one_line(path) for path in task["files"])),
            ("lines", f"+{task['lines_added']} -{task['lines_removed']}" if task["files"] else ""),
        ]
    )
    if history := detail.get("history", []):
        lines += [(), (Span("Attempts", Tone.TITLE),), *history_lines(history)]
    flags = detail.get("flags", [])
    if flags:
        lines += [(), (Span("Flags", Tone.TITLE),), *flag_lines(flags)]
    for title, text in (("Description", detail["description"]), ("Summary", detail["summary"])):
        if text:
            lines += [(), (Span(title, Tone.TITLE),), *_paragraph(text)]
    if detail["decisions"]:
        lines += [(), (Span("Decisions", Tone.TITLE),)]
        lines += [(Span(f"- {one_line(decision)}"),) for decision in detail["decisions"]]
    if detail["questions"]:
        lines += [(), (Span("Questions", Tone.TITLE),), *_questions(detail["questions"])]
    if detail["checks"]:
        lines += [(), (Span("Checks", Tone.TITLE),)]
        for check in detail["checks"]:
            sign = Span("✔ ", Tone.GOOD) if check["ok"] else Span("✗ ", Tone.BAD)
            words = f"{one_line(check['name'])}: exit {check['exit_code']}, {check['ms'] / 1000:.1f} s"
            lines.append((sign, Span(words), Span(f"  {one_line(check['command'])}", Tone.MUTED)))
            lines += tests_lines(check.get("tests"))
            if not check["ok"]:
                lines += _paragraph(check["output"])
    if event_lines:
        lines += [(), (Span("Newest events", Tone.TITLE),), *event_lines]
    return lines


def _questions(questions: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines: list[Line] = []
    for question in questions:
        asked, answer = question.get("question", ""), question.get("answer")
        lines.append((Span(f"{NEEDS_YOU} ", Tone.WARN), Span(one_line(str(asked)))))
        said = f"answered: {answer}" if answer else f"assumed until you answer: {question.get('default', '')}"
        lines.append((Span(f"  {one_line(said)}", Tone.MUTED),))
    return lines


def _paragraph(text: str) -> list[Line]:
    return [(Span(f"  {harmless(line)}"),) for line in text.strip().splitlines()]


def _state_words(task: TaskView) -> str:
    word = task_word(task)
    return f"{word}: {one_line(task['why'])}" if task["why"] else word
