"""A task as Redis keeps it, to and from the domain's types: the codec of the queue.

A task is a body (the spec as JSON, written once) and a small hash (state and totals). `needs` is in
the hash, not the body: the graph stays as it was first loaded, whatever a person edits later.
Deliberately absent: reading and writing; `queue` and `dispatcher` do it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentcoord.domain.files import LandedFile
from agentcoord.domain.ids import FencingToken, TaskId, WorkerName
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros

COST_FIELD = "cost"
TURNS_FIELD = "turns"
PACKED_FROM_CHARS = 256
"""Shorter bodies stay plain JSON: packing would save nothing."""
_PACKED_MARK = b"\0"
"""What a packed body begins with; a plain one begins with a brace."""
_PACKED_FRAME = (
    b'"],"title":"","writes":[""]}","priority":3,"tags":["testing","backend","docs"],"title":"'
    b'{"budget_usd_micros":null,"check":"python -m pytest -q tests/","description":"'
)
"""What most bodies have in common: packing refers to it. Stored bodies need it as it is: another frame
takes another mark."""
_PACKED_WINDOW_BITS = -12
"""Raw deflate with a window of 4 KB: a small window is quick to set up, and bodies are small."""


@dataclass(frozen=True, slots=True)
class LandedTotals:
    """What `complete` stores of a landing."""

    files_json: str
    lines_added: int
    lines_removed: int


def landed_totals(landed: Sequence[LandedFile]) -> LandedTotals:
    """Sum up a landing."""
    return LandedTotals(
        files_json=json.dumps([file.path for file in landed]),
        lines_added=sum(file.lines_added for file in landed),
        lines_removed=sum(file.lines_removed for file in landed),
    )


def encode_body(spec: TaskSpec) -> str:
    """Return the spec as JSON without its needs, packed when that is shorter; equal specs, equal text.

    Packed text is bytes that the client's surrogate escapes carry, not words for anybody to read.
    """
    raw = spec.to_dict()
    del raw["needs"]
    body = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    if len(body) < PACKED_FROM_CHARS:
        return body
    packer = zlib.compressobj(level=1, wbits=_PACKED_WINDOW_BITS, memLevel=5, zdict=_PACKED_FRAME)
    packed = _PACKED_MARK + packer.compress(body.encode()) + packer.flush()
    return packed.decode(errors="surrogateescape") if len(packed) < len(body) else body


def decode_body(body: str) -> dict[str, Any]:
    """Read what `encode_body` wrote."""
    if not body.startswith("{"):
        packed = body.encode(errors="surrogateescape")[len(_PACKED_MARK) :]
        body = zlib.decompressobj(_PACKED_WINDOW_BITS, zdict=_PACKED_FRAME).decompress(packed).decode()
    raw: dict[str, Any] = json.loads(body)
    return raw


def decode_task(body: str, fields: Mapping[str, str]) -> Task:
    """Build a task from its body and its hash."""
    raw = decode_body(body)
    raw["needs"] = [need for need in fields.get("needs", "").split(",") if need]
    return Task(
        spec=TaskSpec.from_dict(raw),
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
    )


def decode_usage(fields: Mapping[str, str], prefix: str = "") -> Usage:
    """Read the five kinds of tokens from fields named `prefix` + kind; missing ones are 0."""
    counts = {kind: int(fields[prefix + kind]) for kind in Usage.__slots__ if prefix + kind in fields}
    return Usage(**counts) if counts else NO_USAGE


def usage_args(usage: Usage) -> list[str | int]:
    """Return kind, count, kind, count ... as scripts take it."""
    return [item for pair in usage.to_dict().items() for item in pair]


def pairs_to_dict(flat: Sequence[str]) -> dict[str, str]:
    """Turn the flat list that HGETALL gives inside a script into a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def needs_of(spec: TaskSpec) -> tuple[TaskId, ...]:
    """The needs of a spec, each once."""
    return tuple(dict.fromkeys(spec.needs))


def _optional_int(text: str | None) -> int | None:
    return None if text is None else int(text)
