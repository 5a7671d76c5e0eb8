"""`run`, `load` and `wait`: what is judged before anything starts, and how a night's end is told."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import ANSWERS, STATS, status_view, task_view

from agentcoord.cli.boundary import INTERRUPTED, CommandError
from agentcoord.cli.follow import has_halted
from agentcoord.cli.starting import args_to_resume, last_args, require_model, start_args
from agentcoord.cli.summary import Ending, next_steps, summary_page
from agentcoord.config.sections import ModelsSection
from agentcoord.tui.styled import plain_text
from agentcoord.wire.answers import StatsView
from agentcoord.wire.messages import NO_MODEL, ExitCode, Method

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run

GOOD_PLAN = '[[task]]\nid = "a"\ntitle = "A"\ntags = ["testing"]\n'


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(GOOD_PLAN)
    return path


def test_a_bad_plan_and_bad_settings_are_told_together_and_nothing_starts(
    run: Run, project: Project, plan: Path
) -> None:
    plan.write_text('[[task]]\nid = "a"\ntitle = "A"\ntag = ["x"]\n')
    (project.root / "agentcoord.toml").write_text("[budget]\nrun_us = 3\n")
    outcome = run("run", str(plan), ANTHROPIC_API_KEY="k")
    assert outcome.code == ExitCode.USAGE
    assert "run_us" in outcome.err
    assert "plan.toml:4" in outcome.err
    assert not project.paths.state_dir.exists()


def test_every_problem_of_a_plan_is_told_at_once_before_anything_starts(
    run: Run, project: Project, plan: Path
) -> None:
    plan.write_text(
        '[[task]]\nid = "a"\ntitle = "A"\nneeds = ["b"]\n'
        '[[task]]\nid = "b"\ntitle = "B"\nneeds = ["a", "none"]\n'
        '[[task]]\nid = "a"\ntitle = "again"\ntags = ["cooking"]\n'
    )
    outcome = run("run", str(plan), ANTHROPIC_API_KEY="k")
    assert outcome.code == ExitCode.USAGE
    for words in ("plan.toml:8", "'none'", "used twice", "cooking", "circle"):
        assert words in outcome.err
    assert not project.paths.state_dir.exists()


def test_a_plan_that_is_not_there_is_a_usage_error(run: Run) -> None:
    outcome = run("run", "none.toml")
    assert outcome.code == ExitCode.USAGE
    assert "none.toml cannot be read: No such file" in outcome.err


def test_without_key_and_base_url_the_three_ways_on_are_told(run: Run, project: Project, plan: Path) -> None:
    outcome = run("run", str(plan))
    assert outcome.code == ExitCode.ERROR
    for way in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "agentcoord demo"):
        assert way in outcome.err
    assert not project.paths.state_dir.exists()


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"])
def test_any_of_key_token_and_base_url_is_enough(name: str) -> None:
    require_model(ModelsSection(), {name: "x"})
    require_model(ModelsSection(base_url="http://x"), {})
    require_model(ModelsSection(provider="vertex"), {})
    with pytest.raises(CommandError):
        require_model(ModelsSection(), {name: ""})


def with_night(daemon: CannedDaemon, *states: str) -> None:
    """Let the daemon be one that has already ended a night with tasks in these states."""
    daemon.answers.update(ANSWERS)
    tasks = [task_view(f"t{n}", state) for n, state in enumerate(states)]
    daemon.answers[Method.STATUS] = {**status_view(counts={state: states.count(state) for state in states})}
    daemon.answers[Method.TASKS] = {"tasks": tasks, "next_offset": None}
    daemon.answers[Method.STATS] = {**STATS}
    daemon.answers[Method.SUBSCRIBE] = {"epoch": "e1", "seq": 3, "mode": "replay", "snapshot": None}
    daemon.answers[Method.LOAD] = {"run": "r1", "added": ["t0"], "unchanged": [], "changed": []}


@pytest.mark.parametrize(
    ("states", "code", "words"),
    [
        (["done", "done"], 0, "2 of 2 tasks done"),
        (["done", "failed"], 7, "1 of 2 tasks done, 1 failed"),
        (["done", "parked"], 7, "1 of 2 tasks done, 1 waiting for you"),
        (["cancelled"], 7, "0 of 1 task done, 1 cancelled"),
    ],
)
def test_wait_sums_up_and_exits_with_7_unless_all_is_done(
    run: Run, daemon: CannedDaemon, states: list[str], code: int, words: str
) -> None:
    with_night(daemon, *states)
    outcome = run("wait")
    assert outcome.code == code
    assert outcome.out.splitlines()[0] == words


def test_wait_sums_up_what_a_stopping_daemon_leaves_and_says_how_to_go_on(
    run: Run, daemon: CannedDaemon
) -> None:
    with_night(daemon, "done", "queued")
    daemon.answers[Method.STATUS] = {**status_view(ended=False, state="stopping", workers_busy=0)}
    outcome = run("wait", "--timeout", "60")
    assert outcome.code == ExitCode.TASK_FAILED
    assert outcome.out.splitlines()[0] == "1 of 2 tasks done, 1 not begun or not ended"
    assert "agentcoordd restart" in outcome.err


def test_wait_gives_up_at_its_time_out_with_6(run: Run, daemon: CannedDaemon) -> None:
    with_night(daemon, "running")
    daemon.answers[Method.STATUS] = {**status_view(ended=False)}
    outcome = run("wait", "--timeout", "0.05")
    assert outcome.code == ExitCode.TIMEOUT
    assert "within 0.05 s" in outcome.err


def test_work_of_a_daemon_without_a_model_is_not_waited_for(
    run: Run, daemon: CannedDaemon, plan: Path
) -> None:
    with_night(daemon, "queued")
    daemon.answers[Method.STATUS] = {**status_view(ended=False, model_source=f"{NO_MODEL}set it")}
    for words in (["run", str(plan)], ["run", str(plan), "--detach"], ["run"], ["wait", "--timeout", "60"]):
        outcome = run(*words)
        assert outcome.code == ExitCode.REFUSED
        assert "the daemon that runs here has no model" in outcome.err
        assert "agentcoordd restart" in outcome.err
    assert Method.LOAD not in [method for method, _ in daemon.asked]


def test_where_nothing_is_loaded_nothing_is_waited_for(run: Run, daemon: CannedDaemon) -> None:
    with_night(daemon)
    daemon.answers[Method.STATUS] = {**status_view(ended=False, counts={"queued": 0})}
    outcome = run("wait", "--timeout", "60")
    assert outcome.code == ExitCode.USAGE
    assert "no task is loaded" in outcome.err


def test_what_has_ended_is_summed_up_by_a_daemon_without_a_model_too(run: Run, daemon: CannedDaemon) -> None:
    with_night(daemon, "done")
    daemon.answers[Method.STATUS]["model_source"] = f"{NO_MODEL}set it"  # type: ignore[index]
    assert run("wait").out.splitlines()[0] == "1 of 1 task done"


def test_run_loads_into_the_daemon_that_runs_and_judges_its_own_tasks_alone(
    run: Run, daemon: CannedDaemon, plan: Path
) -> None:
    with_night(daemon, "done", "failed")
    outcome = run("run", str(plan), "--json")
    assert outcome.code == 0  # t1 failed, but in another night: the plan holds t0.
    document = json.loads(outcome.out)
    assert document["schema"] == "agentcoord.run/1"
    assert [task["id"] for task in document["tasks"]] == ["t0"]
    (loaded,) = [params for method, params in daemon.asked if method == Method.LOAD]
    assert loaded == {"text": GOOD_PLAN, "format": "toml", "source": "plan.toml"}


@pytest.mark.parametrize(
    ("during", "words"),
    [
        (Method.SUBSCRIBE, "Left before plan.toml was loaded"),
        (Method.LOAD, "Left while plan.toml was being loaded: agentcoord tasks"),
        (Method.TASKS, "Left the run alone; the daemon goes on."),
    ],
)
def test_who_leaves_is_told_what_came_of_the_plan(
    run: Run, daemon: CannedDaemon, plan: Path, during: Method, words: str
) -> None:
    with_night(daemon, "queued")
    answer = daemon.answers[during]

    def interrupted(_params: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        assert isinstance(answer, dict)
        return answer

    daemon.answers[during] = interrupted
    outcome = run("run", str(plan))
    assert outcome.code == INTERRUPTED
    assert words in outcome.err


def test_run_detached_loads_and_tells_how_to_watch_and_stop(
    run: Run, daemon: CannedDaemon, plan: Path
) -> None:
    with_night(daemon, "queued")
    outcome = run("run", str(plan), "--detach")
    assert outcome.code == 0
    assert outcome.out == "1 task added\n"
    for command in ("agentcoord dashboard", "agentcoord wait", "agentcoordd stop"):
        assert command in outcome.err


def test_run_with_nothing_to_do_says_so(run: Run, daemon: CannedDaemon) -> None:
    with_night(daemon)
    outcome = run("run")
    assert outcome.code == ExitCode.USAGE
    assert "agentcoord run plan.toml" in outcome.err


def test_a_rehearsal_does_not_touch_a_daemon_with_a_real_model(
    run: Run, daemon: CannedDaemon, plan: Path, tmp_path: Path
) -> None:
    with_night(daemon, "done")
    outcome = run("rehearse", str(plan), "--scripts", str(tmp_path))
    assert outcome.code == ExitCode.REFUSED
    assert Method.LOAD not in [method for method, _ in daemon.asked]


def test_a_markdown_checklist_is_sent_as_such(run: Run, daemon: CannedDaemon, tmp_path: Path) -> None:
    with_night(daemon, "queued")
    todo = tmp_path / "todo.md"
    todo.write_text("- [ ] first thing\n")
    assert run("load", str(todo)).out == "1 task added\n"
    assert daemon.asked[-1][1]["format"] == "markdown"


def summary_of(**changes: Any) -> str:
    tasks = [task_view("a", "done"), task_view("b", "failed")]
    ending = Ending(status_view(**changes), tasks, STATS)
    return "\n".join(plain_text(line) for line in [*summary_page(ending, 0), *next_steps(ending)])


def test_the_summary_says_what_changed_what_it_took_and_what_next() -> None:
    text = summary_of()
    for words in (
        "2 files, +12 -3 lines, nothing staged or committed",
        "1,200 in, 400 read from cache, 30 written to cache, 5 out",
        "$1.50 of $6.00",
        "5 of 6 at once",
        "1:01",
        "why b is failed",
        "agentcoord task b",
        "agentcoord retry b",
        "agentcoord undo a",
    ):
        assert words in text
    assert "scripted" not in text
    assert "unconfined" not in text


@pytest.mark.parametrize(
    ("baseline", "checks_run", "words"),
    [
        ("green", 3, "3 runs in 4.2 s; every landed task passed them"),
        ("red: tests", 3, "3 runs in 4.2 s; what landed fails nothing that passed before"),
        ("none", 0, "none: nothing proves what landed"),
        ("green", 0, "0 runs in 4.2 s"),
    ],
)
def test_the_summary_claims_of_the_checks_no_more_than_they_prove(
    baseline: str, checks_run: int, words: str
) -> None:
    stats: StatsView = {**STATS, "checks_run": checks_run, "check_s": 4.2}
    ending = Ending(status_view(baseline=baseline), [task_view("a", "done")], stats)
    lines = [plain_text(line) for line in summary_page(ending, 0)]
    assert next(line for line in lines if line.startswith("checks")).split(maxsplit=1)[1] == words


def test_an_undone_task_counts_as_undone_and_is_not_offered_for_undoing() -> None:
    tasks = [task_view("a", "done", review="undone"), task_view("b", "done")]
    ending = Ending(status_view(), tasks, STATS)
    text = "\n".join(plain_text(line) for line in [*summary_page(ending, 0), *next_steps(ending)])
    assert "1 of 2 tasks done, 1 undone" in text
    assert "2 files, +12 -3 lines" in text
    assert "agentcoord undo b" in text
    assert "agentcoord undo a" not in text
    assert ending.exit_code == 0


def test_a_run_that_paused_by_itself_says_why_and_is_no_success() -> None:
    status = status_view(state="paused", paused_why="the disk is full", workers_busy=0)
    ending = Ending(status, [task_view("a", "done"), task_view("b", "queued")], STATS)
    text = "\n".join(plain_text(line) for line in summary_page(ending, 0))
    assert "Paused: the disk is full. Mend it, then: agentcoord ctl resume" in text
    assert "1 not begun or not ended" in text
    assert ending.exit_code == 7
    assert has_halted(status)
    assert not has_halted(status_view(state="paused", paused_why="", workers_busy=0))
    assert not has_halted(status_view(state="paused", paused_why="the disk is full", workers_busy=1))


def test_the_summary_says_plainly_that_the_model_was_scripted_and_commands_unconfined() -> None:
    text = summary_of(scripted=True, sandbox="none (unsafe)")
    assert "The model was scripted" in text
    assert "as it would have been" in text
    assert "ran unconfined" in text


def test_a_start_after_a_crash_goes_on_as_before_and_a_clean_one_does_not(
    project: Project, tmp_path: Path
) -> None:
    paths = project.paths
    paths.make()
    plain = start_args(allow_root=True)
    assert args_to_resume(paths, plain) == plain
    before = start_args(allow_root=False, rehearse=tmp_path, unsafe_no_sandbox=True, run_usd=2.0)
    (paths.state_dir / "start.json").write_text(before.to_json())
    assert last_args(paths) == before
    assert args_to_resume(paths, plain) == plain  # It stopped in order: nothing of it stays.
    paths.identity_file.write_text("{}")  # What a daemon leaves behind when it is killed.
    resumed = args_to_resume(paths, plain)
    assert (resumed.rehearse, resumed.unsafe_no_sandbox, resumed.allow_root) == (tmp_path, True, True)
    mine = start_args(allow_root=True, base_url="http://x")
    assert args_to_resume(paths, mine) == mine


def test_a_flag_that_is_given_at_the_start_after_a_crash_is_not_lost(project: Project) -> None:
    paths = project.paths
    paths.make()
    (paths.state_dir / "start.json").write_text(start_args(allow_root=True, run_usd=2.0).to_json())
    paths.identity_file.write_text("{}")
    given = start_args(allow_root=True, supervised=True, unsafe_no_sandbox=True, external_sandbox=True)
    resumed = args_to_resume(paths, given)
    assert (resumed.supervised, resumed.unsafe_no_sandbox, resumed.external_sandbox) == (True, True, True)
    assert resumed.flags == {"budget.run_usd": 2.0}
