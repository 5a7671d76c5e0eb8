"""How often work landed: what only a person or the environment ended is nobody's failure."""

from __future__ import annotations

from types import MappingProxyType

from agentcoord.daemon.success_views import NOBODY_KNOWN, success_views, with_own_faults
from agentcoord.domain.ids import TaskId, WorkerName
from agentcoord.domain.setbacks import AttemptEnd, Setback
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec

ROLES = {"Tester-1": "testing-engineer", "Tester-2": "testing-engineer", "Builder": "backend-engineer"}


def task(name: str, state: TaskState, worker: str | None = None, *setbacks: Setback) -> Task:
    counts = MappingProxyType({str(each): 1 for each in setbacks})
    spec, holder = TaskSpec(TaskId(name), name), WorkerName(worker) if worker else None
    return Task(spec, state, worker=holder, setbacks=counts)


def end(setback: Setback, worker: str, model: str) -> AttemptEnd:
    return AttemptEnd(1, setback, "", "queued", 1, worker, 1, model)


def test_attempts_are_counted_by_the_role_of_their_worker_and_by_their_model() -> None:
    tasks = [
        task("a", TaskState.DONE, "Tester-1"),
        task("b", TaskState.DONE, "Tester-2", Setback.UNPROVEN, Setback.RESTARTED),
        task("c", TaskState.FAILED, "Builder", Setback.UNPROVEN, Setback.GAVE_UP),
        task("d", TaskState.DONE, "Gone"),
        task("e", TaskState.QUEUED),
        task("f", TaskState.CANCELLED, "Builder", Setback.CANCELLED),
    ]
    assert with_own_faults(tasks) == ["b", "c"]
    histories = {
        TaskId("b"): [end(Setback.RESTARTED, "Builder", "small"), end(Setback.UNPROVEN, "Builder", "small")],
        TaskId("c"): [end(Setback.UNPROVEN, "Builder", "small"), end(Setback.GAVE_UP, "Builder", "")],
    }
    by_role, by_model = success_views(tasks, histories, ROLES, lambda each: f"for {each.id}")
    assert by_role == [
        {"name": "backend-engineer", "landed": 0, "failed": 3},
        {"name": "testing-engineer", "landed": 2, "failed": 0},
        {"name": NOBODY_KNOWN, "landed": 1, "failed": 0},
    ]
    assert {each["name"]: (each["landed"], each["failed"]) for each in by_model} == {
        "small": (0, 2),
        NOBODY_KNOWN: (0, 1),
        "for a": (1, 0),
        "for b": (1, 0),
        "for d": (1, 0),
    }


def test_where_nothing_was_tried_there_is_nothing_to_tell() -> None:
    assert success_views([task("a", TaskState.QUEUED)], {}, ROLES, lambda _: "m") == ([], [])
