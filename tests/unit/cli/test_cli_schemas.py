"""The printed schemas, held against what the commands really print."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Run
from canned_views import ANSWERS

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


def test_a_daemon_that_does_not_run_fits_too(run: Run) -> None:
    document = json.loads(run("status", "--json", program="agentcoordd").out)
    assert misfits(document, json.loads(run("schema", "agentcoordd.status").out)) == []


def test_the_settings_template_fits_and_a_wrong_key_does_not(run: Run) -> None:
    schema = json.loads(run("schema", "agentcoord.toml").out)
    template = (Path(__file__).parents[3] / "config" / "agentcoord.toml").read_text(encoding="utf-8")
    assert misfits(tomllib.loads(template), schema) == []
    assert misfits({"project": {"scop": []}}, schema) == ["$.project.scop is unknown"]
    assert misfits({"budget": {"run_usd": "6"}}, schema) == ["$.budget.run_usd: '6' is no number"]


def test_a_schema_that_there_is_not_is_told_with_those_there_are(run: Run) -> None:
    done = run("schema", "agentcoord.nothing")
    assert done.code == 4
    assert "agentcoord.tasks" in done.err
