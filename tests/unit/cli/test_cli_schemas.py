"""The printed schemas, held against what the commands really print."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
import structlog
from canned_daemon import CannedDaemon, Project, Run
from canned_views import ANSWERS, UNDONE

from agentcoord.domain.events import Event, EventKind
from agentcoord.telemetry.logs import logging_to

project, run, daemon = canned_daemon.project, canned_daemon.run, canned_daemon.daemon

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def misfits(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What a validator would say, for the few words that our schemas use."""
    if "anyOf" in schema:
        tries = [misfits(value, each, where) for each in schema["anyOf"]]
        return [] if [] in tries else [f"{where}: fits none"]
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{where}: {value!r}"]
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        return [f"{where}: {value!r} is no {schema['type']}"]
    found: list[str] = []
    if "minimum" in schema and not schema["minimum"] <= value <= schema.get("maximum", value):
        found.append(f"{where}: {value!r} is out of bounds")
    if "minItems" in schema and len(value) < schema["minItems"]:
        found.append(f"{where}: too few")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not look like it")
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        found += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, each in value.items():
            if name not in known and others is False:
                found.append(f"{where}.{name} is unknown")
            else:
                found += misfits(each, known.get(name, others), f"{where}.{name}")
    if isinstance(value, list):
        for number, each in enumerate(value):
            found += misfits(each, schema.get("items", {}), f"{where}[{number}]")
    return found


@pytest.mark.parametrize("command", ["status", "tasks", "workers", "costs", "stats", "locks"])
def test_what_a_command_prints_fits_its_schema(run: Run, daemon: CannedDaemon, command: str) -> None:
    daemon.answers.update(ANSWERS)
    document = json.loads(run(command, "--json").out)
    schema = json.loads(run("schema", f"agentcoord.{command}").out)
    assert misfits(document, schema) == []
    document.pop("schema")
    assert misfits(document, schema) == ["$.schema is missing"]


LOADED = {"run": "r1", "added": ["a"], "unchanged": [], "changed": []}
DOING: dict[str, tuple[list[str], dict[str, dict[str, Any]]]] = {
    "task": (["task", "a"], {}),
    "diff": (["diff", "a"], {"diff": {"text": "+x", "next_offset": None}}),
    "blame": (
        ["blame", "a.py"],
        {"blame": {"path": "a.py", "lines": [{"task": None, "text": "x"}], "next_offset": None}},
    ),
    "load": (["load", "p.toml"], {"load": LOADED}),
    "add": (["add", "Something"], {"load": LOADED}),
    "plan.check": (["plan", "check", "p.toml"], {}),
    "plan.draft": (
        ["plan", "draft", "goal", "--out", "-"],
        {"draft": {"text": "x", "tasks": 1, "estimate_usd": 0.1, "cost_usd": 0.01, "model": "m"}},
    ),
    "spawn": (["spawn", "--role", "architect"], {"spawn": {"workers": ["Architect-2"]}}),
    "kill": (["ctl", "kill", "--all"], {"kill": {"killed": ["Architect"]}}),
    "retry": (["retry", "a"], {"retry": {"id": "a", "state": "queued"}}),
    "cancel": (["cancel", "a"], {"cancel": {"id": "a", "state": "cancelled"}}),
    "land": (["land", "a"], {"land": {"id": "a", "state": "checking"}}),
    "reject": (
        ["reject", "a", "--reason", "x"],
        {
            "reject": {
                "id": "a",
                **UNDONE,
                "state": "queued",
                "spent_usd": 0.1,
                "cap_usd": None,
            }
        },
    ),
    "nights": (["dashboard", "--replay"], {}),
    "accept": (["accept", "a"], {"accept": {"id": "a", "review": "accepted"}}),
    "undo": (["undo", "a"], {"undo": {"id": "a", **UNDONE}}),
    "answer": (["answer", "a", "yes"], {"answer": {"id": "a"}}),
    "pause": (["ctl", "pause"], {"pause": {"paused": True}}),
    "resume": (["ctl", "resume"], {"resume": {"paused": False}}),
    "drain": (["ctl", "drain"], {"drain": {"draining": True}}),
    "cleanup": (
        ["cleanup"],
        {"cleanup": dict.fromkeys(("locks", "leases", "reservations", "workspaces", "keys", "landings"), 0)},
    ),
    "config": (["config"], {}),
    "doctor": (["doctor"], {}),
    "init": (["init"], {}),
}


@pytest.mark.parametrize("name", DOING)
def test_what_every_other_command_prints_fits_its_schema_too(
    run: Run, daemon: CannedDaemon, project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words, answers = DOING[name]
    daemon.answers.update(ANSWERS | answers)
    (project.root / "p.toml").write_text('[[task]]\nid = "b2"\ntitle = "B"\n')
    (project.root / "a.py").touch()
    monkeypatch.chdir(project.root)
    done = run(*words, "--json")
    document = json.loads(done.out)
    assert misfits(document, json.loads(run("schema", f"agentcoord.{name}").out)) == [], done.err
    assert document["schema"] == f"agentcoord.{name}/1"


def test_every_command_with_a_json_document_has_a_schema(run: Run) -> None:
    known = set(json.loads(run("schema").out))
    assert {f"agentcoord.{name}" for name in DOING} <= known
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[3] / "src" / "agentcoord" / "cli").glob("*.py")
    )
    printed = set(
        re.findall(r'document\(\s*"(agentcoordd?\.[a-z.-]+)"|schema="(agentcoord\.[a-z]+)"', source)
    )
    names = {first or second for first, second in printed}
    names |= {f"agentcoord.{each}" for each in re.findall(r'_tell\(context, "([a-z]+)"', source)}
    assert names - known == set()
    assert {"agentcoord.run", "agentcoord.wait", "agentcoord.kill", "agentcoord.doctor"} <= names


def test_a_plan_fits_its_schema_and_a_wrong_one_does_not(run: Run) -> None:
    schema = json.loads(run("schema", "plan.toml").out)
    plans = Path(__file__).parents[3] / "config" / "plans"
    plan = tomllib.loads((plans / "overnight.toml").read_text(encoding="utf-8"))
    assert misfits(plan, schema) == []
    assert misfits({**plan, "tasks": []}, schema) == ["$.tasks is unknown"]
    task = {"id": "a", "title": "A", "priorty": 5}
    assert misfits({"task": [task]}, schema) == ["$.task[0].priorty is unknown"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("accept", {"tasks": ["a", "b"]}), ("undo", {"tasks": [{"id": "a", **UNDONE}]})],
)
def test_what_is_done_to_all_tasks_fits_the_same_schema(
    run: Run, daemon: CannedDaemon, name: str, answer: dict[str, Any]
) -> None:
    daemon.answers.update(ANSWERS | {name: answer})
    document = json.loads(run(name, "--all", "--json").out)
    assert misfits(document, json.loads(run("schema", f"agentcoord.{name}").out)) == []


def test_the_list_of_all_daemons_fits_its_schema(run: Run, project: Project) -> None:
    project.paths.make()
    known = {"socket": str(project.paths.socket), "root": "/r", "version": "1", "pid": 5}
    project.paths.identity_file.write_text(json.dumps(known), encoding="utf-8")
    document = json.loads(run("status", "--all", "--json", program="agentcoordd").out)
    assert [each["state"] for each in document["daemons"]] == ["crashed"]
    assert misfits(document, json.loads(run("schema", "agentcoordd.status-all").out)) == []


def test_a_daemon_that_does_not_run_fits_too(run: Run) -> None:
    document = json.loads(run("status", "--json", program="agentcoordd").out)
    assert misfits(document, json.loads(run("schema", "agentcoordd.status").out)) == []


def test_the_settings_template_fits_and_a_wrong_key_does_not(run: Run) -> None:
    schema = json.loads(run("schema", "agentcoord.toml").out)
    template = (Path(__file__).parents[3] / "config" / "agentcoord.toml").read_text(encoding="utf-8")
    assert misfits(tomllib.loads(template), schema) == []
    assert misfits({"project": {"scop": []}}, schema) == ["$.project.scop is unknown"]
    assert misfits({"budget": {"run_usd": "6"}}, schema) == ["$.budget.run_usd: '6' is no number"]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("budget", "run_usd", -1),
        ("metrics", "port", 99_999),
        ("redis", "lease_s", 1),
        ("models", "effort", "huge"),
        ("models", "provider", "nobody"),
        ("checks", "on_tamper", "laugh"),
        ("budget", "deadline", "7am"),
        ("notify", "events", ["tea"]),
        ("project", "share", ["/opt/env"]),
        ("project", "share", ["a/../../env"]),
        ("models", "ladder", []),
    ],
)
def test_a_setting_that_is_refused_does_not_fit(
    run: Run, project: Project, section: str, key: str, value: Any
) -> None:
    schema = json.loads(run("schema", "agentcoord.toml").out)
    assert len(misfits({section: {key: value}}, schema)) == 1
    (project.root / "agentcoord.toml").write_text(f"[{section}]\n{key} = {json.dumps(value)}\n")
    refused = run("config")
    assert (refused.code, f"{section}.{key}" in refused.err) == (2, True)


def test_a_line_of_each_log_fits_its_schema(run: Run, tmp_path: Path) -> None:
    event = Event(EventKind.TASK_TOOL, 5, task="a", worker="W", data={"tool": "bash"}, seq=3).to_dict()
    schema = json.loads(run("schema", "agentcoord.logs").out)
    assert misfits(json.loads(json.dumps(event)), schema) == []
    assert misfits({**event, "kind": "task.sung"}, schema) == ["$.kind: 'task.sung'"]
    with logging_to(tmp_path / "log"):
        structlog.get_logger().warning("disk_full", left_mb=5)
        try:
            json.loads("x")
        except ValueError:
            structlog.get_logger().exception("broken")
    lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    schema = json.loads(run("schema", "agentcoordd.logs").out)
    assert [misfits(line, schema) for line in lines] == [[], []]
    assert "exception" in lines[1]
    assert {"event", "level", "timestamp"} <= lines[0].keys() == {*schema["required"], "left_mb"}


def test_a_running_daemon_is_told_in_known_words(run: Run, daemon: CannedDaemon) -> None:
    daemon.answers.update(ANSWERS)
    document = json.loads(run("status", "--json", program="agentcoordd").out)
    schema = json.loads(run("schema", "agentcoordd.status").out)
    assert misfits(document, schema) == []
    assert document.keys() == schema["properties"].keys()


def test_a_schema_that_there_is_not_is_told_with_those_there_are(run: Run) -> None:
    done = run("schema", "agentcoord.nothing")
    assert done.code == 4
    assert "agentcoord.tasks" in done.err
