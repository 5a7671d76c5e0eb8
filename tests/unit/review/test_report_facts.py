"""The report's facts: a night put together from the daemon's answers."""

from __future__ import annotations

from typing import Any

import pytest
from report_night import DIFF, END_MS, MINUTE_MS, RED_OUTPUT, START_MS, WORKERS, answers, row

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import run_began_ms
from agentcoord.review.report.causes import LINES_SHOWN, class_of, first_cause
from agentcoord.review.report.document import document_of
from agentcoord.review.report.facts import Doing, FailureClass, Outcome, StretchEnd
from agentcoord.review.report.headline import headline, price, proof
from agentcoord.review.report.lanes import NIGHT_GAP_MS, timeline_of
from agentcoord.review.report.night import Answers, night_of
from agentcoord.review.report.reading_order import Change, by_risk, flags_of


def change(task: str = "a", **more: Any) -> Change:
    facts: dict[str, Any] = {
        "files": ("src/a.py", "tests/test_a.py"),
        "writes": (),
        "lines_added": 10,
        "lines_removed": 2,
        "checked": True,
        "attempt": 1,
    }
    return Change(task, **(facts | more))


def words_of(found: Change) -> str:
    return "; ".join(flag.words for flag in flags_of(found))


def test_the_headline_counts_every_outcome() -> None:
    night = night_of(answers(), now_ms=END_MS)
    assert headline(night) == "7 of 10 tasks landed, 1 failed, 1 parked, 1 still open."
    assert proof(night).startswith(
        "14 files changed, +1,551 -156 lines, left uncommitted; each task's checks"
    )
    assert price(night) == "$4.62 of $6.00 in 5 h 48 min, $0.66 a landed task, $0.60 on failures."


def test_commands_that_ran_without_a_sandbox_are_told_at_the_top_also_after_another_start() -> None:
    unsafe = {"kind": "daemon.started", "data": {"sandbox": "none (unsafe)"}}
    status = answers().status
    for more in ({"events": [unsafe]}, {"status": {**status, "sandbox": "none (unsafe)"}}):
        assert "ran unconfined (--unsafe-no-sandbox)" in proof(night_of(answers(**more), now_ms=END_MS))
    assert "unconfined" not in proof(night_of(answers(), now_ms=END_MS))


def test_a_task_that_landed_without_a_check_is_not_said_to_be_proven() -> None:
    tasks = [row("a", "done", "A", files=["a.py"])]
    night = night_of(answers(tasks=tasks, details={}), now_ms=END_MS)
    assert "1 task landed without any check" in proof(night)
    assert night.reading_order[0].flags[0] == "landed without any check"


def test_an_undone_task_neither_stands_nor_is_to_be_reviewed() -> None:
    tasks = [row("a", "done", "A", files=["a.py"], review="undone", lines_added=9)]
    night = night_of(answers(tasks=tasks, details={}), now_ms=END_MS)
    assert night.tasks[0].outcome is Outcome.UNDONE
    assert night.landed == ()
    assert night.reading_order == ()
    assert proof(night) == "Nothing of the night stands in the tree."


def test_a_night_without_tasks_is_told_all_the_same() -> None:
    night = night_of(Answers(status={}, tasks=[], workers=[], costs={}, stats={}), now_ms=END_MS)
    assert headline(night) == "No tasks yet."
    assert night.timeline is None
    assert document_of(night)["usd_per_landed_task"] is None


def test_questions_and_parked_tasks_need_a_person_and_reviews_do_not() -> None:
    night = night_of(answers(), now_ms=END_MS)
    assert [(need.task, need.kind) for need in night.needs] == [
        ("refactoring", "question"),
        ("cli-commands", "parked"),
    ]


def test_a_question_of_a_task_that_has_ended_needs_nobody() -> None:
    given = answers()
    asked = {task: {"questions": [{"question": "Which?", "default": "this"}]} for task in given.details}
    night = night_of(answers(details=asked), now_ms=END_MS)
    ended = {row["id"] for row in given.tasks if row["state"] in ("done", "failed", "cancelled")}
    assert {need.task for need in night.needs if need.kind == "question"} == asked.keys() - ended


def test_the_price_of_a_night_counts_no_task_of_an_earlier_one() -> None:
    status = {**answers().status, "run": "r20261122-211530"}
    began_ms = run_began_ms("r20261122-211530")
    tasks = [
        {**row("old", "failed", "Old", cost_usd=3.0), "ended_at": began_ms - 1},
        {**row("older", "done", "Older", cost_usd=3.0), "ended_at": began_ms - 1},
        {**row("new", "done", "New", cost_usd=0.5), "ended_at": began_ms + 1},
    ]
    costs = {"total_usd": 0.5, "cap_usd": 6.0}
    night = night_of(
        answers(status=status, tasks=tasks, details={}, costs=costs), now_ms=began_ms + 20_000_000
    )
    assert price(night) == "$0.50 of $6.00 in 5 h 48 min, $0.50 a landed task."
    set_back = night_of(
        answers(status=status, tasks=tasks[:2], details={}, costs=costs), now_ms=began_ms - 1_000
    )
    assert (set_back.usd_per_landed, set_back.failed_usd) == (0.5, 0.5), "no more than was spent"


def test_a_failure_shows_its_class_its_first_cause_and_the_lines_around_it() -> None:
    failure = night_of(answers(), now_ms=END_MS).failures[0]
    assert failure.kind is FailureClass.CHECKS
    assert failure.check == "tests"
    assert failure.cause == "AssertionError: 2 != 1"
    assert len(failure.lines) == LINES_SHOWN
    assert "AssertionError: 2 != 1" in failure.lines


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("the same checks failed twice alike: tests", FailureClass.CHECKS),
        ("not proven after 3 tries: tests", FailureClass.CHECKS),
        ("error-handling, which it needs, failed", FailureClass.NEEDED),
        ("the task cap of $0.60 is reached", FailureClass.BUDGET),
        ("all turns of the attempt are used", FailureClass.STUCK),
        ("the model's server refused the request: 400", FailureClass.MODEL),
        ("the sandbox refused: bwrap is missing", FailureClass.MACHINE),
        ("something that nobody foresaw", FailureClass.OTHER),
    ],
)
def test_causes_are_sorted_by_the_daemons_sentence(why: str, kind: FailureClass) -> None:
    assert class_of(why) is kind


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (RED_OUTPUT, "AssertionError: 2 != 1"),
        ("E       ValueError: no such rate\n2 failed", "ValueError: no such rate"),
        ("compiling\nerror: expected `;`\nmake: *** [all] 2", "error: expected `;`"),
        ("nothing telling\nlast line", "last line"),
        ("", ""),
    ],
)
def test_the_first_cause_is_the_first_line_that_names_an_error(output: str, cause: str) -> None:
    assert first_cause(output) == cause


def test_a_lane_knows_work_checks_waits_and_idle_time() -> None:
    timeline = night_of(answers(), now_ms=END_MS).timeline
    assert timeline is not None
    assert [lane.worker for lane in timeline.lanes] == list(WORKERS)
    architect = timeline.lanes[5]
    assert [(s.task, s.end) for s in architect.stretches] == [
        ("documentation", StretchEnd.LANDED),
        ("refactoring", StretchEnd.OPEN),
    ]
    assert architect.waiting_ms == 11 * MINUTE_MS
    assert architect.idle_ms == 18 * MINUTE_MS
    assert [part.doing for part in architect.stretches[0].parts] == [Doing.CHECKING]
    assert timeline.from_ms == START_MS
    assert timeline.to_ms == END_MS
    assert len(timeline.rate_limits) == 3


def test_time_in_which_a_worker_has_two_tasks_is_counted_once() -> None:
    events = [
        Event(EventKind.TASK_CLAIMED, 0, "a", "W", {}).to_dict(),
        Event(EventKind.TASK_CLAIMED, 4_000, "b", "W", {}).to_dict(),
        Event(EventKind.TASK_DONE, 6_000, "a", "W", {}).to_dict(),
        Event(EventKind.TASK_DONE, 9_000, "b", "W", {}).to_dict(),
        Event(EventKind.TASK_CLAIMED, 10_000, "c", "W", {}).to_dict(),
        Event(EventKind.TASK_DONE, 12_000, "c", "W", {}).to_dict(),
    ]
    timeline = timeline_of(events, (), ["W"], now_ms=12_000)
    assert timeline is not None
    (lane,) = timeline.lanes
    assert (lane.busy_ms, lane.idle_ms) == (11_000, 1_000)


def test_files_that_run_on_the_users_machine_are_told_by_file_while_they_are_in_the_tree() -> None:
    tasks = [
        row("b", "done", "B", files=["Makefile", "b.py"], runs_here=["Makefile"]),
        row("a", "done", "A", files=["Makefile", "conftest.py"], runs_here=["Makefile", "conftest.py"]),
        row("gone", "done", "G", files=["setup.py"], runs_here=["setup.py"], review="undone"),
        row("old", "done", "A daemon that does not tell", files=["tox.ini"]),
    ]
    night = night_of(answers(tasks=tasks, details={}), now_ms=END_MS)
    assert night.runs_here == (("Makefile", ("b", "a")), ("conftest.py", ("a",)))


def test_a_worker_that_did_nothing_has_a_lane_of_idle_time() -> None:
    timeline = night_of(answers(workers=[{"name": "Idler-1"}]), now_ms=END_MS).timeline
    assert timeline is not None
    assert timeline.lanes[0].worker == "Idler-1"
    assert timeline.lanes[0].idle_ms == END_MS - START_MS


def test_tasks_whose_events_are_gone_are_drawn_from_their_own_times() -> None:
    timeline = night_of(answers(events=()), now_ms=END_MS).timeline
    assert timeline is not None
    drawn = {stretch.task for lane in timeline.lanes for stretch in lane.stretches}
    assert drawn == {task["id"] for task in answers().tasks}


def test_only_the_newest_night_is_drawn() -> None:
    def claim(at_ms: int, task: str) -> list[dict[str, object]]:
        return [
            Event(EventKind.TASK_CLAIMED, at_ms, task, "W", {}).to_dict(),
            Event(EventKind.TASK_DONE, at_ms + 1000, task, "W", {}).to_dict(),
        ]

    events = claim(0, "old") + claim(NIGHT_GAP_MS + 2000, "new")
    timeline = timeline_of(events, (), ["W"], now_ms=NIGHT_GAP_MS * 2)
    assert timeline is not None
    assert [stretch.task for stretch in timeline.lanes[0].stretches] == ["new"]
    assert timeline.from_ms == NIGHT_GAP_MS + 2000


def test_skipped_and_weakened_tests_come_first_in_the_review() -> None:
    risky = change("risky", files=("tests/test_rates.py", "src/shop/rates.py"), diff=DIFF)
    assert [each.task for each in by_risk([change("calm"), risky])] == ["risky", "calm"]
    words = words_of(risky)
    assert words.startswith("skips tests in tests/test_rates.py; takes more assertions out")
    assert "silences a linter or type checker in src/shop/rates.py" in words


def test_a_calm_change_raises_no_flag() -> None:
    assert flags_of(change()) == ()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"writes": ("tests/**",)}, "writes outside its declared files: src/a.py"),
        ({"files": (".github/workflows/ci.yml",)}, "changes how things are built or checked"),
        ({"files": ("uv.lock",)}, "changes dependencies or packaging: uv.lock"),
        ({"lines_added": 301}, "large: +301 -2"),
        ({"files": ("src/a.py",)}, "changes code and no test"),
        ({"merged": ("src/a.py",)}, "was merged with other changes in src/a.py"),
        ({"attempt": 2}, "needed 2 attempts"),
        ({"files": tuple(f"tests/t{i}.py" for i in range(11))}, "wide: 11 files"),
    ],
)
def test_each_risk_is_said_in_words(more: dict[str, Any], words: str) -> None:
    assert words in words_of(change(**more))


def test_moved_assertions_do_not_count_as_weakened() -> None:
    diff = "--- a/tests/test_a.py\n+++ b/tests/test_a.py\n-    assert x\n+    assert x == 1\n"
    assert "assertions" not in words_of(change(diff=diff))


def test_a_held_task_is_let_land_and_its_flags_are_shown() -> None:
    tasks = [row("a", "parked", "A", why="held for its flags")]
    flags = [{"kind": "skip", "path": "t.py", "line": 0, "words": "a test is skipped", "holds": True}]
    night = night_of(answers(tasks=tasks, details={"a": {"flags": flags}}), now_ms=END_MS)
    assert night.needs[0].command == "agentcoord land a"
    assert [flag.words for flag in night.tasks[0].flags or ()] == ["a test is skipped (t.py)"]


def test_a_check_that_was_red_before_is_not_called_green() -> None:
    tests = {"ran": 9, "ran_before": 7, "fixed": ["a"], "old_failures": ["b"], "gone": []}
    check = {"name": "t", "exit_code": 1, "ok": False, "excused": True, "tests": tests}
    tasks = [row("a", "done", "A", files=["a.py"])]
    night = night_of(answers(tasks=tasks, details={"a": {"checks": [check]}}), now_ms=END_MS)
    assert "was red before it began" in proof(night)
    assert night.tasks[0].checks[0].tests == "9 tests, 2 more than before, 1 fixed, 1 red before too"
