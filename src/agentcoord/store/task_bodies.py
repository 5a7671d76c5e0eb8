"""The part of a task that a plan wrote, as Redis keeps it: one short string a task.

Separate from the rest of the record because it is most of a queue's memory and most of a claim's cost:
it is packed, and read in C. A body is a JSON array in the order of `_Body`, from 256 bytes on as a
Zstandard frame behind a mark, when that is shorter. `needs` are not in it: the graph stays as it was
first loaded, whatever a person edits later. Before the body of a task whose hash no claim has to look up,
the scripts put a line of two words: when it was queued, and its needs.
"""

from __future__ import annotations

import json

import msgspec
import zstandard

from agentcoord.domain.ids import TaskId
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import UsdMicros

PACKED_FROM_BYTES = 256
"""Shorter bodies stay plain JSON: packing would save nothing."""
_PACKED_MARK = b"\0"
"""What a packed body begins with; a plain one begins with a bracket."""
_DIGITS = b"0123456789"
"""What the line before a body begins with."""
_PACKED_FRAME = b'"],"python -m pytest -q tests/"],[",3,["testing"],["backend"],["docs"],["'
"""What most bodies have in common: packing refers to it. Stored bodies need it as it is: another frame
takes another mark."""
_FRAME = zstandard.ZstdCompressionDict(_PACKED_FRAME, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_LEVEL = 6
MOST_BYTES = 1 << 24
"""Longer bodies than this are not read: nobody wrote them."""


class _Body(msgspec.Struct, array_like=True, frozen=True):
    """A spec without its needs, read by position: new fields go to the end, with a default."""

    id: TaskId
    title: str
    description: str
    priority: int
    tags: tuple[str, ...]
    writes: tuple[str, ...]
    check: str
    budget_usd_micros: UsdMicros | None
    budget_tokens: int | None = None
    """Left out where there is none, so that plans that do not set it pack to the bytes that are stored."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Body)
_packer = zstandard.ZstdCompressor(
    dict_data=_FRAME,
    compression_params=zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    ),
)
_unpacker = zstandard.ZstdDecompressor(dict_data=_FRAME, format=zstandard.FORMAT_ZSTD1_MAGICLESS)


def encode_body(spec: TaskSpec) -> bytes:
    """Return the spec without its needs, packed when that is shorter; equal specs, equal bytes."""
    body: tuple[object, ...] = (
        spec.id,
        spec.title,
        spec.description,
        spec.priority,
        spec.tags,
        spec.writes,
        spec.check,
        spec.budget_usd_micros,
    )
    if spec.budget_tokens is not None:
        body += (spec.budget_tokens,)
    try:
        plain = _encoder.encode(body)
    except UnicodeEncodeError:  # Half a surrogate pair: JSON can escape it, UTF-8 cannot say it.
        plain = json.dumps(body, separators=(",", ":")).encode()
    if len(plain) < PACKED_FROM_BYTES:
        return plain
    packed = _PACKED_MARK + _packer.compress(plain)
    return packed if len(packed) < len(plain) else plain


def split_body(stored: bytes) -> tuple[bytes, bytes, bytes]:
    """Return when it was queued (ms), its needs, and the body; empty where the first two do not stand."""
    if not stored or stored[0] not in _DIGITS:
        return b"", b"", stored
    line, _, body = stored.partition(b"\n")
    queued_at, _, needs = line.partition(b" ")
    return queued_at, needs, body


def decode_body(stored: bytes, needs: tuple[TaskId, ...] = ()) -> TaskSpec:
    """Read what `encode_body` wrote. Raises ValueError for anything else."""
    if stored[:1] == _PACKED_MARK:
        try:
            stored = _unpacker.decompress(stored[1:], max_output_size=MOST_BYTES)
        except zstandard.ZstdError as error:
            raise ValueError(f"a stored task cannot be unpacked: {error}") from error
    try:
        body = _decoder.decode(stored)
    except msgspec.DecodeError:
        body = msgspec.convert(json.loads(stored), _Body)
    return TaskSpec(
        body.id,
        body.title,
        body.description,
        body.priority,
        body.tags,
        needs,
        body.writes,
        body.check,
        body.budget_usd_micros,
        body.budget_tokens,
    )
