"""Tasks after the server lost them: what had not been told yet of a need is told."""

from __future__ import annotations

from agentcoord.daemon.rebuilding import ended_by_need, rebuilt
from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import TaskSpec
from agentcoord.store.memory import TaskRow
from agentcoord.store.spreading import EndedByNeed
from agentcoord.store.task_bodies import encode_body
from agentcoord.store.task_records import decode_task
from agentcoord.workspace.history import LandedRecord
from agentcoord.workspace.versions import version_of

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


def test_the_need_that_ended_a_task_stays_its_cause_while_it_is_dead() -> None:
    a, b = row("a", _S.FAILED), row("b", _S.FAILED)
    c = row("c", _S.FAILED, "a", "b", cause="b", why="needs b, which failed", ended_at="3")
    assert rebuilt([a, b, c], [])[2].row.fields == c.fields


def test_what_never_ended_keeps_its_attempts_wherever_it_stands_in_the_plan() -> None:
    a = row("a", _S.BLOCKED, "b", attempt="2", **{"n:error": "2"})
    b, c = row("b", _S.FAILED, "c", cause="c"), row("c", _S.QUEUED)
    tasks = {task.row.id: task for task in rebuilt([a, b, c], [])}
    assert {name: task.state for name, task in tasks.items()} == {
        "a": _S.BLOCKED,
        "b": _S.BLOCKED,
        "c": _S.QUEUED,
    }
    assert (tasks["a"].row.fields["attempt"], tasks["a"].row.fields["n:error"]) == ("2", "2")
    assert ended_by_need([a, b, c], tasks.values()) == []


def test_whoever_ends_by_the_rebuilding_is_named() -> None:
    rows = [row("a", _S.FAILED), row("b", _S.BLOCKED, "a"), row("c", _S.FAILED, "a", cause="a")]
    assert ended_by_need(rows, rebuilt(rows, [])) == [EndedByNeed(TaskId("b"), TaskId("a"), _S.FAILED)]


def test_what_failed_by_itself_stays_failed_whatever_became_of_its_needs() -> None:
    assert states(row("a", _S.DONE), row("b", _S.FAILED, "a"), row("c", _S.DONE, "b")) == {
        "a": _S.DONE,
        "b": _S.FAILED,
        "c": _S.DONE,
    }


def test_what_has_landed_is_done_with_its_files_whatever_was_copied_of_it() -> None:
    file = LandedFile("src/new.py", None, version_of(b"Y = 2\n", 0o644), 1, 0)
    record = LandedRecord(TaskId("a"), FencingToken(4), "a", 77, (file,), None)
    (task,) = rebuilt([row("a", _S.RUNNING, attempt="1", token="4")], [record])
    assert task.state == _S.DONE
    assert (task.row.fields["ended_at"], task.row.fields["why"]) == ("77", "")
    assert decode_task(task.row.body.encode(), task.row.fields).files == ("src/new.py",)
