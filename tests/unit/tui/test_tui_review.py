"""The review: landed tasks by risk, verdicts, and a rejection that asks for the work again."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from tui_fakes import refusing, screen_lines, settle, snapshot, task
from tui_night import Night, night

from agentcoord.domain.ids import TaskId
from agentcoord.domain.plan import read_plan
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.errors import RpcError
from agentcoord.tui.rejection import second_try
from agentcoord.tui.review_text import Case, case_lines
from agentcoord.tui.screens.ask import AskScreen
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.review import ReviewScreen
from agentcoord.tui.styled import plain_text
from agentcoord.wire.messages import Method, Notification, TaskDetail

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
        n.daemon.answers[Method.UNDO] = lambda p: {"restored": ["x"], "merged": [], "conflicts": []}
        n.daemon.answers[Method.LOAD] = lambda p: {"run": "r", "added": ["x"], "unchanged": [], "changed": []}
        await n.press("v")
        assert isinstance(n.app.screen, ReviewScreen)
        await n.see("2 tasks to judge")
        yield n


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
        await n.see("diff --git a/tests/test_x.py")


async def test_undo_asks_first() -> None:
    async with review() as n:
        await n.press("u")
        assert isinstance(n.app.screen, ConfirmScreen)
        await n.press("y")
        await n.told("risky is undone in 1 file.")


async def test_a_rejection_names_dependents_undoes_and_asks_for_the_work_again() -> None:
    async with review() as n:
        await n.press("n", "r")
        assert isinstance(n.app.screen, AskScreen)
        await n.see("These need it and stay as they are: risky.")
        await n.press(*"too", "space", *"short", "enter")
        await n.told("calm is undone; calm-2 asks for it again with your reason.")
        assert n.daemon.answered(Method.UNDO) == [{"id": "calm", "yes": True}]
        plan = tomllib.loads(n.daemon.answered(Method.LOAD)[0]["text"])
        assert plan["task"][0]["id"] == "calm-2"
        assert "too short" in plan["task"][0]["description"]


async def test_a_rejection_whose_undo_conflicts_asks_for_nothing() -> None:
    async with review() as n:
        n.daemon.answers[Method.UNDO] = lambda p: {"restored": [], "merged": [], "conflicts": ["x.py"]}
        await n.press("r", *"no", "enter")
        await n.told("risky cannot be undone: x.py changed since.")
        assert not n.daemon.answered(Method.LOAD)


async def test_a_second_try_that_cannot_be_loaded_is_said_with_its_problem() -> None:
    async with review() as n:
        problem = RpcError("the plan has a problem", code=1, problems=["no worker has the tag docs"])
        n.daemon.answers[Method.LOAD] = refusing(problem)
        await n.press("r", *"no", "enter")
        await n.told("no worker has the tag docs")
        await n.told("risky is undone, but nobody is asked for it again")


async def test_an_empty_reason_rejects_nothing() -> None:
    async with review() as n:
        await n.press("r", "enter")
        assert not n.daemon.answered(Method.UNDO)


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


def test_the_second_try_is_a_plan_that_loads() -> None:
    row = task("calm", "done", tags=["backend"], writes=["docs/**"], budget_usd=0.5, title='Say "hi" \\ ☃')
    again = second_try(detail("calm", task=row), 'It\'s "wrong":\n\tsee \x7f above', {"calm", "calm-2"})
    assert again.id == "calm-3"
    plan = read_plan(again.plan, format="toml", source="x", known={TaskId("calm")}, workers=MISSION_WORKERS)
    spec = plan.tasks[0]
    assert spec.title == 'Say "hi" \\ ☃'
    assert 'It\'s "wrong":\n\tsee \x7f above' in spec.description
    assert spec.budget_usd_micros == 500_000
    assert spec.writes == ("docs/**",)


def test_the_second_try_of_a_second_try_counts_on() -> None:
    assert second_try(detail("calm-2"), "no", {"calm", "calm-2"}).id == "calm-3"


def test_a_task_without_checks_is_shown_as_unproven() -> None:
    lines, _ = case_lines(Case(detail("calm", checks=[]), CALM, cut=True), None, width=80)
    shown = "\n".join(plain_text(line) for line in lines)
    assert "none: nothing but the diff speaks for it" in shown
    assert "landed without any check" in shown
    assert "agentcoord diff calm" in shown


def test_the_daemons_flags_stand_in_place_of_guesses_from_the_diff() -> None:
    flags = [{"kind": "skip", "path": "tests/x.py", "line": 4, "words": "a test is skipped", "holds": True}]
    lines, _ = case_lines(Case(detail("risky", flags=flags), SKIPS, cut=False), None, width=80)
    shown = "\n".join(plain_text(line) for line in lines)
    assert "▲ a test is skipped (tests/x.py:4)" in shown
    assert "skips tests in" not in shown


def test_what_runs_on_the_users_machine_is_told_before_what_stands_out() -> None:
    row = task("risky", "done", files=["Makefile"], runs_here=["Makefile"])
    lines, _ = case_lines(Case(detail("risky", task=row), SKIPS, cut=False), None, width=80)
    words = [plain_text(line) for line in lines]
    assert words.index("   ▲ Makefile") < words.index(" Look at")
    calm, _ = case_lines(Case(detail("calm"), CALM, cut=False), None, width=80)
    assert not any("Runs on your machine" in plain_text(line) for line in calm)
