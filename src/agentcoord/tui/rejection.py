"""Rejecting a landed task: what landed on top of it, and what came of it, in words. Pure.

Its change is taken back and the same task is done again with the reason; the daemon does both as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentcoord.domain.graph import dependents_of
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.tui.text import money, plural
from agentcoord.wire.messages import TaskView


def landed_on_top(rows: Mapping[str, TaskView], task_id: str) -> list[str]:
    """The tasks that need it, directly or through others, and whose change stands in the tree."""
    names = dependents_of({name: row["needs"] for name, row in rows.items()}, [task_id])
    return [
        name
        for name, row in rows.items()
        if name in names and row["state"] == TaskState.DONE and row["review"] != ReviewState.UNDONE
    ]


def what_happens(landed: list[str], *, undone: bool = False) -> str:
    """What a rejection does, for a person who is about to decide. `undone`: its change is out already."""
    out = "is out of the tree already" if undone else "is taken out of the tree"
    words = f"Its change {out}, and the same task is done again with your reason."
    if landed:
        words += f" Landed on top of it, and stays as it is: {', '.join(landed)}."
    return words


def rejected_words(answer: Mapping[str, Any]) -> str:
    """What came of it, from the daemon's answer."""
    task, conflicts = answer["id"], answer["conflicts"]
    if conflicts:
        files = f"{plural(len(conflicts), 'file')} changed since: {', '.join(conflicts)}"
        return f"{task} cannot be rejected: {files}"
    touched = len(answer["restored"]) + len(answer["merged"])
    taken = f"taken back in {plural(touched, 'file')}" if touched else "out of the tree"
    words = f"{task} is {taken} and is {answer['state']} again with your reason"
    if absent := answer.get("absent"):
        words += f"; nothing of it was in {', '.join(absent)}: it may be in a stash or on another branch"
    if answer["cap_usd"] is not None:
        words += f"; {money(answer['spent_usd'])} of its {money(answer['cap_usd'])} are spent"
    return words
