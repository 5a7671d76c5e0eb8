"""What a task's commit says: its title, what was asked for, who did it at what cost. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.tui.text import harmless, one_line
from agentcoord.wire.messages import TaskDetail

SUBJECT_CHARS: Final = 72
LINE_CHARS: Final = 72
BODY_CHARS: Final = 8_000


def message_of(task: str, title: str, detail: TaskDetail | None) -> str:
    """Write the message; `detail` None: the daemon has forgotten the task, and only the journal knows it."""
    trailers = [("Agentcoord-Task", task)]
    parts = [_subject(title or task)]
    if detail is not None:
        row = detail["task"]
        if body := _body(detail["description"]):
            parts.append(body)
        models = models_of(detail["events"]) or [detail.get("model", "")]
        trailers += [
            ("Agentcoord-Worker", row["worker"] or ""),
            ("Agentcoord-Model", ", ".join(models)),
            ("Agentcoord-Cost", f"${row['cost_usd']:.2f}"),
        ]
    parts.append("\n".join(f"{name}: {one_line(value)}" for name, value in trailers if value))
    return "\n\n".join(parts) + "\n"


def models_of(events: Sequence[dict[str, Any]]) -> list[str]:
    """The models that worked on it, each once, as far as its newest events tell."""
    found = [
        str((event.get("data") or {}).get("model") or "")
        for event in events
        if event.get("kind") in (EventKind.TASK_CLAIMED, EventKind.TASK_TURN)
    ]
    return list(dict.fromkeys(model for model in found if model))


def _subject(title: str) -> str:
    line = one_line(title)
    return line if len(line) <= SUBJECT_CHARS else line[: SUBJECT_CHARS - 3].rstrip() + "..."


def _body(description: str) -> str:
    """The text, its paragraphs kept, long lines broken between words."""
    text = description.strip()
    if len(text) > BODY_CHARS:
        text = text[:BODY_CHARS].rstrip() + " ..."
    lines: list[str] = []
    for line in text.splitlines():
        clean = harmless(line).rstrip()
        indent = clean[: len(clean) - len(clean.lstrip())]
        broken = textwrap.wrap(
            clean, LINE_CHARS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines += broken or [""]
    return "\n".join(lines)
