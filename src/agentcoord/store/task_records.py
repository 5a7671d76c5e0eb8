"""A task as Redis keeps it, to and from the domain's types: the codec of the queue.

A task is a body (the spec, written once: `task_bodies`) and a small hash (state and totals).
Deliberately absent: reading and writing; `queue` and `dispatcher` do it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from agentcoord.domain.files import FileLines, LandedFile
from agentcoord.domain.ids import FencingToken, TaskId, WorkerName
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import OnNeedFailed, Task, TaskSpec
from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros
from agentcoord.store.setback_records import EARLIER_SETBACK_PREFIX, SETBACK_PREFIX, setbacks_of
from agentcoord.store.task_bodies import decode_body, split_body

COST_FIELD = "cost"
TURNS_FIELD = "turns"
RULE_FIELD = "onfail"
"""What becomes of it when a need ends without a result; only there when it is not the usual."""


def landed_fields(landed: Sequence[LandedFile | FileLines]) -> list[str | int]:
    """Return what `complete` stores of a landing, field and value in turn; nothing of one without files."""
    return counted_fields(landed) if landed else []


def counted_fields(landed: Sequence[LandedFile | FileLines]) -> list[str | int]:
    """Return the files of a landing and their lines, field and value in turn."""
    return [
        "files",
        json.dumps([file.path for file in landed]),
        "lines_added",
        sum(file.lines_added for file in landed),
        "lines_removed",
        sum(file.lines_removed for file in landed),
    ]


def decode_task(body: bytes, fields: Mapping[str, str]) -> Task:
    """Build a task from its body, with or without what stands before it, and its hash."""
    spec = decode_body(split_body(body)[2], decode_needs(fields.get("needs", "")))
    if (rule := fields.get(RULE_FIELD)) is not None:
        spec = replace(spec, on_need_failed=OnNeedFailed(rule))
    return Task(
        spec=spec,
        state=TaskState(fields["state"]),
        attempt=int(fields.get("attempt", 0)),
        worker=WorkerName(fields["worker"]) if "worker" in fields else None,
        token=FencingToken(int(fields["token"])) if "token" in fields else None,
        why=fields.get("why", ""),
        open_needs=int(fields.get("open", 0)),
        review=ReviewState(fields.get("review", ReviewState.UNREVIEWED)),
        cost_usd_micros=UsdMicros(int(fields.get(COST_FIELD, 0))),
        usage=decode_usage(fields),
        turns=int(fields.get(TURNS_FIELD, 0)),
        files=tuple(json.loads(fields.get("files", "[]"))),
        lines_added=int(fields.get("lines_added", 0)),
        lines_removed=int(fields.get("lines_removed", 0)),
        queued_at_ms=int(fields.get("queued_at", 0)),
        started_at_ms=_optional_int(fields.get("started_at")),
        ended_at_ms=_optional_int(fields.get("ended_at")),
        setback=fields.get("setback", ""),
        setbacks=setbacks_of(fields, SETBACK_PREFIX),
        earlier_setbacks=setbacks_of(fields, EARLIER_SETBACK_PREFIX),
        due_at_ms=_optional_int(fields.get("due")),
        dead_need=TaskId(fields["cause"]) if "cause" in fields else None,
    )


def decode_needs(csv: str) -> tuple[TaskId, ...]:
    """Read the `needs` of a task's hash."""
    return tuple(TaskId(need) for need in csv.split(",")) if csv else ()


def decode_usage(fields: Mapping[str, str], prefix: str = "") -> Usage:
    """Read the five kinds of tokens from fields named `prefix` + kind; missing ones are 0."""
    counts = {kind: int(fields[prefix + kind]) for kind in Usage.__slots__ if prefix + kind in fields}
    return Usage(**counts) if counts else NO_USAGE


def usage_args(usage: Usage) -> list[str | int]:
    """Return kind, count, kind, count ... as scripts take it."""
    return [item for pair in usage.to_dict().items() for item in pair]


def decode_pairs(flat: Sequence[bytes]) -> dict[str, str]:
    """Turn the flat list that HGETALL gives inside a script into a mapping."""
    words = [word.decode(errors="surrogateescape") for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def needs_of(spec: TaskSpec) -> tuple[TaskId, ...]:
    """The needs of a spec, each once."""
    return tuple(dict.fromkeys(spec.needs))


def _optional_int(text: str | None) -> int | None:
    return None if text is None else int(text)
