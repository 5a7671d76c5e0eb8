"""The line codec: whatever is encoded comes back, however it is cut; whatever is not ours is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.errors import WireError
from agentcoord.wire.codec import (
    Failure,
    Frame,
    FrameDecoder,
    Malformed,
    Notice,
    Request,
    Result,
    decode_line,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)
from agentcoord.wire.messages import FRAME_BYTES, RpcCode

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)
ids = st.integers() | st.text()
messages: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Request, ids, st.text(), json_objects),
    st.builds(Notice, st.text(), json_objects),
    st.builds(Result, ids, json_objects),
    st.builds(Failure, ids | st.none(), st.integers(-40000, 40000), st.text(), json_objects),
)


def encode(message: Frame) -> bytes:
    match message:
        case Request(request_id, method, params):
            return encode_request(request_id, method, params)
        case Notice(method, params):
            return encode_notification(method, params)
        case Result(request_id, result):
            return encode_result(request_id, result)
        case Failure(request_id, code, words, data):
            return encode_error(request_id, code, words, data)  # type: ignore[arg-type]  # any object travels
        case Malformed():
            raise AssertionError("nobody sends those")


@given(st.lists(messages, max_size=6), st.data())
def test_messages_come_back_equal_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(m) for m in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = FrameDecoder()
    received: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += decoder.feed(stream[start:end])
    assert received == sent
    assert decoder.pending_bytes == 0


@given(st.lists(messages, max_size=3))
def test_every_message_is_one_line(sent: list[Frame]) -> None:
    for message in sent:
        assert encode(message).count(b"\n") == 1


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_no_bytes_whatever_raise_or_are_kept_past_the_bound(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(max_bytes=64)
    for chunk in chunks:
        decoder.feed(chunk)
        assert decoder.pending_bytes <= 64


@pytest.mark.parametrize("cut", [1, 63, 64, 65, 200])
def test_a_line_that_is_too_long_is_reported_once_and_the_next_one_is_read(cut: int) -> None:
    decoder = FrameDecoder(max_bytes=64)
    stream = b'{"x":"' + b"a" * 300 + b'"}\n' + encode_notification("ok", {})
    frames: list[Frame] = []
    for start in range(0, len(stream), cut):
        frames += decoder.feed(stream[start : start + cut])
    assert frames == [
        Malformed(RpcCode.INVALID_REQUEST, "a line is longer than 64 bytes"),
        Notice("ok", {}),
    ]


def test_the_bound_counts_the_newline() -> None:
    line = encode_notification("ok", {})
    assert FrameDecoder(max_bytes=len(line)).feed(line) == [Notice("ok", {})]
    (frame,) = FrameDecoder(max_bytes=len(line) - 1).feed(line)
    assert isinstance(frame, Malformed)


def test_empty_lines_and_carriage_returns_are_passed_over() -> None:
    assert FrameDecoder().feed(b'\n\r\n  \n{"jsonrpc":"2.0","method":"a"}\r\n') == [Notice("a", {})]


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"not json", RpcCode.PARSE, None),
        (b"\xff\xfe", RpcCode.PARSE, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}', RpcCode.PARSE, None),
        (b"[" * 200_000, RpcCode.PARSE, None),
        (b"[]", RpcCode.INVALID_REQUEST, None),
        (b'{"id":1,"method":"a"}', RpcCode.INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":true,"method":"a"}', RpcCode.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"a"}', RpcCode.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"a"}', RpcCode.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":7,"method":3}', RpcCode.INVALID_REQUEST, 7),
        (b'{"jsonrpc":"2.0","id":"x","method":"a","params":[1]}', RpcCode.INVALID_PARAMS, "x"),
        (b'{"jsonrpc":"2.0","id":7}', RpcCode.INVALID_REQUEST, 7),
        (b'{"jsonrpc":"2.0","id":7,"result":3}', RpcCode.INVALID_REQUEST, 7),
        (b'{"jsonrpc":"2.0","id":7,"error":"no"}', RpcCode.INVALID_REQUEST, 7),
    ],
)
def test_a_line_that_breaks_the_protocol_names_the_code_to_answer_with(
    line: bytes, code: RpcCode, request_id: object
) -> None:
    frame = decode_line(line)
    assert isinstance(frame, Malformed)
    assert (frame.code, frame.id) == (code, request_id)


def test_a_file_name_that_is_no_utf8_survives_the_trip_as_plain_ascii() -> None:
    name = b"caf\xe9.py".decode("utf-8", "surrogateescape")
    line = encode_notification("x", {"path": name})
    assert json.loads(line.decode("ascii"))["params"]["path"] == name
    assert FrameDecoder().feed(line) == [Notice("x", {"path": name})]


def test_an_answer_about_thousands_of_files_with_long_names_tells_of_those_that_fit() -> None:
    files = [f"{'d' * 200}/{'e' * 200}/{number}.py" for number in range(2_000)]
    events = [{"seq": number, "data": {"files": files, "ok": True}} for number in range(40)]
    line = encode_result(1, {"task": {"id": "one", "files": files, "runs_here": []}, "events": events})
    assert len(line) <= FRAME_BYTES
    told = json.loads(line)["result"]
    shown = len(told["task"]["files"])
    assert 30 < shown < 2_000
    assert told["task"] == {"id": "one", "files": files[:shown], "runs_here": []}
    assert [each["data"] for each in told["events"]] == [{"files": files[:shown], "ok": True}] * 40


def test_of_what_is_too_long_no_list_of_files_becomes_empty_and_no_other_list_shorter() -> None:
    undone = [
        {"restored": ["x" * 90] * 40, "conflicts": [f"{number}/" + "\u6587" * 120]} for number in range(300)
    ]
    task = {"needs": ["y" * 60] * 20, "writes": [f"src/{'z' * 60}/**"] * 20}
    told = json.loads(encode_result(1, {"tasks": [task], "undone": undone}))["result"]
    assert told["tasks"] == [task]
    assert [each["conflicts"] for each in told["undone"]] == [each["conflicts"] for each in undone]
    assert {len(each["restored"]) for each in told["undone"]} <= set(range(1, 40))


def test_lists_of_a_message_that_fits_are_left_alone() -> None:
    params = {"files": ["x" * 1_000] * 1_000, "pair": ("a", 1)}
    assert json.loads(encode_notification("x", params))["params"] == {**params, "pair": ["a", 1]}


def test_a_message_past_the_frame_bound_is_refused_where_it_is_made() -> None:
    with pytest.raises(WireError, match=str(FRAME_BYTES)):
        encode_result(1, {"text": "x" * FRAME_BYTES})
