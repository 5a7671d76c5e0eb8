"""`agentcoord review` without a terminal: one task after the other, one answer a line."""

from __future__ import annotations

import io
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Run
from canned_views import ANSWERS, DETAIL, UNDONE, task_view

from agentcoord.domain.hunks import read_diff
from agentcoord.wire.messages import Method

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run
REJECTED: dict[str, Any] = {
    **UNDONE,
    "state": "queued",
    "spent_usd": 0.4,
    "cap_usd": 0.6,
}


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
            Method.UNDO: UNDONE,
            Method.REJECT: lambda p: {**REJECTED, "id": p["id"]},
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
    assert asked(morning, Method.REJECT) == [
        {"id": "a", "reason": "no test for the empty list", "despite": []}
    ]
    assert "a is taken back in 1 file and is queued again with your reason; $0.40 of its $0.60" in done.err


def test_a_rejection_tells_where_nothing_of_the_task_was(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.answers[Method.REJECT] = {**REJECTED, "id": "a", "absent": ["b.py"]}
    answering(monkeypatch, "n", "r no")
    assert "nothing of it was in b.py: it may be in a stash or on another branch" in run("review").err


def test_a_rejection_needs_a_reason_and_nonsense_is_asked_again(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "r", "what", "n", "q")
    done = run("review")
    assert done.code == 0
    assert "a reason must follow r" in done.err
    assert "one of these, please" in done.err
    assert not asked(morning, Method.REJECT)


def test_what_landed_on_top_is_named_before_a_rejection_and_needs_a_mark(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [task_view("base", "done"), task_view("top", "done", needs=["base"])]
    morning.answers[Method.TASKS] = {"tasks": rows, "next_offset": None}
    by_id = {row["id"]: row for row in rows}
    morning.answers[Method.TASK] = lambda p: {**DETAIL, "task": by_id[p["id"]]}
    answering(monkeypatch, "r too short", "r! too short", "q")
    done = run("review")
    assert "landed on top of it: top; r! REASON rejects it" in done.err
    assert asked(morning, Method.REJECT) == [{"id": "base", "reason": "too short", "despite": ["top"]}]


def test_the_end_of_the_answers_ends_the_walk(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch)
    assert run("review").code == 0
    assert not asked(morning, Method.ACCEPT)


@pytest.mark.parametrize(("method", "answer"), [(Method.UNDO, "u"), (Method.REJECT, "r no")])
def test_what_cannot_be_taken_back_is_said(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch, method: Method, answer: str
) -> None:
    morning.answers[method] = {**REJECTED, "id": "b", "restored": [], "conflicts": ["a.py"]}
    answering(monkeypatch, answer, "n")
    done = run("review")
    assert done.code == 5
    assert "1 file changed since: a.py" in done.err


def test_reject_sends_the_reason_and_the_names_of_what_stays(run: Run, morning: CannedDaemon) -> None:
    done = run("reject", "a", "--reason", "too short", "--despite", "b", "--despite", "c")
    assert (done.code, "a is taken back in 1 file" in done.out) == (0, True)
    assert asked(morning, Method.REJECT) == [{"id": "a", "reason": "too short", "despite": ["b", "c"]}]
    as_json = run("reject", "a", "--reason", "too short", "--json")
    assert '"schema": "agentcoord.reject/1"' in as_json.out
    morning.answers[Method.REJECT] = {**REJECTED, "id": "a", "restored": [], "conflicts": ["a.py"]}
    refused = run("reject", "a", "--reason", "too short")
    assert (refused.code, "a cannot be rejected: 1 file changed since" in refused.err) == (5, True)


def test_a_refusal_of_the_daemon_does_not_end_the_walk(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.refuse(Method.ACCEPT, 3, "not now", exit_code=5, mend="agentcoord tasks")
    answering(monkeypatch, "a", "n")
    done = run("review")
    assert done.code == 5
    assert "refused: not now\n  fix: agentcoord tasks\n" in done.err
    assert "2 of 2: a" in done.out


def test_nothing_to_review_is_said(run: Run, morning: CannedDaemon) -> None:
    morning.answers[Method.TASKS] = {"tasks": [task_view("c", "failed")], "next_offset": None}
    done = run("review")
    assert (done.code, done.out) == (0, "")
    assert "nothing waits for a review" in done.err


DIFF = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a\n+b\n@@ -9 +9 @@\n-c\n+d\n"
FIRST, SECOND = (hunk.key for file in read_diff(DIFF) for hunk in file.hunks)


def subset(state: str) -> dict[str, Any]:
    check = {
        "name": "tests",
        "exit_code": int(state == "red"),
        "ok": state == "green",
        "ms": 900,
        "output": "E",
    }
    return {"id": "b", "hunks": [SECOND], "state": state, "files": ["a.py"], "why": "", "checks": [check]}


@pytest.mark.parametrize(("state", "anyway"), [("green", False), ("red", True)])
def test_hunks_are_proven_away_and_taken_out_after_a_yes(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch, state: str, anyway: bool
) -> None:
    answers = iter([subset("running"), subset(state)])
    morning.answers[Method.DIFF] = {"text": DIFF, "next_offset": None}
    morning.answers[Method.PROVE_WITHOUT] = lambda p: next(answers)
    morning.answers[Method.TAKE_OUT] = subset(state)
    answering(monkeypatch, "x 3", "x", "x 2", "y", "a", "q")
    done = run("review")
    assert "· 2/2 @@ -9 +9 @@" in done.out
    assert done.err.count("numbers of hunks must follow x, from 1 to 2") == 2
    assert f"{state.capitalize()} without 1 hunk, in a private copy" in done.err
    assert "1 hunk taken out of b: a.py" in done.err
    assert asked(morning, Method.PROVE_WITHOUT) == [{"id": "b", "hunks": [SECOND]}] * 2
    assert asked(morning, Method.TAKE_OUT) == [{"id": "b", "hunks": [SECOND], "anyway": anyway}]
    assert asked(morning, Method.ACCEPT) == [{"id": "b"}], "and the verdict on the task is still to come"


def test_without_a_yes_nothing_is_taken_out(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.answers[Method.DIFF] = {"text": DIFF, "next_offset": None}
    morning.answers[Method.PROVE_WITHOUT] = subset("green")
    answering(monkeypatch, "x 1 2", "n", "q")
    assert "nothing was taken out" in run("review").err
    assert not asked(morning, Method.TAKE_OUT)


def test_a_comment_loads_a_further_task(
    run: Run, morning: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning.answers[Method.LOAD] = {"run": "r", "added": ["b-2"], "unchanged": [], "changed": []}
    answering(monkeypatch, "c", "c shorter names", "q")
    done = run("review")
    assert "a comment must follow c" in done.err
    assert "b-2 is asked to follow your comment" in done.err
    assert "shorter names" in asked(morning, Method.LOAD)[0]["text"]
