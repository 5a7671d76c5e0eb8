"""`agentcoord report`: asks for everything in one go, and tells it in the form that was asked for."""

from __future__ import annotations

import json
import stat
import webbrowser
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import ANSWERS, task_view
from test_cli_schemas import misfits

from agentcoord.wire.messages import Method

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run

EVENTS = [
    {"kind": "task.claimed", "at_ms": 1_700_000_001_000, "task": "a", "worker": "W", "data": {}, "seq": 41},
    {"kind": "task.done", "at_ms": 1_700_000_061_000, "task": "a", "worker": "W", "data": {}, "seq": 42},
]


@pytest.fixture
def morning(daemon: CannedDaemon) -> CannedDaemon:
    """A daemon after a night: one task landed, one failed; old events are no longer kept."""
    rows = [task_view("a", "done", files=["a.py"]), task_view("b", "failed")]

    def tasks(params: dict[str, Any]) -> dict[str, Any]:
        offset = params["offset"]
        return {"tasks": rows[offset : offset + 1], "next_offset": 1 if offset == 0 else None}

    def detail(params: dict[str, Any]) -> dict[str, Any]:
        check = {"name": "tests", "command": "true", "exit_code": 0, "ok": True, "ms": 5, "output": "fine"}
        return {"summary": f"did {params['id']}", "checks": [check] if params["id"] == "a" else []}

    def diff(params: dict[str, Any]) -> dict[str, Any]:
        return {"text": "+half", "next_offset": None if params["offset"] else 5}

    daemon.answers.update(ANSWERS)
    daemon.answers.update(
        {
            Method.TASKS: tasks,
            Method.TASK: detail,
            Method.DIFF: diff,
            Method.SUBSCRIBE: {"epoch": "e1", "seq": 42, "mode": "resync", "snapshot": {"events": EVENTS}},
        }
    )
    daemon.answers[Method.STATS] = {**_canned(Method.STATS), "events": 42}
    return daemon


def _canned(method: Method) -> dict[str, Any]:
    answer = ANSWERS[method]
    assert isinstance(answer, dict)
    return answer


@pytest.mark.usefixtures("morning")
def test_the_page_for_the_terminal_says_what_landed_and_what_failed(run: Run) -> None:
    done = run("report")
    assert done.code == 0
    assert done.out.startswith("1 of 2 tasks landed, 1 failed.")
    assert "agentcoord retry b" in done.out
    assert "W" in done.out.split("The night")[1]


def test_every_page_and_every_piece_is_read(run: Run, morning: CannedDaemon) -> None:
    document = json.loads(run("report", "--json").out)
    assert document["schema"] == "agentcoord.report/1"
    schema = json.loads(run("schema", "agentcoord.report").out)
    assert misfits(document, schema) == []
    assert misfits({**document, "timeline": None}, schema) == []
    assert misfits({**document, "tasks": [{}]}, schema) != []
    assert [task["id"] for task in document["tasks"]] == ["a", "b"]
    assert document["tasks"][0]["diff"] == "+half+half"
    assert document["events_complete"] is False
    assert [params["id"] for method, params in morning.asked if method == Method.TASK] == ["a", "b"]


@pytest.mark.usefixtures("morning")
def test_html_and_markdown_go_to_standard_output(run: Run) -> None:
    assert run("report", "--html").out.startswith("<!DOCTYPE html>")
    assert run("report", "--md").out.startswith("# 1 of 2 tasks landed")


def test_what_a_repository_wrote_steers_no_terminal_as_markdown_either(
    run: Run, morning: CannedDaemon
) -> None:
    view = {**task_view("a", "done"), "title": "red \x1b[31m", "files": ["src/\x1b]0;esc.py"]}
    morning.answers[Method.TASKS] = {"tasks": [view], "next_offset": None}
    page = run("report", "--md").out
    assert "esc.py" in page
    assert "\x1b" not in page
    assert "\n## " in page


@pytest.mark.usefixtures("morning")
def test_two_forms_at_once_are_refused(run: Run) -> None:
    done = run("report", "--md", "--json")
    assert done.code == 2
    assert "choose one form" in done.err


@pytest.mark.usefixtures("morning")
def test_open_writes_the_page_for_its_owner_alone_and_shows_it(run: Run, project: Project) -> None:
    project.paths.state_dir.mkdir(parents=True, exist_ok=True)
    shown: list[str] = []

    class Recorder(webbrowser.BaseBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            shown.append(url)
            return True

    webbrowser.register("recorder", None, Recorder("recorder"), preferred=True)
    done = run("report", "--open")
    path = Path(done.out.strip())
    assert done.code == 0
    assert shown == [path.as_uri()]
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_daemon_it_says_how_to_start_one(run: Run) -> None:
    done = run("report")
    assert done.code == 3
    assert "agentcoordd start" in done.err
