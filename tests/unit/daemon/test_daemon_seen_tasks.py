"""A reader is told of each task once, and again when there is something new to tell."""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from agentcoord.daemon.seen_tasks import SeenTasks
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.wire.messages import TaskView


class Rows:
    """Makes rows, and notes of which tasks; `word` stands for what is not in the task."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.word = ""

    def __call__(self, task: Task) -> TaskView:
        self.made.append(task.id)
        told = {"id": task.id, "state": str(task.state), "review": str(task.review), "why": self.word}
        return cast("TaskView", told)


def task(name: str, state: TaskState = TaskState.DONE) -> Task:
    return Task(TaskSpec(TaskId(name), name), state)


def told(seen: SeenTasks, tasks: list[Task], rows: Rows) -> list[str]:
    rows.made.clear()
    return [row["id"] for row in seen.news(tasks, rows)]


def test_what_has_ended_is_told_once_and_no_row_of_it_is_made_again() -> None:
    seen, rows = SeenTasks(), Rows()
    tasks = [task("a"), task("b", TaskState.FAILED), task("c", TaskState.QUEUED)]
    assert told(seen, tasks, rows) == ["a", "b", "c"]
    assert told(seen, tasks, rows) == []
    assert rows.made == ["c"]
    # Read anew and equal: that is no news either.
    assert told(seen, [replace(each) for each in tasks], rows) == []
    tasks[0] = replace(tasks[0], review=ReviewState.ACCEPTED)
    assert told(seen, tasks, rows) == ["a"]


def test_what_is_under_way_is_told_when_its_row_is_another() -> None:
    seen, rows = SeenTasks(), Rows()
    tasks = [task("a", TaskState.QUEUED), task("b")]
    told(seen, tasks, rows)
    rows.word = "waits for a worker"
    assert told(seen, tasks, rows) == ["a"]
    assert told(seen, [task("a"), tasks[1]], rows) == ["a"]
    assert told(seen, tasks, rows) == ["a"], "it was brought back"
    assert sorted(seen) == ["a", "b"]
    assert told(seen, tasks, rows) == []


def test_a_task_that_is_gone_and_comes_again_is_new() -> None:
    seen, rows = SeenTasks(), Rows()
    tasks = [task("a"), task("b", TaskState.RUNNING), task("c")]
    told(seen, tasks, rows)
    assert told(seen, tasks[2:], rows) == []
    assert list(seen) == ["c"]
    assert told(seen, tasks, rows) == ["a", "b"]
    seen.forget()
    assert told(seen, tasks, rows) == ["a", "b", "c"]


def test_a_row_that_nobody_asked_for_was_not_told() -> None:
    seen, rows = SeenTasks(), Rows()
    tasks = [task("a"), task("b", TaskState.RUNNING), task("c")]
    begun = seen.news(tasks, rows)
    assert next(begun)["id"] == "a"
    del begun
    assert rows.made == ["a"]
    assert told(seen, tasks, rows) == ["b", "c"]
