"""JSON Schema (draft 2020-12) of what commands print with `--json`.

Made from the types that the daemon builds its answers with, so that it cannot say anything else.
Deliberately absent: the files that a person writes, which are in `file_schemas`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.review.report.facts import Night, Timeline
from agentcoord.wire import answers, messages, task_views

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_OPTIONAL: Final[Any] = typing.NotRequired


def schema_of(hint: Any) -> dict[str, Any]:
    """The schema of a value of this type: TypedDicts, dataclasses, lists, unions and plain values."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [str(each) for each in hint]}
    if dataclasses.is_dataclass(hint):
        return _fields_of(hint)
    if typing.is_typeddict(hint):
        # Not `__required_keys__`: annotations that are texts hide `NotRequired` from it.
        hints = typing.get_type_hints(hint, include_extras=True)
        return {
            "type": "object",
            "properties": {name: schema_of(each) for name, each in hints.items()},
            "required": sorted(n for n, each in hints.items() if typing.get_origin(each) is not _OPTIONAL),
        }
    if typing.get_origin(hint) is _OPTIONAL:
        return schema_of(typing.get_args(hint)[0])
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(each) for each in inner]}
    return {"type": "null"} if hint is type(None) else {}


def _fields_of(kind: Any) -> dict[str, Any]:
    """Of a dataclass, as `asdict` makes it an object."""
    hints = typing.get_type_hints(kind)
    return _holding(**{each.name: hints[each.name] for each in dataclasses.fields(kind)})


def document_schemas() -> dict[str, dict[str, Any]]:
    """By the name in each document's `"schema"`, without its version."""
    number_or_null = schema_of(float | None)
    extra = {"cap": number_or_null, "forecast": number_or_null}
    status = schema_of(messages.StatusView)
    bodies: dict[str, dict[str, Any]] = {
        "agentcoord.status": {**status, "properties": {**status["properties"], **extra}},
        "agentcoord.tasks": _holding(tasks=list[messages.TaskView | task_views.DeadTaskView]),
        "agentcoord.workers": _holding(workers=list[messages.WorkerView]),
        "agentcoord.locks": _holding(locks=list[task_views.LockView]),
        "agentcoord.costs": schema_of(answers.CostsView),
        "agentcoord.stats": schema_of(answers.StatsView),
        "agentcoordd.status": schema_of(_DaemonStatus),
    }
    bodies |= _other_documents()
    return {name: _document(name, body) for name, body in bodies.items()}


def _other_documents() -> dict[str, dict[str, Any]]:
    """Of the commands that do something, or ask about one thing."""
    loaded = schema_of(answers.LoadView)
    ending = _holding(
        exit_code=int, status=messages.StatusView, tasks=list[messages.TaskView], stats=answers.StatsView
    )
    detached = {"anyOf": [ending, loaded]}
    task_state = _holding(id=str, state=str)
    setting = {
        "type": "object",
        "properties": {"key": {"type": "string"}, "value": {}, "origin": {"type": "string"}},
        "required": ["key", "origin", "value"],
    }
    config = _holding(settings=list[dict[str, str]], workers=list[_Worker])
    config["properties"]["settings"]["items"] = setting
    return {
        "agentcoord.task": schema_of(task_views.TaskDetail),
        "agentcoord.diff": _holding(id=str, patch=str, runs_here=list[str]),
        "agentcoord.blame": _holding(path=str, lines=list[_NumberedLine]),
        "agentcoord.load": loaded,
        "agentcoord.add": _with(loaded, id=str),
        "agentcoord.wait": ending,
        "agentcoord.run": detached,
        "agentcoord.rehearse": detached,
        "agentcoord.plan.check": _holding(source=str, tasks=list[str], notes=list[str]),
        "agentcoord.plan.draft": _with(schema_of(answers.DraftView), path=str),
        "agentcoord.spawn": _holding(workers=list[str]),
        "agentcoord.kill": _holding(killed=list[str]),
        "agentcoord.retry": task_state,
        "agentcoord.cancel": task_state,
        "agentcoord.land": task_state,
        "agentcoord.answer": _holding(id=str),
        "agentcoord.reject": schema_of(answers.RejectView),
        "agentcoord.undo": {"anyOf": [schema_of(answers.UndoView), _holding(tasks=list[answers.UndoView])]},
        "agentcoord.accept": {"anyOf": [_holding(id=str, review=str), _holding(tasks=list[str])]},
        "agentcoord.report": _report(),
        "agentcoord.commit": schema_of(_Commits),
        "agentcoord.nights": _holding(nights=list[_Night]),
        "agentcoord.pause": _holding(paused=bool),
        "agentcoord.resume": _holding(paused=bool),
        "agentcoord.drain": _holding(draining=bool),
        "agentcoord.cleanup": schema_of(answers.CleanupView),
        "agentcoord.init": _holding(path=str, scope=list[str], checks=dict[str, str], notes=list[str]),
        "agentcoord.config": config,
        "agentcoord.adopt": _holding(root=str, state_dir=str, set_aside=str | None),
        "agentcoord.doctor": _holding(findings=list[_Finding], mended=list[_Mended]),
        "agentcoordd.start": _holding(pid=int, socket=str, log=str),
        "agentcoordd.status-all": _holding(daemons=list[_Daemon]),
    }


def line_schemas() -> dict[str, dict[str, Any]]:
    """Of the commands that print a JSON object a line: of one line, which bears no `"schema"`."""
    event = _holding(at_ms=int, task=str | None, worker=str | None, seq=int, kind=EventKind)
    event["properties"]["data"] = {"type": "object"}
    lines = {"agentcoord.logs": event, "agentcoordd.logs": schema_of(_LogLine)}
    return {name: {"$schema": DIALECT, "title": f"a line of {name}", **body} for name, body in lines.items()}


def _report() -> dict[str, Any]:
    """The facts of a night, and what `document_of` computes of them."""
    facts = _with(
        _fields_of(Night),
        headline=_Headline,
        runs_here=list[_RunsHere],
        usd_per_landed_task=float | None,
        usd_on_failures=float,
    )
    timeline = _with(_fields_of(Timeline), busy_ms=int, waiting_ms=int, idle_ms=int)
    facts["properties"]["timeline"] = {"anyOf": [timeline, {"type": "null"}]}
    return facts


class _Headline(typing.TypedDict):
    outcome: str
    proof: str
    price: str


class _RunsHere(typing.TypedDict):
    path: str
    tasks: list[str]


class _DaemonStatus(typing.TypedDict):
    """What a stopped one does not know is left out."""

    pid: int | None
    state: str
    socket: str
    version: str
    started_at: int | None
    state_dir: typing.NotRequired[str]
    project: typing.NotRequired[messages.ProjectView]
    model_source: typing.NotRequired[str]
    sandbox: typing.NotRequired[str]


class _LogLine(typing.TypedDict):
    """And whatever else is told of the event, each by its name."""

    event: str
    level: str
    timestamp: str
    """ISO 8601, in UTC."""
    exception: typing.NotRequired[str]


class _Daemon(typing.TypedDict):
    state: str
    pid: int | None
    version: str
    root: str
    socket: str


class _Worker(typing.TypedDict):
    name: str
    role: str
    tags: list[str]


class _NumberedLine(answers.BlamedLineView):
    line: int


class _Commit(typing.TypedDict):
    task: str
    commit: str
    files: list[str]


class _WouldCommit(typing.TypedDict):
    task: str
    files: list[str]
    message: str


class _Commits(typing.TypedDict):
    commits: list[_Commit]
    would: typing.NotRequired[list[_WouldCommit]]
    """Only with `--dry-run`."""


class _Night(typing.TypedDict):
    run: str
    began_at: int
    ended_at: int
    counts: dict[str, int]
    spent_usd: float
    bytes: int
    path: str


class _Finding(typing.TypedDict):
    name: str
    verdict: str
    words: str
    mend: str
    fixable: bool


class _Mended(typing.TypedDict):
    name: str
    words: str
    error: str


def _holding(**parts: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema_of(each) for name, each in parts.items()},
        "required": sorted(parts),
    }


def _with(body: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A document with further parts."""
    more = _holding(**parts)
    return {
        **body,
        "properties": {**body["properties"], **more["properties"]},
        "required": sorted([*body["required"], *more["required"]]),
    }


def _document(name: str, body: dict[str, Any]) -> dict[str, Any]:
    properties = {"schema": {"const": f"{name}/1"}, **body.get("properties", {})}
    return {
        "$schema": DIALECT,
        "title": name,
        **body,
        "properties": properties,
        "required": sorted([*body.get("required", []), "schema"]),
    }
