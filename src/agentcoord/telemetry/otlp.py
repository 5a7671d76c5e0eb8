"""Spans as the bytes of an OTLP request, in protobuf's binary form: what every collector reads.

Written by hand because the message is small and settled
(https://github.com/open-telemetry/opentelemetry-proto, v1), while OpenTelemetry's SDK costs a tenth of a
second at every start of whatever imports redis beside it, tracing or not. The tests read what this writes
with the official message classes. Pure. Deliberately absent: sending (`otlp_http`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from agentcoord.telemetry.spans import Attribute, Span

SCOPE: Final = "agentcoord"
_MASK_64: Final = (1 << 64) - 1


class _Wire(IntEnum):
    """How a field is written."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2


class _SpanKind(IntEnum):
    INTERNAL = 1
    CLIENT = 3


_STATUS_ERROR: Final = 2


def encode_request(spans: Iterable[Span], resource: Mapping[str, str], version: str) -> bytes:
    """Return an `ExportTraceServiceRequest` with these spans; `resource` says who sends them."""
    scope = _text(1, SCOPE) + _text(2, version)
    scope_spans = _message(1, scope) + b"".join(_message(2, _span(span)) for span in spans)
    resource_spans = _message(1, _attributes(1, resource)) + _message(2, scope_spans)
    return _message(1, resource_spans)


def _span(span: Span) -> bytes:
    parts = [
        _bytes(1, span.trace_id.to_bytes(16)),
        _bytes(2, span.span_id.to_bytes(8)),
        _bytes(4, span.parent_id.to_bytes(8)) if span.parent_id else b"",
        _text(5, span.name),
        _number(6, _SpanKind.CLIENT if span.is_client else _SpanKind.INTERNAL),
        _tag(7, _Wire.FIXED64) + struct.pack("<Q", span.start_ns),
        _tag(8, _Wire.FIXED64) + struct.pack("<Q", span.end_ns),
        _attributes(9, span.attributes),
        _message(15, _text(2, span.error) + _number(3, _STATUS_ERROR)) if span.error else b"",
    ]
    return b"".join(parts)


def _attributes(field: int, attributes: Mapping[str, Attribute]) -> bytes:
    return b"".join(
        _message(field, _text(1, key) + _message(2, _value(value))) for key, value in attributes.items()
    )


def _value(value: Attribute) -> bytes:
    match value:
        case bool():  # Before `int`, of which it is a kind.
            return _number(2, int(value))
        case str():
            return _text(1, value)
        case int():
            return _number(3, value)
        case float():
            return _tag(4, _Wire.FIXED64) + struct.pack("<d", value)
        case _:
            return _message(5, b"".join(_message(1, _text(1, each)) for each in value))


def _text(field: int, text: str) -> bytes:
    # A name of a file that is no UTF-8 has lone surrogates, which no collector reads.
    return _bytes(field, text.encode("utf-8", "backslashreplace"))


def _message(field: int, body: bytes) -> bytes:
    return _bytes(field, body)


def _bytes(field: int, body: bytes) -> bytes:
    return _tag(field, _Wire.BYTES) + _varint(len(body)) + body


def _number(field: int, value: int) -> bytes:
    return _tag(field, _Wire.VARINT) + _varint(value & _MASK_64)


def _tag(field: int, wire: _Wire) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first; all but the last with the high bit set."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
