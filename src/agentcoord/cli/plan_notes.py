"""What may surprise about a plan that can be loaded: told by `plan check`, forbidding nothing.

Pure. Deliberately absent: problems, which `domain.plan` tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from agentcoord.config.sections import Settings
from agentcoord.domain.ids import TaskId
from agentcoord.domain.listed import listed
from agentcoord.domain.plan import Plan
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import usd, usd_micros
from agentcoord.workspace.scope import ScopeRules

_listed = partial(listed, most=5)

_WILD: Final = frozenset("*?[")
_MOST_WRITERS: Final = 20
"""Of one file, that are compared with each other."""


def plan_notes(plan: Plan, settings: Settings) -> list[str]:
    """Return one sentence each."""
    return [
        *_uncovered(plan.tasks, settings),
        *_money(plan.tasks, settings),
        *_same_files(plan.tasks),
    ]


def _uncovered(tasks: Sequence[TaskSpec], settings: Settings) -> Iterator[str]:
    """Tasks that nothing proves, and files that may never land."""
    if not settings.checks.commands:
        bare = [task.id for task in tasks if not task.check]
        if bare:
            yield f"no check proves {_listed(bare)}: name one in the task, or under [checks]"
    rules = ScopeRules(settings.project.scope, settings.project.protect, settings.project.sight)
    for task in tasks:
        outside = [path for path in task.writes if not _WILD & set(path) and not rules.allows(path)]
        if outside:
            yield f"{task.id} expects to write {_listed(outside)}, outside the scope: that would not land"


def _money(tasks: Sequence[TaskSpec], settings: Settings) -> Iterator[str]:
    """Whether the run's cap would end it before the tasks' caps do."""
    run_usd, usual = settings.budget.run_usd, usd_micros(settings.budget.task_usd)
    caps = [usual if task.budget_usd_micros is None else task.budget_usd_micros for task in tasks]
    if run_usd and all(caps) and sum(caps) > usd_micros(run_usd):
        yield f"the tasks' caps come to ${usd(sum(caps)):.2f}; the run ends at its own, ${run_usd:.2f}"


def _same_files(tasks: Sequence[TaskSpec]) -> Iterator[str]:
    """Files that several tasks declare, none of which waits for the other."""
    by_path: dict[str, list[TaskId]] = {}
    for task in tasks:
        for path in task.writes:
            if not _WILD & set(path):
                by_path.setdefault(path, []).append(task.id)
    by_id = {task.id: task for task in tasks}
    waits_for: dict[TaskId, set[TaskId]] = {}
    for path, writers in by_path.items():
        compared = writers[:_MOST_WRITERS] if len(writers) > 1 else []
        for writer in compared:
            if writer not in waits_for:
                waits_for[writer] = _all_needs(by_id, writer)
        loose = [
            one
            for one in compared
            if any(
                other != one and other not in waits_for[one] and one not in waits_for[other]
                for other in compared
            )
        ]
        if loose:
            yield f"{_listed(loose)} write {path} and wait for each other there; `needs` would order them"


def _all_needs(by_id: Mapping[TaskId, TaskSpec], task: TaskId) -> set[TaskId]:
    """What a task needs, directly or through others."""
    seen: set[TaskId] = set()
    ahead = [task]
    while ahead:
        spec = by_id.get(ahead.pop())
        news = set(spec.needs) - seen if spec is not None else set()
        seen |= news
        ahead += news
    return seen
