"""What a person can do to tasks: one entry an effect, for keys, marks and `:` commands alike. Pure.

An entry says which method it is, when it is possible, what to ask before it, and how to tell what
came of it. Deliberately absent: asking the daemon, and drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from agentcoord.domain.listed import listed
from agentcoord.domain.states import HELD_STATES
from agentcoord.tui import actions
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.text import plural
from agentcoord.values import dataclass
from agentcoord.wire.protocol import Method

CANCEL_WHY: Final = "cancelled in the dashboard"
_NAMES_SHOWN: Final = 6
_listed = partial(listed, most=_NAMES_SHOWN)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that can be done to a task."""

    verb: str
    """As a command, and in questions."""
    method: Method
    why_not: Callable[[DashboardModel, str | None], str]
    consequence: Callable[[DashboardModel, Sequence[str]], str]
    """What happens, in words; asked for one task too if `always_ask`, for several always."""
    told: Callable[[str, Mapping[str, Any]], str]
    """The outcome in words, from the task's id and the daemon's answer."""
    always_ask: bool = False
    parameters: tuple[tuple[str, str | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the wanted tasks an effect is possible for."""

    possible: tuple[str, ...]
    refused: tuple[str, ...]
    """Reasons, one for each of the others."""


def choose(effect: Effect, model: DashboardModel, wanted: Sequence[str]) -> Choice:
    """Part the wanted tasks; with none wanted, the reason is that nothing is selected."""
    if not wanted:
        return Choice((), (effect.why_not(model, None),))
    reasons = {task: effect.why_not(model, task) for task in wanted}
    return Choice(
        tuple(task for task, reason in reasons.items() if not reason),
        tuple(reason for reason in reasons.values() if reason),
    )


def question(effect: Effect, tasks: Sequence[str]) -> str:
    """What to ask before it."""
    verb = effect.verb.capitalize()
    return f"{verb} {tasks[0]}?" if len(tasks) == 1 else f"{verb} {plural(len(tasks), 'task')}?"


def _cancel_consequence(model: DashboardModel, tasks: Sequence[str]) -> str:
    if len(tasks) > 1:
        return f"{_listed(tasks)}: nobody works on them any more; nothing of them lands."
    task = model.tasks[tasks[0]]
    if task["worker"] and task["state"] in HELD_STATES:
        return f"{task['worker']} stops working on it; what it did so far does not land."
    return f"Nobody works on it any more; `agentcoord retry {tasks[0]}` brings it back."


def _undo_consequence(model: DashboardModel, tasks: Sequence[str]) -> str:
    files = sum(len(model.tasks[task]["files"]) for task in tasks)
    dependents = dependents_of(model, tasks)
    words = f"Takes its lines out of {plural(files, 'file')}; all other changes stay."
    if len(tasks) > 1:
        words = f"{_listed(tasks)}: takes their lines out of {plural(files, 'file')}; the rest stays."
    if dependents:
        words += f" Landed on top of it: {_listed(dependents)}."
    return words


def dependents_of(model: DashboardModel, tasks: Sequence[str]) -> tuple[str, ...]:
    """Tasks that need one of these, directly or through others."""
    reached = set(tasks)
    while True:
        more = {row["id"] for row in model.tasks.values() if reached & set(row["needs"])} - reached
        if not more:
            return tuple(task for task in model.tasks if task in reached and task not in tasks)
        reached |= more


def _undone(task: str, answer: Mapping[str, Any]) -> str:
    conflicts = answer.get("conflicts") or []
    if conflicts:
        return (
            f"{task} cannot be undone: {_listed(conflicts)} changed since. agentcoord undo shows the patch."
        )
    touched = len(answer.get("restored") or []) + len(answer.get("merged") or [])
    gone = answer.get("gone") or []
    rest = f" {_listed(gone)}: removed or renamed since." if gone else ""
    absent = answer.get("absent") or []
    again = f" Nothing of it is in {_listed(absent)}; agentcoord undo again when it is." if absent else ""
    return f"{task} is undone in {plural(touched, 'file')}.{rest}{again}"


def _state_told(task: str, answer: Mapping[str, Any]) -> str:
    return f"{task} is {answer.get('state', 'changed')}."


CANCEL: Final = Effect(
    "cancel",
    Method.CANCEL,
    actions.why_not_cancel,
    _cancel_consequence,
    _state_told,
    always_ask=True,
    parameters=(("why", CANCEL_WHY),),
)
RETRY: Final = Effect(
    "retry",
    Method.RETRY,
    actions.why_not_retry,
    lambda _model, tasks: f"{_listed(tasks)}: workers take them again, and spend money again.",
    _state_told,
)
ACCEPT: Final = Effect(
    "accept",
    Method.ACCEPT,
    actions.why_not_accept,
    lambda _model, tasks: f"{_listed(tasks)}: marked as reviewed and good. The commit stays yours.",
    lambda task, _answer: f"{task} is accepted. The commit stays yours.",
)
UNDO: Final = Effect(
    "undo",
    Method.UNDO,
    actions.why_not_undo,
    _undo_consequence,
    _undone,
    always_ask=True,
    # What landed on top of it was named in the question.
    parameters=(("yes", True),),
)
LAND: Final = Effect(
    "land",
    Method.LAND,
    actions.why_not_land,
    lambda _model, tasks: f"{_listed(tasks)}: lands exactly as it was checked, flags and all.",
    _state_told,
    always_ask=True,
)
EFFECTS: Final = {effect.verb: effect for effect in (CANCEL, RETRY, ACCEPT, UNDO, LAND)}
