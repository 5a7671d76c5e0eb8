"""JSON Schema (draft 2020-12) of the files that a person writes: the settings, and a plan.

Deliberately absent: those rules of a plan that no schema can tell (cycles, unknown needs): `agentcoord plan
check` tells them with lines.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from agentcoord.cli.schemas import DIALECT, document_schemas, line_schemas, schema_of
from agentcoord.config.bounds import BOUNDS, CHOICES, FOLDER_INSIDE, NOTICES, TIME_OF_DAY
from agentcoord.config.load import PERSONAL, SECTIONS
from agentcoord.domain.ids import TASK_ID_PATTERN
from agentcoord.domain.task import PRIORITIES, OnNeedFailed
from agentcoord.domain.worker import Role


def all_schemas() -> dict[str, dict[str, Any]]:
    """Every schema that there is, by its name."""
    files = {"agentcoord.toml": settings_schema(), "plan.toml": plan_schema()}
    return {**document_schemas(), **line_schemas(), **files}


def plan_schema() -> dict[str, Any]:
    """The schema of a plan in TOML, read as JSON."""
    texts = {"type": "array", "items": {"type": "string", "minLength": 1}}
    rule = {"enum": [str(each) for each in OnNeedFailed]}
    task_id = {"type": "string", "pattern": f"^{TASK_ID_PATTERN.pattern}$"}
    task = {
        "type": "object",
        "properties": {
            "id": task_id,
            "title": {"type": "string", "minLength": 1},
            "description": {"type": "string"},
            "priority": {"type": "integer", "minimum": PRIORITIES[0], "maximum": PRIORITIES[-1]},
            "tags": texts,
            "needs": {"type": "array", "items": task_id},
            "writes": texts,
            "check": {"type": "string"},
            "budget_usd": {"type": "number", "exclusiveMinimum": 0},
            "budget_tokens": {"type": "integer", "exclusiveMinimum": 0},
            "on_need_failed": rule,
        },
        "required": ["id", "title"],
        "additionalProperties": False,
    }
    head = {"name": {"type": "string"}, "description": {"type": "string"}, "on_need_failed": rule}
    return {
        "$schema": DIALECT,
        "title": "a plan",
        "type": "object",
        "properties": {
            "plan": {"type": "object", "properties": head, "additionalProperties": False},
            "task": {"type": "array", "items": task, "minItems": 1},
        },
        "required": ["task"],
        "additionalProperties": False,
    }


def settings_schema() -> dict[str, Any]:
    """The schema of `agentcoord.toml`, read as JSON."""
    sections: dict[str, Any] = {name: _section(name, section) for name, section in SECTIONS.items()}
    worker = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "role": {"enum": [str(role) for role in Role]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "role"],
        "additionalProperties": False,
    }
    sections["worker"] = {"type": "array", "items": worker}
    return {
        "$schema": DIALECT,
        "title": "agentcoord.toml",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
    }


def _section(name: str, section: type) -> dict[str, Any]:
    hints = typing.get_type_hints(section)
    assert dataclasses.is_dataclass(section)
    keys = {
        each.name: _setting(name, each.name, schema_of(hints[each.name]))
        for each in dataclasses.fields(section)
        if f"{name}.{each.name}" not in PERSONAL and each.name != "commands"
    }
    others: Any = {"type": "string"} if name == "checks" else False  # Any name there is a command.
    return {"type": "object", "properties": keys, "additionalProperties": others}


def _setting(section: str, key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a setting, with what its type does not say."""
    if "anyOf" in schema:
        return {"anyOf": [_setting(section, key, each) for each in schema["anyOf"]]}
    if (section, key) in BOUNDS and schema["type"] in ("integer", "number"):
        least, most = BOUNDS[section, key]
        return {**schema, "minimum": least, "maximum": most}
    if (section, key) in CHOICES:
        return {"enum": list(CHOICES[section, key])}
    if (section, key) == ("notify", "events"):
        return {"type": "array", "items": {"enum": list(NOTICES)}}
    if (section, key) == ("budget", "deadline"):
        return {**schema, "pattern": f"^({TIME_OF_DAY})?$"}
    if (section, key) == ("project", "share"):
        return {"type": "array", "items": {"type": "string", "pattern": f"^{FOLDER_INSIDE}$"}}
    if (section, key) == ("models", "ladder"):
        return {**schema, "minItems": 1}
    return schema
