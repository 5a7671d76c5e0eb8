"""What a stream tells, what it must have told to count, and where the cache marks go."""

from __future__ import annotations

import copy
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from agentcoord.domain.usage import Usage
from agentcoord.errors import LlmRetryableError
from agentcoord.llm.api import Progress, StopReason
from agentcoord.llm.cache_marks import with_cache_marks
from agentcoord.llm.stream_reading import StreamReading


def started(**usage: Any) -> Any:
    known: dict[str, Any] = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
        "cache_creation": None,
    }
    return SimpleNamespace(
        type="message_start", message=SimpleNamespace(model="m", usage=SimpleNamespace(**(known | usage)))
    )


def ended(stop_reason: str | None = "end_turn", **usage: Any) -> Any:
    known: dict[str, Any] = {
        "input_tokens": None,
        "output_tokens": 7,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
    }
    delta = SimpleNamespace(stop_reason=stop_reason)
    return SimpleNamespace(type="message_delta", delta=delta, usage=SimpleNamespace(**(known | usage)))


class Shown(SimpleNamespace):
    """A part of an event that the SDK can turn into JSON."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def begins(index: int, **block: Any) -> Any:
    return SimpleNamespace(type="content_block_start", index=index, content_block=Shown(**block))


def adds(index: int, kind: str, **fields: Any) -> Any:
    delta = SimpleNamespace(type=kind, **fields)
    return SimpleNamespace(type="content_block_delta", index=index, delta=delta)


def tool_json(piece: str, index: int = 0) -> Any:
    return adds(index, "input_json_delta", partial_json=piece)


TOOL = {"type": "tool_use", "id": "t", "name": "bash", "input": {}}


def read(*events: Any) -> tuple[StreamReading, Progress]:
    reading, progress = StreamReading(), Progress()
    for event in events:
        reading.note(event, progress)
    return reading, progress


SPLIT = SimpleNamespace(ephemeral_5m_input_tokens=30, ephemeral_1h_input_tokens=70)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([started()], Usage(10, output_tokens=1)),
        ([started(), ended()], Usage(10, output_tokens=7)),
        ([started(cache_creation_input_tokens=100, cache_creation=SPLIT)], Usage(10, 30, 70, 0, 1)),
        ([started(cache_creation_input_tokens=100)], Usage(10, 0, 100, 0, 1)),
        ([started(cache_read_input_tokens=5), ended(cache_read_input_tokens=6)], Usage(10, 0, 0, 6, 7)),
        (
            [
                started(cache_creation_input_tokens=100, cache_creation=SPLIT),
                ended(input_tokens=12, cache_creation_input_tokens=110),
            ],
            Usage(12, 30, 80, 0, 7),
        ),
        ([started(input_tokens=None, output_tokens=None)], Usage()),
    ],
)
async def test_usage_is_read_by_kind_and_what_is_not_broken_down_is_booked_at_the_dearer_rate(
    events: list[Any], expected: Usage
) -> None:
    _, progress = read(*events)
    assert progress.usage == expected
    assert progress.started


async def test_a_stream_without_stop_reason_is_no_turn() -> None:
    with pytest.raises(LlmRetryableError, match="stop reason"):
        StreamReading().finish(Progress(), request_id="")


async def test_a_stop_reason_that_nobody_knows_is_kept_as_unknown() -> None:
    reading, progress = read(started(), ended("tired"))
    turn = reading.finish(progress, request_id="")
    assert turn.stop_reason is StopReason.UNKNOWN


@pytest.mark.parametrize(
    ("pieces", "stop_reason", "counts"),
    [
        (["", '{"a":', " 1}"], "tool_use", True),
        ([""], "tool_use", True),
        (["", '{"a":'], "tool_use", False),
        (["", '{"a":'], "max_tokens", True),
    ],
)
async def test_cut_tool_input_never_passes_for_a_call(
    pieces: list[str], stop_reason: str, counts: bool
) -> None:
    reading, progress = read(started(), begins(0, **TOOL), *map(tool_json, pieces), ended(stop_reason))
    assert progress.output_chars == sum(map(len, pieces))
    if counts:
        assert reading.finish(progress, request_id="r").request_id == "r"
    else:
        with pytest.raises(LlmRetryableError, match="not complete JSON"):
            reading.finish(progress, request_id="r")


async def test_blocks_are_put_together_whole_in_order_and_unknown_ones_stay_as_they_came() -> None:
    cited, later = {"type": "char_location", "x": 1}, Shown(type="page_location")
    reading, progress = read(
        started(),
        begins(0, type="thinking", thinking="", signature=""),
        adds(0, "thinking_delta", thinking="h"),
        adds(0, "thinking_delta", thinking="m"),
        adds(0, "signature_delta", signature="c2ln"),
        begins(1, type="future_block", payload={"b": [1.5, None]}),
        adds(1, "future_delta", x=1),
        begins(2, type="text", text="", citations=[cited]),
        adds(2, "text_delta", text="Gr\u00fc\u00dfe"),
        adds(2, "citations_delta", citation=later),
        begins(3, **TOOL),
        tool_json("", 3),
        tool_json('{"command": "l', 3),
        tool_json('s"}', 3),
        ended("tool_use"),
    )
    assert reading.finish(progress, request_id="").content == (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "future_block", "payload": {"b": [1.5, None]}},
        {"type": "text", "text": "Gr\u00fc\u00dfe", "citations": [cited, {"type": "page_location"}]},
        {**TOOL, "input": {"command": "ls"}},
    )


async def test_a_call_that_a_limit_cut_off_is_kept_without_input() -> None:
    reading, progress = read(started(), begins(0, **TOOL), tool_json('{"comm'), ended("max_tokens"))
    assert reading.finish(progress, request_id="").content == (TOOL,)


async def test_what_broken_tool_input_cost_is_heard_to_the_end() -> None:
    reading, progress = read(
        started(),
        begins(0, **TOOL),
        tool_json("{nonsense"),
        tool_json("}"),
        ended("tool_use", output_tokens=99),
    )
    with pytest.raises(LlmRetryableError, match="not complete JSON"):
        reading.finish(progress, request_id="")
    assert progress.usage.output_tokens == 99


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_marks_end_the_system_prompt_and_the_two_newest_user_turns_on_copies() -> None:
    system = [text("a"), text("b")]
    messages = [
        {"role": "user", "content": [text("1")]},
        {"role": "assistant", "content": [text("2")]},
        {"role": "user", "content": [text("3"), text("4")]},
        {"role": "assistant", "content": [text("5")]},
        {"role": "user", "content": [text("6")]},
    ]
    before = copy.deepcopy((system, messages))
    marked_system, marked = with_cache_marks(system, messages)
    assert (system, messages) == before
    hour, minutes = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral", "ttl": "5m"}
    assert [block.get("cache_control") for block in marked_system] == [None, hour]
    marks = [[block.get("cache_control") for block in message["content"]] for message in marked]
    assert marks == [[None], [None], [None, minutes], [None], [minutes]]


def test_nothing_is_marked_where_there_is_nothing() -> None:
    messages = [{"role": "user", "content": "a plain string"}]
    assert with_cache_marks([], messages) == ([], messages)


def test_importing_the_room_does_not_import_the_sdk() -> None:
    code = (
        "import sys, agentcoord.llm.client, agentcoord.llm.gateway, agentcoord.llm.rehearsal; "
        "sys.exit('anthropic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
