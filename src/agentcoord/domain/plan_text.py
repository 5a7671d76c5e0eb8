"""A plan written as TOML, for a person to read and edit.

Separate from `plan`, which reads: what is written here is read back by it before anybody sees it.
Deliberately absent: comments of the user's (a file that is there is never rewritten).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import usd


def render_plan(
    name: str, tasks: Sequence[TaskSpec], *, head: Iterable[str] = (), notes: Mapping[str, str] | None = None
) -> str:
    """Return the plan's text.

    `head` are comment lines at its top, `notes` one for a task, by its id.
    """
    comments = [_comment(line) for line in head]
    lines = [*comments, *([""] if comments else []), "[plan]", f"name = {_quoted(name)}"]
    for task in tasks:
        lines += ["", "[[task]]"]
        note = (notes or {}).get(task.id, "")
        lines += [_comment(line) for line in note.splitlines()]
        lines += [f"id = {_quoted(task.id)}", f"title = {_quoted(task.title)}", f"priority = {task.priority}"]
        for key, values in (("tags", task.tags), ("needs", task.needs), ("writes", task.writes)):
            if values:
                lines.append(f"{key} = [{', '.join(_quoted(value) for value in values)}]")
        if task.check:
            lines.append(f"check = {_quoted(task.check)}")
        if task.budget_usd_micros is not None:
            lines.append(f"budget_usd = {usd(task.budget_usd_micros):.2f}")
        if task.budget_tokens is not None:
            lines.append(f"budget_tokens = {task.budget_tokens:_}")
        if task.description:
            lines.append(f"description = {_long(task.description)}")
    return "\n".join(lines) + "\n"


def _comment(line: str) -> str:
    return f"# {''.join(char for char in line if char.isprintable())}".rstrip()


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _long(text: str) -> str:
    """A text on lines of its own where it has more than one; quotes stay as they are where TOML lets them."""
    if "\n" not in text:
        return _quoted(text)
    escaped = "\n".join(_quoted(line)[1:-1] for line in text.split("\n"))
    marks = re.findall(r"\\.|[^\\]", escaped, re.DOTALL)
    bare = 0  # Quotes in a row that stand unescaped: a third would end the text, and so would one at its end.
    for at, mark in enumerate(marks):
        may_be_bare = mark == '\\"' and bare < 2 and at < len(marks) - 1
        bare = bare + 1 if may_be_bare else 0
        marks[at] = '"' if may_be_bare else mark
    return f'"""\n{"".join(marks)}"""'
