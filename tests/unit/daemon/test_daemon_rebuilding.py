"""Tasks after the server lost them: what had not been told yet of a need is told."""

from __future__ import annotations

from agentcoord.daemon.rebuilding import rebuilt
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.store.memory import TaskRow
from agentcoord.store.task_bodies import encode_body

_S = TaskState


def row(name: str, state: TaskState, *needs: str, **fields: str) -> TaskRow:
    body = encode_body(TaskSpec(TaskId(name), name)).decode()
    rank = str("abcdefgh".index(name))
    return TaskRow(name, rank, body, "", {"state": state, "needs": ",".join(needs), **fields})


def states(*rows: TaskRow) -> dict[str, str]:
    return {task.row.id: task.state for task in rebuilt(rows, [])}


def test_what_failed_by_a_need_that_a_person_brought_back_waits_for_it_again() -> None:
    a = row("a", _S.QUEUED)
    b = row("b", _S.FAILED, "a", cause="a", why="needs a, which failed", ended_at="5", **{"n:unproven": "2"})
    c = row("c", _S.CANCELLED, "b", cause="b", onfail="skip", **{"n:error": "1", "o:error": "3"})
    tasks = {task.row.id: task for task in rebuilt([a, b, c], [])}
    assert {name: (task.state, task.open_needs) for name, task in tasks.items()} == {
        "a": (_S.QUEUED, 0),
        "b": (_S.BLOCKED, 1),
        "c": (_S.BLOCKED, 1),
    }
    fields = tasks["c"].row.fields
    assert (fields["o:error"], fields["why"], "cause" in fields, "n:error" in fields) == (
        "4",
        "",
        False,
        False,
    )


def test_what_waits_for_a_need_that_has_ended_without_a_result_ends_by_its_rule() -> None:
    a = row("a", _S.CANCELLED, ended_at="7")
    rows = [
        row("b", _S.BLOCKED, "a"),
        row("c", _S.BLOCKED, "b", onfail="skip"),
        row("d", _S.BLOCKED, "c"),
        row("e", _S.BLOCKED, "d", onfail="run"),
        row("f", _S.BLOCKED, "e"),
    ]
    tasks = {task.row.id: task for task in rebuilt([*reversed(rows), a], [])}
    assert {name: task.state for name, task in tasks.items()} == {
        "a": _S.CANCELLED,
        "b": _S.FAILED,
        "c": _S.CANCELLED,
        "d": _S.FAILED,
        "e": _S.QUEUED,
        "f": _S.BLOCKED,
    }
    assert [tasks[name].row.fields["why"] for name in "bcd"] == [
        "needs a, which was cancelled",
        "skipped: needs b, which failed",
        "needs c, which was skipped",
    ]
    assert tasks["c"].row.fields["ended_at"] == "7"


def test_a_need_that_is_brought_back_beside_one_that_stays_dead_is_not_the_cause_any_more() -> None:
    a, b = row("a", _S.QUEUED), row("b", _S.FAILED)
    c = row("c", _S.FAILED, "a", "b", cause="a", ended_at="3")
    (task,) = [task for task in rebuilt([a, b, c], []) if task.row.id == "c"]
    assert (task.state, task.row.fields["cause"]) == (_S.FAILED, "b")


def test_what_failed_by_itself_stays_failed_whatever_became_of_its_needs() -> None:
    assert states(row("a", _S.DONE), row("b", _S.FAILED, "a"), row("c", _S.DONE, "b")) == {
        "a": _S.DONE,
        "b": _S.FAILED,
        "c": _S.DONE,
    }
