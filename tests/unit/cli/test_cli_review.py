"""`agentcoord review` without a terminal: one task after the other, one answer a line."""

from __future__ import annotations

import io
import tomllib
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Run
from canned_views import ANSWERS, DETAIL, task_view

from agentcoord.wire.messages import Method

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run


@pytest.fixture
def morning(daemon: CannedDaemon) -> CannedDaemon:
    """Two tasks wait for a review; `b` changed a lock file and comes first."""
    rows = [
        task_view("a", "done", writes=[]),
        task_view("b", "done", writes=[], files=["uv.lock"]),
        task_view("c", "failed"),
        task_view("d", "done", review="accepted"),
    ]
    by_id = {row["id"]: row for row in rows}
    daemon.answers.update(ANSWERS)
    daemon.answers.update(
        {
            Method.TASKS: {"tasks": rows, "next_offset": None},
            Method.TASK: lambda p: {**DETAIL, "task": by_id[p["id"]]},
            Method.DIFF: {"text": "", "next_offset": None},
            Method.ACCEPT: lambda p: {"id": p["id"], "review": "accepted"},
            Method.UNDO: {"restored": ["a.py"], "merged": [], "conflicts": [], "patch": ""},
            Method.LOAD: {"run": "r", "added": ["a-2"], "unchanged": [], "changed": []},
        }
    )
    return daemon


def asked(daemon: CannedDaemon, method: Method) -> list[dict[str, Any]]:
    return [params for name, params in daemon.asked if name == method]


def answering(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_the_riskiest_comes_first_and_each_answer_is_carried_out(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "a", "r no test for the empty list")
    done = run("review")
    assert done.code == 0
    assert done.out.index("1 of 2: b") < done.out.index("2 of 2: a")
    assert "changes dependencies or packaging: uv.lock" in done.out
    assert asked(morning, Method.ACCEPT) == [{"id": "b"}]
    assert asked(morning, Method.UNDO) == [{"id": "a"}]
    task = tomllib.loads(asked(morning, Method.LOAD)[0]["text"])["task"][0]
    assert task["id"] == "a-2"
    assert "no test for the empty list" in task["description"]
    assert "a is undone\na-2 asks for it again with your reason" in done.err


def test_a_rejection_needs_a_reason_and_nonsense_is_asked_again(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "r", "what", "n", "q")
    done = run("review")
    assert done.code == 0
    assert "a reason must follow r" in done.err
    assert "one of these, please" in done.err
    assert not asked(morning, Method.UNDO)


def test_the_end_of_the_answers_ends_the_walk(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch)
    assert run("review").code == 0
    assert not asked(morning, Method.ACCEPT)


def test_an_undo_that_conflicts_is_said_and_asks_for_nothing_again(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.answers[Method.UNDO] = {"restored": [], "merged": [], "conflicts": ["a.py"], "patch": "x"}
    answering(monkeypatch, "r no", "n")
    done = run("review")
    assert done.code == 5
    assert "1 file changed since: a.py" in done.err
    assert not asked(morning, Method.LOAD)


def test_a_refusal_of_the_daemon_does_not_end_the_walk(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.refuse(Method.ACCEPT, 3, "not now", exit_code=5)
    answering(monkeypatch, "a", "n")
    done = run("review")
    assert done.code == 5
    assert "refused: not now" in done.err
    assert "2 of 2: a" in done.out


def test_nothing_to_review_is_said(run: Run, morning: CannedDaemon) -> None:
    morning.answers[Method.TASKS] = {"tasks": [task_view("c", "failed")], "next_offset": None}
    done = run("review")
    assert (done.code, done.out) == (0, "")
    assert "nothing waits for a review" in done.err


def test_a_second_try_that_cannot_be_loaded_is_said_with_its_problems(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.refuse(Method.LOAD, 1, "the plan has a problem", exit_code=2, problems=["no worker has the tag"])
    answering(monkeypatch, "r no", "q")
    done = run("review")
    assert done.code == 5
    assert "b is undone" in done.err
    assert "no worker has the tag" in done.err
