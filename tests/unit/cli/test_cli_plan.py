"""`plan check` without a daemon: problems with their lines, and what may surprise."""

from __future__ import annotations

import json
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import task_view

from agentcoord.cli.plan_notes import plan_notes
from agentcoord.config.sections import BudgetSection, ChecksSection, ProjectSection, Settings
from agentcoord.domain.plan import parse_plan
from agentcoord.wire.messages import ExitCode

project, run, daemon = canned_daemon.project, canned_daemon.run, canned_daemon.daemon

LIST = """
- [ ] A (writes: src/a.py, README.md, notes/*)
- [ ] B (writes: src/a.py) (check: true)
- [ ] C (writes: src/c.py) (needs: A)
- [ ] D (writes: src/c.py) (needs: C)
"""


def notes_of(text: str, settings: Settings) -> list[str]:
    return plan_notes(parse_plan(text, format="markdown", source="t.md"), settings)


def test_what_may_surprise_is_told() -> None:
    settings = Settings(
        project=ProjectSection(scope=("src/**",)), budget=BudgetSection(run_usd=2.0, task_usd=0.6)
    )
    assert notes_of(LIST, settings) == [
        "no check proves a, c, d: name one in the task, or under [checks]",
        "a expects to write README.md, outside the scope: that would not land",
        "the tasks' caps come to $2.40; the run ends at its own, $2.00",
        "a, b write src/a.py and wait for each other there; `needs` would order them",
    ]


@pytest.mark.parametrize("run_usd", [0.0, 9.0])
def test_a_plan_without_surprises_has_no_notes(run_usd: float) -> None:
    settings = Settings(
        project=ProjectSection(scope=("**",)),
        checks=ChecksSection(commands={"tests": "true"}),
        budget=BudgetSection(run_usd=run_usd),
    )
    assert notes_of(LIST.replace("B (writes: src/a.py)", "B"), settings) == []


def test_a_plan_is_judged_without_a_daemon(run: Run, project: Project) -> None:
    plan = project.root / "todo.md"
    plan.write_text(LIST)
    outcome = run("plan", "check", str(plan))
    assert (outcome.code, outcome.err) == (ExitCode.OK, "")
    assert outcome.out.splitlines()[0] == "todo.md: 4 tasks, nothing wrong"
    assert json.loads(run("plan", "check", str(plan), "--json").out)["tasks"] == ["a", "b", "c", "d"]
    plan.write_text("- [ ] A (needs: B)\n- [ ] A2 (priority: 7)\n")
    wrong = run("plan", "check", str(plan))
    assert wrong.code == ExitCode.USAGE
    assert "todo.md:1: task 'a' needs 'B', which no task is called" in wrong.err
    assert "todo.md:2: priority is a number" in wrong.err


def test_a_draft_that_could_not_be_written_is_not_asked_for(
    run: Run, daemon: CannedDaemon, tmp_path: Path
) -> None:
    outcome = run("plan", "draft", "a goal", "--out", str(tmp_path / "nowhere" / "plan.toml"))
    assert (outcome.code, daemon.asked) == (ExitCode.ERROR, [])
    assert f"{tmp_path / 'nowhere'} is not a folder that is there" in outcome.err


def test_a_draft_needs_a_daemon_and_writes_nothing_without_one(run: Run, project: Project) -> None:
    out = project.root / "x.toml"
    outcome = run("plan", "draft", "a goal", "--out", str(out))
    assert outcome.err.startswith("error: no daemon runs")
    assert outcome.err.endswith("fix: agentcoordd start\n")
    assert outcome.code == ExitCode.NOT_RUNNING
    assert "agentcoordd start" in outcome.err
    assert not out.exists()


def test_a_task_is_added_once_and_never_under_a_name_that_is_taken(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers["tasks"] = {"tasks": [task_view("fix-it", "done")], "next_offset": None}
    daemon.answers["load"] = {"run": "r", "added": ["fix-it-2"], "unchanged": [], "changed": []}
    words = [
        "--tag",
        "docs",
        "--tag",
        "testing",
        "--need",
        "fix-it",
        "--budget-usd",
        "0.4",
        "--check",
        'echo "x"',
    ]
    outcome = run("add", "Fix it", "--id", "fix-it-2", *words)
    assert (outcome.code, outcome.out) == (0, "added fix-it-2\n")
    method, params = daemon.asked[-1]
    (task,) = parse_plan(params["text"], format=params["format"], source="t").tasks
    assert method == "load"
    assert (task.tags, task.needs, task.check) == (("docs", "testing"), ("fix-it",), 'echo "x"')
    taken = run("add", "Fix it!")
    assert taken.code == ExitCode.REFUSED
    assert "agentcoord task fix-it" in taken.err
    assert run("add", "???").code == ExitCode.USAGE
    assert [method for method, _ in daemon.asked].count("load") == 1
