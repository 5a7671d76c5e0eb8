"""The quick way of reading and writing lines means what the standard library's way means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.errors import WireError
from agentcoord.wire import codec, quick_json
from agentcoord.wire.codec import FrameDecoder, Notice, Result
from agentcoord.wire.messages import FRAME_BYTES

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_either_writes_what_either_reads(params: dict[str, Any]) -> None:
    lines = [codec.encode_notification("n", params), quick_json.encode_notification("n", params)]
    for line in lines:
        assert line.count(b"\n") == 1
        assert codec.read_json(line) == quick_json.read_json(line)
        assert FrameDecoder(read=quick_json.read_json).feed(line) == [Notice("n", params)]


@given(st.dictionaries(st.text(), json_values, max_size=4), st.integers(0) | st.text(max_size=3))
def test_an_answer_reads_the_same_whoever_writes_it(result: dict[str, Any], request_id: int | str) -> None:
    for line in (codec.encode_result(request_id, result), quick_json.encode_result(request_id, result)):
        assert line.count(b"\n") == 1
        assert FrameDecoder().feed(line) == [Result(request_id, result)]


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_no_line_is_longer_than_what_is_told_of_its_content(value: dict[str, Any]) -> None:
    most = quick_json.most_bytes_of(value)
    for beside in ("", "\ud800"):
        message = {"a": value, "b": beside}
        room = most + len(json.dumps({"a": {}, "b": beside}))
        assert len(quick_json.encode_result(1, message)) <= room + len('{"jsonrpc":"2.0","id":1,"result":}\n')


@given(st.binary(max_size=30) | st.text('[]{}",:0123456789.-+eEntrufalsx\\ \n', max_size=30).map(str.encode))
def test_what_one_refuses_the_other_refuses_and_both_read_the_same(line: bytes) -> None:
    def read(by: Any) -> object:
        try:
            return json.dumps(by(line))
        except (ValueError, RecursionError):
            return ValueError

    assert read(quick_json.read_json) == read(codec.read_json)


@pytest.mark.parametrize("name", ["caf\udce9.py", "\ud800", "plain"])
def test_half_a_surrogate_pair_survives_the_trip(name: str) -> None:
    line = quick_json.encode_notification("n", {"path": name})
    assert quick_json.read_json(line)["params"] == {"path": name}
    assert line.isascii()


def test_a_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(WireError, match="longer than"):
        quick_json.encode_notification("n", {"text": "a" * FRAME_BYTES})
    with pytest.raises(WireError, match="longer than"):
        quick_json.encode_result(1, {"text": "a" * FRAME_BYTES})
