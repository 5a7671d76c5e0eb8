"""The reading commands: their pages, their JSON, and that both ways of parsing print the same."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Outcome, Project, Run
from canned_views import ANSWERS, DETAIL, TOKENS, task_view

from agentcoord.cli.agentcoord import main
from agentcoord.cli.agentcoord_app import app
from agentcoord.cli.agentcoordd_app import app as daemon_app
from agentcoord.cli.boundary import guarded
from agentcoord.cli.invocation import Invocation, hoist_project
from agentcoord.cli.typer_run import run_app
from agentcoord.wire.messages import ExitCode, Method, RpcCode

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run

READING = ["status", "tasks", "workers", "costs", "stats", "locks"]
FAST = [
    ("agentcoord", "status"),
    ("agentcoord", "tasks"),
    ("agentcoord", "workers"),
    ("agentcoordd", "status"),
]


@pytest.fixture
def full_daemon(daemon: CannedDaemon) -> CannedDaemon:
    daemon.answers.update(ANSWERS)
    return daemon


@pytest.fixture
def run_slowly(project: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """As `run`, but by Typer whatever the command is."""

    def run(program: str, *words: str) -> Outcome:
        typer_app = app if program == "agentcoord" else daemon_app
        argv = hoist_project(["-C", str(project.root), *words])
        invocation = Invocation.of_process(project.env)
        code = guarded(invocation.terminal, lambda: run_app(typer_app, program, argv, invocation))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


SPELLINGS = [
    [],
    ["--json"],
    ["--json", "--json"],
    ["--jso"],
    ["--all", "--json"],
    ["--dead"],
    ["surplus"],
    ["--json", "surplus"],
    ["--"],
    ["--", "--json"],
    ["-C", "."],
    ["-C"],
    ["-C", "./nowhere/"],
    ["--project", "/"],
]


@pytest.mark.usefixtures("full_daemon")
@pytest.mark.parametrize("words", SPELLINGS, ids=" ".join)
@pytest.mark.parametrize(("program", "command"), FAST)
def test_the_fast_path_and_typer_print_the_same(
    run: Run, run_slowly: Callable[..., Outcome], program: str, command: str, words: list[str]
) -> None:
    fast = run(command, *words, program=program)
    assert fast == run_slowly(program, command, *words)
    if words in ([], ["--json"]):
        assert fast.code == 0
        assert fast.out


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["page", "json"])
@pytest.mark.parametrize(("program", "command"), FAST)
def test_the_fast_path_and_typer_fail_in_the_same_words(
    daemon: CannedDaemon,
    run: Run,
    run_slowly: Callable[..., Outcome],
    program: str,
    command: str,
    as_json: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "bare").mkdir()
    for inside in ("objects", "refs"):
        (tmp_path / "bare" / inside).mkdir()
    (tmp_path / "bare" / "HEAD").touch()
    (tmp_path / "plain").mkdir()
    outcomes = []

    def both(*words: str) -> None:
        fast = run(command, *as_json, *words, program=program)
        assert fast == run_slowly(program, command, *as_json, *words)
        outcomes.append(fast)

    for folder in ("bare", "plain", "missing", "bare/HEAD"):
        both("-C", str(tmp_path / folder))
    daemon.answers.update({method: {} for method in Method})
    daemon.refuse(Method.STATUS, RpcCode.UNAVAILABLE, "Redis is away", exit_code=5, mend="wait")
    daemon.refuse(Method.TASKS, RpcCode.INTERNAL, "no\nand no", problems=["a", "b"])
    both()  # `workers` hears something that is no answer at all.
    daemon.socket.unlink()
    both()
    daemon.socket.touch()
    both()
    assert {outcome.code for outcome in outcomes} >= {2, 3}
    assert all(outcome.err.startswith("error: ") for outcome in outcomes if outcome.code)


@pytest.mark.usefixtures("full_daemon")
@pytest.mark.parametrize(("program", "command"), FAST)
def test_the_fast_path_imports_nothing_heavy(project: Project, program: str, command: str) -> None:
    code = (
        "import sys; before = set(sys.modules);"
        f"from agentcoord.cli.{program} import main; code = main();"
        "heavy = {'typer', 'pydantic', 'asyncio', 'anthropic', 'textual', 'redis', 'agentcoord.daemon',"
        "'typing', 'dataclasses', 'inspect', 'pathlib', 'rich', 'socket', 'hashlib', 'tempfile'};"
        "print(sorted((heavy & set(sys.modules)) - before), file=sys.stderr); sys.exit(code)"
    )

    def modules_after(*words: str) -> tuple[str, str]:
        outcome = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=project.env,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return outcome.stderr.strip(), outcome.stdout

    found, out = modules_after(command, "--json", "-C", str(project.root))
    assert found == "[]"
    assert json.loads(out)["schema"].startswith(program)
    # `--project=DIR` in one word is left to Typer: the look at the modules does see what is heavy.
    found, slow_out = modules_after(command, "--json", f"--project={project.root}")
    assert "typer" in found
    assert slow_out == out


@pytest.mark.parametrize(
    ("program", "words"),
    [("agentcoord", ["undo", "--all"]), ("agentcoord", ["accept", "unit-tests"]), ("agentcoordd", ["stop"])],
)
def test_a_command_that_only_asks_imports_nothing_that_others_need(
    project: Project, program: str, words: list[str]
) -> None:
    code = (
        f"import sys; from agentcoord.cli.{program} import main; code = main();"
        "heavy = {'asyncio', 'pygments', 'agentcoord.workspace', 'agentcoord.sandbox',"
        "'agentcoord.cli.nights'};"
        "print(sorted(heavy & set(sys.modules)), 'typer' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-C", str(project.root), *words],
        env=project.env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.endswith("\n[] True\n")


def test_a_start_imports_nothing_heavy_before_it_has_begun(project: Project, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    code = (
        "import sys; from agentcoord.cli.agentcoordd import main; code = main();"
        "heavy = {'typer', 'pydantic', 'asyncio', 'textual', 'redis', 'agentcoord.store', 'structlog'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-C", str(project.root), "start"],
        env=project.env | {"XDG_STATE_HOME": str(in_the_way), "AGENTCOORD_ALLOW_ROOT": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot make the folder")
    assert done.stderr.endswith("\n[]\n")


def test_the_daemon_imports_little_before_it_has_begun_what_it_waits_for() -> None:
    code = (
        "import sys; import agentcoord.daemon.service;"
        "heavy = {'redis', 'anthropic', 'httpx', 'prometheus_client', 'agentcoord.store', 'agentcoord.agent',"
        "'agentcoord.review', 'agentcoord.daemon.compose', 'agentcoord.tui'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("full_daemon")
@pytest.mark.parametrize("command", READING)
def test_json_is_one_document_with_its_schema(run: Run, command: str) -> None:
    outcome = run(command, "--json")
    assert outcome.code == 0
    assert outcome.err == ""
    assert json.loads(outcome.out)["schema"] == f"agentcoord.{command}/1"


@pytest.mark.usefixtures("full_daemon")
def test_the_documents_hold_the_keys_that_scripts_lean_on(run: Run) -> None:
    def document(*words: str, program: str = "agentcoord") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(*words, "--json", program=program).out)
        return found

    assert document("status", program="agentcoordd").keys() >= {
        "pid",
        "state",
        "socket",
        "version",
        "started_at",
    }
    wanted = {
        "id",
        "title",
        "state",
        "priority",
        "tags",
        "needs",
        "worker",
        "attempt",
        "cost_usd",
        "files",
        "why",
    }
    assert document("tasks")["tasks"][0].keys() >= wanted
    assert document("workers")["workers"][0].keys() >= {
        "name",
        "role",
        "tags",
        "state",
        "task",
        "doing",
        "since",
    }
    costs = document("costs")
    assert costs.keys() >= {"total_usd", "cap_usd", "reserved_usd", "by_task"}
    assert costs["tokens"] == TOKENS
    assert (costs["forecast_usd"], costs["forecast_p90_usd"]) == (3.25, 4.5)
    assert [(row["worker"], row["usd"]) for row in costs["by_worker"]] == [("Backend-Engineer-1", 1.5)]
    status = document("status")
    assert (status["cap"], status["forecast"], status["counts"]["failed"]) == (6.0, 3.25, 1)
    assert status["spend"]["spent_usd"] == 1.5
    assert status["needs_you"][0]["task"] == "b"


@pytest.mark.usefixtures("full_daemon")
def test_costs_tell_caps_forecast_and_who_spent_what(run: Run) -> None:
    out = run("costs").out
    assert "1,000 of 2,000,000: " in out
    assert "3,000 of 5,000,000 tokens" in out
    assert "about $3.25 at the end, below $4.50 nine times in ten" in out
    assert "from 2 ended tasks of this run and 6 of earlier ones" in out
    assert [word for word in ("MODEL", "WORKER", "TASK") if word in out] == ["MODEL", "WORKER", "TASK"]
    assert "Backend-Engineer-1" in out


@pytest.mark.usefixtures("full_daemon")
def test_pages_are_plain_text_that_steers_no_terminal(run: Run) -> None:
    for command in (*READING, "task"):
        outcome = run(command, *(["a"] if command == "task" else []))
        assert outcome.code == 0, outcome.err
        assert "\x1b" not in outcome.out
        assert outcome.err == ""


@pytest.mark.usefixtures("full_daemon")
def test_the_tasks_page_shows_why_a_task_is_where_it_is(run: Run) -> None:
    lines = run("tasks").out.splitlines()
    assert lines[0].split() == ["TASK", "STATE", "P", "TITLE", "WORKER", "COST", "FILES", "WHY"]
    assert "why b is failed" in lines[2]
    assert lines[1].startswith("✔  a")


@pytest.mark.usefixtures("full_daemon")
def test_the_task_page_shows_the_red_check_and_the_open_question(run: Run) -> None:
    page = run("task", "a").out
    for words in ("assert 1 == 2", "exit 2", "How many?", "assumed until you answer: eight", "And why."):
        assert words in page


def test_tasks_that_come_in_pages_are_put_together(run: Run, daemon: CannedDaemon) -> None:
    def pages(params: dict[str, Any]) -> dict[str, Any]:
        offset = params.get("offset", 0)
        return {"tasks": [task_view(f"t{offset}", "done")], "next_offset": offset + 1 if offset < 2 else None}

    daemon.answers["tasks"] = pages
    document = json.loads(run("tasks", "--json").out)
    assert [task["id"] for task in document["tasks"]] == ["t0", "t1", "t2"]
    assert "next_offset" not in document


ENDS = [
    {
        "at": 1_700_000_031_000,
        "setback": "unproven",
        "why": "the same checks failed twice alike: tests",
        "to": "queued",
        "attempt": 1,
        "worker": "Testing-Engineer-1",
        "model": "claude-haiku-5-5",
        "token": 7,
    },
    {
        "at": 1_700_000_061_000,
        "setback": "gave_up",
        "why": "60 turns",
        "to": "failed",
        "attempt": 2,
        "worker": "Testing-Engineer-2",
        "model": "claude-sonnet-5-5",
        "token": 9,
    },
]


def test_dead_tasks_are_listed_with_cause_model_and_what_fell(run: Run, daemon: CannedDaemon) -> None:
    def dead(params: dict[str, Any]) -> dict[str, Any]:
        assert params["dead"] is True
        row = task_view("b", "failed", setback="gave_up", attempt=2, why="60 turns")
        return {"tasks": [{**row, "history": ENDS, "fell": ["c", "d"]}], "next_offset": None}

    daemon.answers["tasks"] = dead
    head, row = run("tasks", "--dead").out.splitlines()
    assert head.split() == ["TASK", "ENDED", "CAUSE", "ATTEMPT", "WORKER", "MODEL", "FELL", "WHY"]
    words = ("b", "gave up", " 2 ", "Testing-Engineer-1", "claude-sonnet-5-5", "60 turns")
    assert [word for word in words if word not in row] == []
    document = json.loads(run("tasks", "--dead", "--json").out)
    assert document["schema"] == "agentcoord.tasks/1"
    assert document["tasks"][0]["history"] == ENDS
    daemon.answers["tasks"] = {"tasks": [], "next_offset": None}
    assert run("tasks", "--dead").out == "No task has failed.\n"


def test_the_task_page_tells_its_setbacks_and_its_attempts(run: Run, daemon: CannedDaemon) -> None:
    row = task_view("a", "failed", needs=["x"], on_need_failed="skip", setbacks={"gave_up": 2, "asked": 1})
    daemon.answers["task"] = {**DETAIL, "task": row, "history": ENDS}
    page = run("task", "a").out
    for words in (
        "2 gave up, 1 asked",
        "x (skipped if one fails)",
        "attempt 1  unproven, tried again: the same checks failed twice alike: tests",
        "attempt 2  gave up, failed: 60 turns  Testing-Engineer-2 claude-sonnet-5-5 (token 9)",
    ):
        assert words in page


def test_a_skipped_task_is_called_so(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers["tasks"] = {"tasks": [task_view("a", "cancelled", skipped=True)], "next_offset": None}
    assert "skipped" in run("tasks").out


def test_no_tasks_says_what_to_do(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers["tasks"] = {"tasks": [], "next_offset": None}
    assert run("tasks").out == "No tasks yet: agentcoord load plan.toml\n"


def test_a_diff_is_put_together_from_its_pieces_byte_for_byte(run: Run, daemon: CannedDaemon) -> None:
    patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\t\x1b[31m\n+b\n"

    def piece(params: dict[str, Any]) -> dict[str, Any]:
        at = params["offset"]
        following = at + 10 if at + 10 < len(patch) else None
        return {
            "text": patch[at : at + 10],
            "next_offset": following,
            "runs_here": ["Makefile"],
            "whole": True,
        }

    daemon.answers["diff"] = piece
    ran = run("diff", "x")
    assert ran.out == patch
    assert ran.err.splitlines()[-2:] == [" Runs on your machine or in your CI", "   ▲ Makefile"]
    assert json.loads(run("diff", "x", "--json").out) == {
        "schema": "agentcoord.diff/1",
        "id": "x",
        "runs_here": ["Makefile"],
        "patch": patch,
    }


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_diff_into_a_pipe_is_a_whole_patch_in_the_bytes_of_the_files(
    project: Project, daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    asked: list[dict[str, Any]] = []

    def piece(params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return {"text": "+caf\udce9 \u00fc\n", "next_offset": None, "runs_here": [], "whole": True}

    daemon.answers["diff"] = piece
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main(["-C", str(project.root), "diff", "x"], project.env) == ExitCode.OK
    assert written.getvalue() == b"+caf\xe9 \xc3\xbc\n"
    assert asked == [{"id": "x", "offset": 0, "whole": True}]


@pytest.mark.parametrize(
    ("told", "why"),
    [({"whole": False}, "it is too large"), ({}, "the daemon is older"), ({"whole": True}, "")],
)
def test_a_diff_into_a_pipe_that_is_no_patch_to_apply_says_so(
    run: Run, daemon: CannedDaemon, told: dict[str, bool], why: str
) -> None:
    daemon.answers["diff"] = {"text": "+a\n", "next_offset": None, "runs_here": [], **told}
    ran = run("diff", "x")
    assert ran.out == "+a\n"
    assert ("no patch to apply" in ran.err, why in ran.err) == (bool(why), True)
    assert "no patch" not in run("diff", "x", "--json").err


def test_logs_print_the_newest_events_of_a_task(run: Run, daemon: CannedDaemon) -> None:
    events = [
        {"kind": "task.done", "at_ms": 1, "task": task, "worker": "W", "data": {"files": ["x"]}, "seq": seq}
        for seq, task in enumerate(["a", "b", "a", "a"], start=1)
    ]
    view = {"epoch": "e", "seq": 4, "mode": "resync", "snapshot": {"events": events}}
    daemon.answers[Method.SUBSCRIBE] = view
    outcome = run("logs", "--task", "a", "-n", "2", "--json")
    assert [json.loads(line)["seq"] for line in outcome.out.splitlines()] == [3, 4]
    assert "a landed 1 file" in run("logs", "-n", "1").out
    assert run("logs", "-n", "0").out == ""


def test_logs_of_what_there_is_not_are_an_error_and_of_what_was_silent_none(
    run: Run, daemon: CannedDaemon
) -> None:
    daemon.answers.update(ANSWERS)
    view = {"epoch": "e", "seq": 0, "mode": "resync", "snapshot": {"events": []}}
    daemon.answers[Method.SUBSCRIBE] = view
    outcome = run("logs", "-f", "--worker", "Nope")
    assert (outcome.code, outcome.out) == (ExitCode.NOT_FOUND, "")
    assert "no worker is called 'Nope'" in outcome.err
    known = ANSWERS[Method.WORKERS]["workers"][0]["name"]
    assert run("logs", "--worker", known).code == ExitCode.OK
    assert run("logs", "--task", "a").code == ExitCode.OK
    daemon.refuse(Method.TASK, RpcCode.NOT_FOUND, "no task is called 'nope'", exit_code=4)
    assert run("logs", "--task", "nope").code == ExitCode.NOT_FOUND


def test_logs_go_back_beyond_what_a_snapshot_holds_and_know_workers(run: Run, daemon: CannedDaemon) -> None:
    daemon.replayed = [
        {"kind": "task.done", "at_ms": 1, "task": f"t{seq}", "worker": "VW"[seq % 2], "data": {}, "seq": seq}
        for seq in range(1, 1001)
    ]

    def subscribed(params: dict[str, Any]) -> dict[str, Any]:
        if params.get("since") is None:
            snapshot = {"events": daemon.replayed[-200:]}
            return {"epoch": "e", "seq": 1000, "mode": "resync", "snapshot": snapshot}
        return {"epoch": "e", "seq": params["since"]["seq"], "mode": "replay", "snapshot": None}

    daemon.answers[Method.SUBSCRIBE] = subscribed

    def numbers(*words: str) -> list[int]:
        return [json.loads(line)["seq"] for line in run("logs", "--json", *words).out.splitlines()]

    assert numbers("-n", "700") == list(range(301, 1001))
    assert numbers("-n", "300", "--worker", "W") == list(range(401, 1001, 2))
    assert numbers("-n", "3", "--task", "t5") == [5]


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_project_option_may_stand_anywhere_before_a_double_dash(place: str) -> None:
    words = ["-C", "d", "tasks", "--json"] if place == "before" else ["tasks", "--json", "-C", "d"]
    assert hoist_project(words) == ["-C", "d", "tasks", "--json"]
    assert hoist_project(["answer", "x", "--", "-C", "y"]) == ["answer", "x", "--", "-C", "y"]
    assert hoist_project(["tasks", "--project=d", "-Ce"]) == ["--project=d", "-Ce", "tasks"]
