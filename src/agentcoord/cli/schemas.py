"""JSON Schema (draft 2020-12) of what the reading commands print with `--json`, and of the settings.

Made from the types that the daemon builds its answers with, so that it cannot say anything else.
Deliberately absent: plans, whose rules no schema can tell (`agentcoord load` tells them with lines).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from agentcoord.config.load import PERSONAL, SECTIONS
from agentcoord.domain.worker import Role
from agentcoord.wire import messages

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_DAEMON_STATUS_KEYS: Final = ("state", "socket", "version")


def schema_of(hint: Any) -> dict[str, Any]:
    """The schema of a value of this type: TypedDicts, lists, dictionaries, unions and plain values."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint)
        return {
            "type": "object",
            "properties": {name: schema_of(each) for name, each in hints.items()},
            "required": sorted(hint.__required_keys__),
        }
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(each) for each in inner]}
    return {"type": "null"} if hint is type(None) else {}


def document_schemas() -> dict[str, dict[str, Any]]:
    """By the name in each document's `"schema"`, without its version."""
    number_or_null = schema_of(float | None)
    extra = {"cap": number_or_null, "forecast": number_or_null}
    status = schema_of(messages.StatusView)
    bodies: dict[str, dict[str, Any]] = {
        "agentcoord.status": {**status, "properties": {**status["properties"], **extra}},
        "agentcoord.tasks": _holding(tasks=list[messages.TaskView | messages.DeadTaskView]),
        "agentcoord.workers": _holding(workers=list[messages.WorkerView]),
        "agentcoord.locks": _holding(locks=list[messages.LockView]),
        "agentcoord.costs": schema_of(messages.CostsView),
        "agentcoord.stats": schema_of(messages.StatsView),
        "agentcoordd.status": {
            "type": "object",
            "properties": {
                **{key: {"type": "string"} for key in _DAEMON_STATUS_KEYS},
                "pid": schema_of(int | None),
                "started_at": schema_of(int | None),
            },
            "required": ["pid", "socket", "started_at", "state", "version"],
        },
    }
    return {name: _document(name, body) for name, body in bodies.items()}


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
        each.name: schema_of(hints[each.name])
        for each in dataclasses.fields(section)
        if f"{name}.{each.name}" not in PERSONAL and each.name != "commands"
    }
    others: Any = {"type": "string"} if name == "checks" else False  # Any name there is a command.
    return {"type": "object", "properties": keys, "additionalProperties": others}


def _holding(**parts: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema_of(each) for name, each in parts.items()},
        "required": sorted(parts),
    }


def _document(name: str, body: dict[str, Any]) -> dict[str, Any]:
    properties = {"schema": {"const": f"{name}/1"}, **body["properties"]}
    return {
        "$schema": DIALECT,
        "title": name,
        **body,
        "properties": properties,
        "required": sorted([*body["required"], "schema"]),
    }
