"""How often work landed, by role and by model: what `agentcoord stats` says of both. Pure.

An attempt either landed or ended by its own fault; what the environment or a person ended says nothing of
who worked. Counted over the tasks and the ends that it is given: those of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from agentcoord.domain.ids import TaskId
from agentcoord.domain.setbacks import OWN_FAULTS, AttemptEnd
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task

if TYPE_CHECKING:
    from agentcoord.wire.answers import SuccessView

NOBODY_KNOWN = "(removed)"
"""The role of a worker that is no longer there, and a model of which nothing was written down."""


def with_own_faults(tasks: Iterable[Task]) -> list[TaskId]:
    """Return the tasks whose histories tell of attempts that ended by their own fault."""
    return [task.id for task in tasks if OWN_FAULTS & {*task.setbacks, *task.earlier_setbacks}]


def success_views(
    tasks: Iterable[Task],
    histories: Mapping[TaskId, Sequence[AttemptEnd]],
    role_of: Mapping[str, str],
    model_of: Callable[[Task], str],
) -> tuple[list[SuccessView], list[SuccessView]]:
    """Return the attempts by role and by model, the most attempts first."""
    by_role: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    by_model: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def count(worker: str, model: str, *, landed: bool) -> None:
        by_role[landed][role_of.get(worker, NOBODY_KNOWN)] += 1
        by_model[landed][model or NOBODY_KNOWN] += 1

    for task in tasks:
        if task.state is TaskState.DONE:
            count(task.worker or "", model_of(task), landed=True)
        for end in histories.get(task.id, ()):
            if end.setback in OWN_FAULTS:
                count(end.worker, end.model, landed=False)
    return _views(*by_role), _views(*by_model)


def _views(failed: Counter[str], landed: Counter[str]) -> list[SuccessView]:
    names = sorted(failed + landed, key=lambda name: (-(failed + landed)[name], name))
    return [{"name": name, "landed": landed[name], "failed": failed[name]} for name in names]
