"""Rejecting a landed task: its change is taken back, and the work is asked for again with the reason.

The second try is a task of its own (`rate-limiter-2`), because what landed and was undone stays in
the books as it was. Pure: whoever rejects sends `undo`, then loads the plan that this writes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from agentcoord.wire.messages import TaskDetail


@dataclass(frozen=True, slots=True)
class SecondTry:
    """The task that asks for the work again."""

    id: str
    plan: str
    """A plan in TOML with this one task."""


def second_try(detail: TaskDetail, reason: str, known: Collection[str]) -> SecondTry:
    """Write the plan; its task has everything of the first one, and says why that was rejected."""
    task = detail["task"]
    task_id = _free_id(task["id"], known)
    description = (
        f"{detail['description'].rstrip()}\n\n"
        f"This is a second try. The first one landed and was taken back by the project's owner, who said:\n"
        f"{reason.strip()}\n"
    )
    if detail["summary"]:
        description += f"What the first try did, in its own words:\n{detail['summary'].strip()}\n"
    fields = [
        ("id", task_id),
        ("title", task["title"]),
        ("priority", task["priority"]),
        ("tags", task["tags"]),
        ("needs", task["needs"]),
        ("writes", task["writes"]),
        ("check", detail["check"]),
        ("description", description.lstrip()),
    ]
    if task["budget_usd"] is not None:
        fields.append(("budget_usd", task["budget_usd"]))
    # JSON's strings, numbers and lists are TOML's too; only DEL must be escaped besides.
    written = [f"{name} = {_toml(value)}" for name, value in fields if value not in ("", [])]
    return SecondTry(task_id, "\n".join(['[plan]\nname = "second try"\n', "[[task]]", *written, ""]))


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _free_id(task_id: str, known: Collection[str]) -> str:
    base, dash, number = task_id.rpartition("-")
    stem = base if dash and number.isdigit() and base in known else task_id
    return next(f"{stem}-{n}" for n in range(2, len(known) + 3) if f"{stem}-{n}" not in known)
