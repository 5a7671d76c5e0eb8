"""Commenting on a landed task: it stays as it is, and a further task is asked to follow the comment.

The further task (`rate-limiter-2`) needs the first and begins from what that landed. Pure: whoever comments
loads the plan that this writes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from agentcoord.values import dataclass

if TYPE_CHECKING:  # As in `screens/live`.
    from agentcoord.wire.task_views import TaskDetail


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The task that is asked to follow a comment."""

    id: str
    plan: str
    """A plan in TOML with this one task."""


def follow_up(detail: TaskDetail, comment: str, known: Collection[str]) -> FollowUp:
    """Write the plan; its task has the tags, the check and the files of the one that is commented on."""
    task = detail["task"]
    task_id = _free_id(task["id"], known)
    description = (
        f"The task {task['id']} has landed; its work is in the tree and stays. The project's owner looked "
        f"at it and asks for this on top:\n{comment.strip()}\n\nWhat {task['id']} was asked for:\n"
        f"{detail['description'].strip() or task['title']}\n"
    )
    if detail["summary"]:
        description += f"\nWhat it says it did:\n{detail['summary'].strip()}\n"
    fields = [
        ("id", task_id),
        ("title", f"{task['title']}: what was asked for after a look"),
        ("priority", task["priority"]),
        ("tags", task["tags"]),
        ("needs", [task["id"]]),
        ("writes", task["writes"]),
        ("check", detail["check"]),
        ("description", description),
    ]
    if task["budget_usd"] is not None:
        fields.append(("budget_usd", task["budget_usd"]))
    if task["budget_tokens"] is not None:
        fields.append(("budget_tokens", task["budget_tokens"]))
    # JSON's strings, numbers and lists are TOML's too; only DEL must be escaped besides.
    written = [f"{name} = {_toml(value)}" for name, value in fields if value not in ("", [])]
    return FollowUp(task_id, "\n".join(['[plan]\nname = "comments"\n', "[[task]]", *written, ""]))


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _free_id(task_id: str, known: Collection[str]) -> str:
    base, dash, number = task_id.rpartition("-")
    stem = base if dash and number.isdigit() and base in known else task_id
    return next(f"{stem}-{n}" for n in range(2, len(known) + 3) if f"{stem}-{n}" not in known)
