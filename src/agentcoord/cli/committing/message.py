"""What a task's commit says: its title, what was asked for, who did it at what cost. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.tui.text import harmless, money, one_line
from agentcoord.wire.task_views import TaskDetail

SUBJECT_CHARS: Final = 72
LINE_CHARS: Final = 72
BODY_CHARS: Final = 8_000
_LISTED: Final = re.compile(r"\d+[.)] |```")


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
            ("Agentcoord-Cost", money(row["cost_usd"])),
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
    """The text in lines of its own; paragraphs that only lines were broken in are filled anew."""
    text = description.strip()
    if len(text) > BODY_CHARS:
        text = text[:BODY_CHARS].rstrip() + " ..."
    lines = [harmless(line).rstrip() for line in text.splitlines()]
    parts: list[str] = []
    for line in lines:
        goes_on = parts and _is_prose(parts[-1]) and _is_prose(line)
        if goes_on:
            parts[-1] += f" {line}"
        else:
            parts.append(line)
    return "\n".join("\n".join(_broken(part)) for part in parts)


def _is_prose(line: str) -> bool:
    """Whether it may be joined with another line: no list, no heading, no code."""
    return bool(line) and (line[0].isalnum() or line[0] in "\"'(`") and not _LISTED.match(line)


def _broken(line: str) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line, LINE_CHARS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]
