"""JSON read and written by msgspec, several times as fast as by the standard library, to the same effect.

Separate from `codec` because importing msgspec costs more than a command that asks one thing takes:
`call` reads with the standard library, and who listens for hours hands `read_json` to the decoder.
What msgspec refuses is read again by the standard library, whose word counts: half a surrogate pair
in a file's name is no error, and what is one is told in the same words. Likewise for writing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from agentcoord.wire import codec
from agentcoord.wire.codec import RequestId
from agentcoord.wire.protocol import FRAME_BYTES

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def read_json(line: bytes) -> Any:
    """What a line spells. Raises ValueError when it is not JSON, RecursionError when it nests too deep."""
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return codec.read_json(line)


def encode_notification(method: str, params: Mapping[str, Any]) -> bytes:
    """Return the line that tells `method`, as `codec.encode_notification` does."""
    line = _line({"jsonrpc": "2.0", "method": str(method), "params": params})
    return codec.encode_notification(method, params) if line is None else line


def encode_result(request_id: RequestId, result: Mapping[str, Any]) -> bytes:
    """Return the line that answers `request_id`, as `codec.encode_result` does."""
    line = _line({"jsonrpc": "2.0", "id": request_id, "result": result})
    return codec.encode_result(request_id, result) if line is None else line


def most_bytes_of(value: Mapping[str, Any]) -> int:
    """How many bytes a line takes for `value` at most, also where something beside it has all escaped."""
    try:
        line = _encoder.encode(value)
    except (ValueError, TypeError):
        return len(json.dumps(value))
    return len(line) if line.isascii() else len(json.dumps(value))


def _line(message: Mapping[str, Any]) -> bytes | None:
    """The line, or None where `codec` knows better."""
    try:
        line = _encoder.encode(message) + b"\n"
    except (ValueError, TypeError):  # Half a surrogate pair travels as an escape; odd types are its affair.
        return None
    return line if len(line) <= FRAME_BYTES else None
