"""The review: landed tasks by risk, verdicts, and a rejection that asks for the work again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from tui_fakes import FakeDaemon, app_for, refusing, screen_lines, settle, snapshot, task
from tui_night import Night, night

from agentcoord.domain.hunks import read_diff
from agentcoord.domain.ids import TaskId
from agentcoord.domain.plan import read_plan
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.errors import RpcError
from agentcoord.tui.follow_up import follow_up
from agentcoord.tui.review_text import Case, case_lines
from agentcoord.tui.screens.ask import AskScreen
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.review import ReviewScreen
from agentcoord.tui.styled import plain_text
from agentcoord.tui.widgets.lines_view import LinesView
from agentcoord.wire.messages import Method, Notification
from agentcoord.wire.task_views import TaskDetail

SKIPS = (
    "diff --git a/tests/test_x.py b/tests/test_x.py\n--- a/tests/test_x.py\n+++ b/tests/test_x.py\n"
    '@@ -1 +1 @@\n-    assert x == 1\n+    @pytest.mark.skip("later")\n'
)
CALM = "diff --git a/docs/a.md b/docs/a.md\n--- a/docs/a.md\n+++ b/docs/a.md\n@@ -1 +1 @@\n-old\n+new\n"
ROWS = [
    task("calm", "done", files=["docs/a.md"], lines_added=1, lines_removed=1),
    task("risky", "done", files=["tests/test_x.py"], lines_added=1, lines_removed=1, needs=["calm"]),
    task("judged", "done", review="accepted"),
    task("busy", "running"),
]
REJECTED: dict[str, Any] = {
    "restored": ["x"],
    "merged": [],
    "gone": [],
    "conflicts": [],
    "state": "queued",
    "spent_usd": 0.4,
    "cap_usd": 0.6,
}


def detail(task_id: str, **more: Any) -> TaskDetail:
    row = next((row for row in ROWS if row["id"] == task_id), task(task_id, "done"))
    check = {"name": "tests", "command": "make test", "exit_code": 0, "ok": True, "ms": 900, "output": "OK 9"}
    found: dict[str, Any] = {
        "task": row,
        "description": f"Improve {task_id}.",
        "check": "make test",
        "checks": [check],
        "summary": f"Improved {task_id}.",
        "decisions": ["Took the short way."],
        "questions": [],
        "events": [],
    }
    return cast("TaskDetail", found | more)


@asynccontextmanager
async def review(*, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Night]:
    async with night(snapshot(list(ROWS), []), size=size) as n:
        n.daemon.answers[Method.TASK] = lambda p: cast("dict[str, Any]", detail(p["id"]))
        n.daemon.answers[Method.DIFF] = lambda p: {
            "text": SKIPS if p["id"] == "risky" else CALM,
            "next_offset": None,
        }
        n.daemon.answers[Method.ACCEPT] = lambda p: {"id": p["id"], "review": "accepted"}
        n.daemon.answers[Method.UNDO] = lambda p: {
            "restored": ["x"],
            "merged": [],
            "gone": [],
            "conflicts": [],
        }
        n.daemon.answers[Method.REJECT] = lambda p: REJECTED | {"id": p["id"]}
        await n.press("v")
        assert isinstance(n.app.screen, ReviewScreen)
        await n.see("2 tasks to judge")
        yield n


async def test_while_it_reads_it_does_not_say_that_nothing_waits() -> None:
    answered = asyncio.Event()

    class SlowDaemon(FakeDaemon):
        async def call(self, method: Method, **params: Any) -> dict[str, Any]:
            if method is Method.TASK:
                await answered.wait()
                return cast("dict[str, Any]", detail(params["id"]))
            return await super().call(method, **params)

    daemon = SlowDaemon(snapshot(list(ROWS), []))
    app = app_for(daemon)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot, until=lambda: app.model.live)
        await pilot.press("v")
        await settle(pilot, until=lambda: "reading 1 of 2" in "\n".join(screen_lines(app)))
        assert "Nothing waits" not in "\n".join(screen_lines(app))
        answered.set()
        await settle(pilot, until=lambda: "2 tasks to judge" in "\n".join(screen_lines(app)))


async def test_where_nothing_waits_it_says_so_on_both_sides() -> None:
    async with night(snapshot([task("busy", "running")], []), begin_with_review=True) as n:
        await settle(n.pilot, until=lambda: isinstance(n.app.screen, ReviewScreen))
        await settle(n.pilot, until=lambda: "\n".join(screen_lines(n.app)).count("Nothing waits") == 2)
        assert "Reading" not in "\n".join(screen_lines(n.app))


async def test_the_heading_of_the_diff_counts_what_is_shown_beneath_it() -> None:
    row = task("calm", "done", files=["docs/a.md", "docs/b.md", "docs/c.md"])
    lines = [plain_text(line) for line in case_lines(Case(detail("calm"), CALM, False), row, width=90)]
    assert any("in 3 files" in line for line in lines)
    assert " Diff, 1 file" in lines


async def test_the_riskiest_comes_first_with_its_reasons_its_proof_and_its_diff() -> None:
    async with review() as n:
        shown = "\n".join(screen_lines(n.app))
        assert shown.index("risky") < shown.index("calm")
        for words in (
            "skips tests in tests/test_x.py",
            "takes more assertions out than it puts in",
            "Asked for",
            "Improve risky.",
            "Took the short way.",
            "✔ exit 0 tests",
            "OK 9",
            '+    @pytest.mark.skip("later")',
        ):
            assert words in shown


async def test_judged_and_unfinished_tasks_are_not_asked_for() -> None:
    async with review() as n:
        assert {call["id"] for call in n.daemon.answered(Method.TASK)} == {"calm", "risky"}


async def test_accepting_goes_on_to_the_next() -> None:
    async with review() as n:
        await n.press("y")
        await n.told("risky is accepted.")
        await n.see("Improve calm.")
        assert n.daemon.answered(Method.ACCEPT) == [{"id": "risky"}]


async def test_a_verdict_shows_in_the_list_and_the_last_one_says_so() -> None:
    async with review() as n:
        judged = [row | {"review": "accepted"} for row in ROWS[:1]]
        n.daemon.tell(Notification.TASKS, {"tasks": judged})
        await n.see("1 task to judge")
        await n.press("y")
        await n.told("Everything that landed is judged.")


async def test_n_and_brackets_walk_and_braces_jump_to_files() -> None:
    async with review(size=(120, 16)) as n:
        await n.press("n")
        await n.see("Improve calm.")
        await n.press("left_square_bracket")
        await n.see("Improve risky.")
        await n.press("right_curly_bracket")
        await n.see("1/1 @@ -1 +1 @@")
        view = n.app.screen.query_one("#case", LinesView)
        at_file = view.scroll_y
        await n.press("end", "left_curly_bracket")
        assert view.scroll_y == at_file > 0


async def test_undo_asks_first() -> None:
    async with review() as n:
        await n.press("u")
        assert isinstance(n.app.screen, ConfirmScreen)
        await n.press("y")
        await n.told("risky is undone in 1 file.")


async def test_a_rejection_names_what_landed_on_top_and_sends_the_reason() -> None:
    async with review() as n:
        await n.press("n", "r")
        assert isinstance(n.app.screen, AskScreen)
        await n.see("stays as it is: risky.")
        await n.press(*"too", "space", *"short", "enter")
        await n.told("calm is taken back in 1 file and is queued again with your reason; $0.40 of its $0.60")
        assert n.daemon.answered(Method.REJECT) == [
            {"id": "calm", "reason": "too short", "despite": ["risky"]}
        ]


async def test_a_rejection_whose_files_changed_since_is_said_and_goes_nowhere() -> None:
    async with review() as n:
        n.daemon.answers[Method.REJECT] = lambda p: REJECTED | {"id": p["id"], "conflicts": ["x.py"]}
        await n.press("r", *"no", "enter")
        await n.told("risky cannot be rejected: 1 file changed since: x.py.")
        await n.see("Improve risky.")


async def test_a_rejection_from_the_table_and_from_the_command_line_is_the_same() -> None:
    async with night(snapshot(list(ROWS), [])) as n:
        n.daemon.answers[Method.REJECT] = lambda p: REJECTED | {"id": p["id"]}
        n.table("tasks").select("calm")
        await n.press("R")
        await n.see("Why do you reject calm?")
        await n.press("escape")
        await n.press("colon", *"reject", "space", *"risky", "space", *"no", "enter")
        await n.see("Why do you reject risky?")
        await n.press(*"pe", "enter")
        await n.told("risky is taken back in 1 file and is queued again")
        assert n.daemon.answered(Method.REJECT) == [{"id": "risky", "reason": "nope", "despite": []}]


async def test_only_what_landed_can_be_rejected() -> None:
    async with night(snapshot(list(ROWS), [])) as n:
        await n.press("colon", *"reject", "space", *"busy", "enter")
        await n.told("busy has not landed: it is running.")
        assert not n.daemon.answered(Method.REJECT)


async def test_what_is_undone_can_be_rejected_and_nothing_else_be_said_of_it() -> None:
    rows = [task("gone", "done", review="undone"), task("upper", "done", needs=["gone"])]
    async with night(snapshot(rows, [])) as n:
        n.daemon.answers[Method.REJECT] = lambda _: {
            "id": "gone",
            "restored": [],
            "merged": [],
            "gone": [],
            "conflicts": [],
            "patch": "",
            "state": "queued",
            "spent_usd": 0.1,
            "cap_usd": None,
        }
        await n.press("colon", *"undo", "space", *"gone", "enter")
        await n.told("gone is undone already.")
        await n.press("colon", *"comment", "space", *"gone", "space", *"no", "enter")
        await n.told("gone is undone already.")
        await n.press("colon", *"reject", "space", *"gone", "space", *"wrong", "enter")
        await n.see("Its change is out of the tree already")
        await n.see("upper.")
        await n.press("enter")
        await n.told("gone is out of the tree and is queued again with your reason.")
        (sent,) = n.daemon.answered(Method.REJECT)
        assert sent == {"id": "gone", "reason": "wrong", "despite": ["upper"]}


async def test_an_empty_reason_rejects_nothing() -> None:
    async with review() as n:
        await n.press("r", "enter")
        assert not n.daemon.answered(Method.REJECT)


TWO = (
    "diff --git a/docs/a.md b/docs/a.md\n--- a/docs/a.md\n+++ b/docs/a.md\n"
    "@@ -1 +1 @@\n-the old words\n+the new words\n@@ -9 +9,2 @@\n nine\n+ten\n"
)
FIRST, SECOND = (hunk.key for file in read_diff(TWO) for hunk in file.hunks)


def subset(state: str, **more: Any) -> dict[str, Any]:
    check = {"name": "tests", "exit_code": int(state == "red"), "ok": state == "green", "ms": 900}
    found = {"id": "calm", "hunks": [SECOND], "state": state, "files": ["docs/a.md"], "why": ""}
    return {**found, "checks": [{**check, "output": "1 failed\nE  not ten"}], **more}


@asynccontextmanager
async def two_hunks(*, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Night]:
    """A review whose riskiest task has two hunks."""
    async with review(size=size) as n:
        n.daemon.answers[Method.DIFF] = lambda p: {"text": TWO, "next_offset": None}
        await n.press("escape", "v")
        await n.see("2 tasks to judge")
        yield n


async def test_capital_j_and_k_walk_through_the_hunks() -> None:
    async with two_hunks() as n:
        await n.press("J")
        await n.see("▶ · 1/2 @@ -1 +1 @@")
        await n.press("J", "J")
        await n.see("▶ · 2/2 @@ -9 +9,2 @@")
        await n.press("K")
        await n.see("▶ · 1/2 @@ -1 +1 @@")


@pytest.mark.parametrize("plus", ["plus", "equals_sign"])
async def test_plus_accepts_a_hunk_and_minus_marks_it_to_be_taken_out(plus: str) -> None:
    """On many keyboards it is the same key as the equals sign."""
    async with two_hunks() as n:
        await n.press(plus)
        await n.see("✔ 1/2")
        await n.see("▶ · 2/2")
        await n.press("minus")
        await n.see("✗ 2/2 @@ -9 +9,2 @@  take out")
        await n.press("minus")
        await n.see("· 2/2")
        await n.press("plus")
        await n.told("Every hunk is accepted: y accepts the task.")
        assert not n.daemon.answered(Method.PROVE_WITHOUT)


async def test_a_subset_is_tried_first_and_taken_out_only_after_yes() -> None:
    async with two_hunks() as n:
        answers = iter([subset("running"), subset("green")])
        n.daemon.answers[Method.PROVE_WITHOUT] = lambda p: next(answers)
        n.daemon.answers[Method.TAKE_OUT] = lambda p: subset("green")
        await n.press("t")
        await n.told("Reject hunks with - first.")
        await n.press("J", "J", "minus", "t")
        await settle(n.pilot, until=lambda: len(n.daemon.answered(Method.PROVE_WITHOUT)) == 1)
        await n.press("t")
        await n.told("The checks run for calm already.")
        n.clock.advance(1)
        await n.told("calm without 1 hunk is green: t decides.")
        assert isinstance(n.app.screen, ReviewScreen), "no question comes up by itself"
        await n.see("t decide")
        await n.press("t")
        await n.see("Take 1 hunk out of calm?")
        await n.see("Green without 1 hunk, in a private copy.")
        await n.see("Changes docs/a.md.")
        await n.see("✔ tests: exit 0, 0.9 s")
        await n.press("n")
        assert not n.daemon.answered(Method.TAKE_OUT)
        await n.press("t")
        await n.see("Take 1 hunk out of calm?")
        n.daemon.answers[Method.DIFF] = lambda p: {"text": CALM, "next_offset": None}
        await n.press("y")
        await n.told("1 hunk taken out of calm: docs/a.md.")
        await n.see("1/1 @@ -1 +1 @@")
        assert n.daemon.answered(Method.TAKE_OUT) == [{"id": "calm", "hunks": [SECOND], "anyway": False}]


async def test_other_marks_or_a_refusal_need_another_try() -> None:
    async with two_hunks() as n:
        n.daemon.answers[Method.PROVE_WITHOUT] = lambda p: subset("green", hunks=p["hunks"])
        n.daemon.answers[Method.TAKE_OUT] = refusing(RpcError("proven on another tree", code=3))
        await n.press("J", "minus", "t")
        await n.told("calm without 1 hunk is green: t decides.")
        await n.press("minus", "t")
        await n.told("calm without 2 hunks is green: t decides.")
        assert [len(each["hunks"]) for each in n.daemon.answered(Method.PROVE_WITHOUT)] == [1, 2]
        await n.press("t", "y")
        await n.told("proven on another tree")
        await n.press("t")
        await settle(n.pilot, until=lambda: len(n.daemon.answered(Method.PROVE_WITHOUT)) == 3)


async def test_a_red_subset_shows_why_and_is_the_persons_to_decide() -> None:
    async with two_hunks() as n:
        n.daemon.answers[Method.PROVE_WITHOUT] = lambda p: subset("red")
        n.daemon.answers[Method.TAKE_OUT] = lambda p: subset("red")
        await n.press("J", "J", "minus", "t")
        await n.told("calm without 1 hunk is red: t decides.")
        await n.press("t")
        await n.see("Red without 1 hunk")
        await n.see("E not ten")
        await n.press("y")
        await n.told("1 hunk taken out of calm")
        assert n.daemon.answered(Method.TAKE_OUT)[0]["anyway"] is True
        n.daemon.answers[Method.PROVE_WITHOUT] = lambda p: subset("broken", why="no sandbox")
        await n.press("J", "minus", "t")
        await n.told("It could not be tried without 1 hunk: no sandbox")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_s_shows_both_sides_in_every_size(size: tuple[int, int]) -> None:
    async with two_hunks(size=size) as n:
        await n.press("J", "s")
        both = [line for line in screen_lines(n.app) if "the old words" in line and "the new words" in line]
        assert len(both) == 1
        await n.press("s")
        both = [line for line in screen_lines(n.app) if "the old words" in line and "the new words" in line]
        assert not both


async def test_s_works_in_the_diff_alone_too() -> None:
    async with two_hunks() as n:
        await n.press("d")
        await n.see("Diff of calm")
        await n.see("1 file, +2 -1")
        await n.press("s")
        assert any("the old words" in line and "the new words" in line for line in screen_lines(n.app))


async def test_a_comment_asks_for_more_on_top_of_what_landed() -> None:
    async with review() as n:
        n.daemon.answers[Method.LOAD] = lambda p: {"run": "r", "added": ["x"], "unchanged": [], "changed": []}
        await n.press("c")
        await n.see("What should change about risky?")
        await n.press(*"shorter", "enter")
        await n.told("risky-2 is asked to follow your comment.")
        plan = read_plan(
            n.daemon.answered(Method.LOAD)[0]["text"],
            format="toml",
            source="x",
            known={TaskId("risky")},
            workers=MISSION_WORKERS,
        )
        assert (plan.tasks[0].id, plan.tasks[0].needs) == ("risky-2", ("risky",))
        assert "asks for this on top:\nshorter" in plan.tasks[0].description
        assert not n.daemon.answered(Method.UNDO)


def test_a_comment_on_a_follow_up_counts_on_and_keeps_any_text() -> None:
    row = task("calm-2", "done", tags=["backend"], writes=["docs/**"], budget_usd=0.5, title='Say "hi" \\ ☃')
    again = follow_up(detail("calm-2", task=row), 'It\'s "wrong":\n\tsee \x7f above', {"calm", "calm-2"})
    assert again.id == "calm-3"
    known = {TaskId("calm"), TaskId("calm-2")}
    spec = read_plan(again.plan, format="toml", source="x", known=known, workers=MISSION_WORKERS).tasks[0]
    assert 'It\'s "wrong":\n\tsee \x7f above' in spec.description
    assert (spec.budget_usd_micros, spec.writes, spec.tags) == (500_000, ("docs/**",), ("backend",))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_size_draws(size: tuple[int, int]) -> None:
    async with review(size=size) as n:
        await n.see("risky")


async def test_nothing_to_review_is_said_on_the_key() -> None:
    async with night(snapshot([task("a", "running")], [])) as n:
        await n.press("v")
        await n.told("Nothing waits for a review.")


async def test_the_dashboard_can_begin_with_the_review() -> None:
    async with night(snapshot(list(ROWS), []), begin_with_review=True) as n:
        await settle(n.pilot, until=lambda: isinstance(n.app.screen, ReviewScreen))


def test_a_task_without_checks_is_shown_as_unproven() -> None:
    lines = case_lines(Case(detail("calm", checks=[]), CALM, cut=True), None, width=80)
    shown = "\n".join(plain_text(line) for line in lines)
    assert "none: nothing but the diff speaks for it" in shown
    assert "landed without any check" in shown
    assert "agentcoord diff calm" in shown


def test_the_daemons_flags_stand_in_place_of_guesses_from_the_diff() -> None:
    flags = [{"kind": "skip", "path": "tests/x.py", "line": 4, "words": "a test is skipped", "holds": True}]
    lines = case_lines(Case(detail("risky", flags=flags), SKIPS, cut=False), None, width=80)
    shown = "\n".join(plain_text(line) for line in lines)
    assert "▲ a test is skipped (tests/x.py:4)" in shown
    assert "skips tests in" not in shown


def test_what_runs_on_the_users_machine_is_told_before_what_stands_out() -> None:
    row = task("risky", "done", files=["Makefile"], runs_here=["Makefile"])
    lines = case_lines(Case(detail("risky", task=row), SKIPS, cut=False), None, width=80)
    words = [plain_text(line) for line in lines]
    assert words.index("   ▲ Makefile") < words.index(" Look at")
    calm = case_lines(Case(detail("calm"), CALM, cut=False), None, width=80)
    assert not any("Runs on your machine" in plain_text(line) for line in calm)
