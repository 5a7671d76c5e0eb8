"""`agentcoord dashboard`: which nights there are to play, and what it refuses."""

from __future__ import annotations

import json

import canned_daemon
from canned_daemon import Project, Run

from agentcoord.daemon.night_writer import NightWriter
from agentcoord.wire.messages import ExitCode
from agentcoord.wire.night_file import Kept, encode_record

project, run = canned_daemon.project, canned_daemon.run


def record(project: Project, name: str, at_ms: int) -> None:
    counts = {"done": 2, "failed": 1, "parked": 1}
    params = {
        "status": {"counts": counts, "spend": {"spent_usd": 1.25}},
        "tasks": [],
        "workers": [],
    }
    lines = [encode_record(at_ms, Kept.SNAPSHOT, params), encode_record(at_ms + 60_000, Kept.EVENT, {})]
    NightWriter(project.paths.nights_dir, name).append(lines, at_ms)


def test_the_nights_are_listed_without_a_daemon(project: Project, run: Run) -> None:
    assert "no run was recorded yet" in run("dashboard", "--replay").err
    record(project, "r1", 1_000_000)
    record(project, "r2", 9_000_000)
    page = run("dashboard", "--replay")
    assert page.code == ExitCode.OK
    assert [line.split()[0] for line in page.out.splitlines()] == ["RUN", "r2", "r1"]
    assert page.out.splitlines()[1].split()[-6:] == ["1", "min", "2", "1", "1", "$1.25"]
    document = json.loads(run("dashboard", "--replay", "--json").out)
    assert document["schema"] == "agentcoord.nights/1"
    assert [(n["run"], n["began_at"], n["ended_at"]) for n in document["nights"]] == [
        ("r2", 9_000_000, 9_060_000),
        ("r1", 1_000_000, 1_060_000),
    ]


def test_a_night_that_is_not_there_is_named(project: Project, run: Run) -> None:
    record(project, "r1", 1_000_000)
    refused = run("dashboard", "--replay", "x")
    assert refused.code == ExitCode.NOT_FOUND
    assert "no recording is called x" in refused.err
    assert "agentcoord dashboard --replay lists them" in refused.err
    assert run("dashboard", "r1").code == ExitCode.USAGE
    assert run("dashboard", "--json").code == ExitCode.USAGE


def test_a_replay_and_a_dashboard_need_a_terminal(project: Project, run: Run) -> None:
    record(project, "r1", 1_000_000)
    for words in (("--replay", "last"), ("--read-only",), ()):
        refused = run("dashboard", *words)
        assert (refused.code, refused.out) == (ExitCode.USAGE, "")
        assert "needs a terminal" in refused.err
