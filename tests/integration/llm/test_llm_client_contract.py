"""The real SDK through our client, against the rehearsal server: every end and every fault."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentcoord.domain.usage import Usage
from agentcoord.errors import (
    LlmAuthError,
    LlmContextWindowError,
    LlmError,
    LlmOverloadedError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
)
from agentcoord.llm.api import Capabilities, Progress, StopReason, StreamTimeouts, Turn, TurnRequest
from agentcoord.llm.client import AnthropicModel
from agentcoord.llm.rehearsal import RehearsalServer, serve
from agentcoord.llm.rehearsal.faults import Fault, FaultKind
from agentcoord.llm.rehearsal.scripts import Answer, Script, ScriptedTurn, ToolCall

SONNET = "claude-sonnet-5-5"
BASH = {"type": "bash_20250124", "name": "bash"}
LOOK = Answer(
    text="I will look at it first, and then say what I think of it, in some words.",
    thinking="What would be here?",
    tools=(ToolCall("bash", {"command": "ls -l 'caf\u00e9'", "nested": {"b": [1, 2.5, None], "a": True}}),),
)


def script_of(*answers: Answer) -> dict[str, Script]:
    return {"t1": Script("t1", tuple(ScriptedTurn(answer) for answer in answers))}


def faulty(kind: FaultKind, **values: Any) -> dict[str, Script]:
    """One turn, spoiled for ever."""
    fault = Fault(kind, times=1_000, **values)
    return script_of(Answer(LOOK.text, LOOK.thinking, LOOK.tools, fault=fault))


@asynccontextmanager
async def model_on(
    base_url: str, *, timeouts: StreamTimeouts | None = None, capabilities: Capabilities | None = None
) -> AsyncIterator[AnthropicModel]:
    async with AnthropicModel.open(
        api_key="test-key",
        auth_token=None,
        base_url=base_url,
        timeouts=timeouts or StreamTimeouts(),
        capabilities=capabilities or Capabilities(),
    ) as model:
        yield model


def first_request(**changes: Any) -> TurnRequest:
    message = {"role": "user", "content": [{"type": "text", "text": "Task id: t1\nDo it."}]}
    values: dict[str, Any] = {
        "model": SONNET,
        "system": [{"type": "text", "text": "You are careful."}],
        "messages": [message],
        "tools": [BASH],
        "max_tokens": 8_000,
        "effort": "medium",
    }
    return TurnRequest(**(values | changes))


def answered(request: TurnRequest, turn: Turn, result: str = "a\nb") -> TurnRequest:
    """The next request of the conversation, every call answered."""
    calls = [block for block in turn.content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": result} for call in calls]
    content = results or [{"type": "text", "text": "Go on."}]
    messages = [
        *request.messages,
        {"role": "assistant", "content": list(turn.content)},
        {"role": "user", "content": content},
    ]
    return first_request(messages=messages)


async def turn_of(scripts: Mapping[str, Script], **changes: Any) -> tuple[Turn, Progress, RehearsalServer]:
    progress = Progress()
    async with serve(scripts) as server, model_on(server.base_url) as model:
        return await model.take_turn(first_request(**changes), progress), progress, server


async def error_of(scripts: Mapping[str, Script]) -> tuple[LlmError, Progress]:
    progress = Progress()
    async with serve(scripts) as server, model_on(server.base_url) as model:
        with pytest.raises(LlmError) as caught:
            await model.take_turn(first_request(), progress)
    return caught.value, progress


async def test_a_turn_comes_whole_with_its_blocks_usage_and_identity() -> None:
    turn, progress, server = await turn_of(script_of(LOOK))
    assert [block["type"] for block in turn.content] == ["thinking", "text", "tool_use"]
    assert turn.content[0]["thinking"] == LOOK.thinking
    assert turn.content[0]["signature"]
    assert turn.content[1]["text"] == LOOK.text
    assert turn.content[2]["input"] == LOOK.tools[0].input
    assert (turn.stop_reason, turn.model) == (StopReason.TOOL_USE, SONNET)
    assert turn.request_id.startswith("req_")
    record = server.books.records[0]
    assert turn.usage == Usage(
        input_tokens=record.prompt.input_tokens,
        cache_write_5m_tokens=record.prompt.cache_write_5m_tokens,
        cache_write_1h_tokens=record.prompt.cache_write_1h_tokens,
        cache_read_tokens=record.prompt.cache_read_tokens,
        output_tokens=record.output_tokens,
    )
    assert progress.usage == turn.usage
    assert progress.headers["anthropic-ratelimit-requests-limit"] == "4000"


async def test_a_file_name_that_is_not_utf_8_keeps_no_request_from_being_sent() -> None:
    name = b"caf\xe9.py".decode("utf-8", "surrogateescape")
    block = {"type": "text", "text": f"Task id: t1\nFiles: {name}"}
    turn, _, _ = await turn_of(script_of(LOOK), messages=[{"role": "user", "content": [block]}])
    assert turn.stop_reason is StopReason.TOOL_USE
    assert block["text"].endswith(name)  # What is kept is as it was.


async def test_progress_tells_the_text_and_the_start_while_the_stream_runs() -> None:
    told: list[str] = []

    async def on_start() -> None:
        told.append("<start>")

    progress = Progress(on_text=told.append, on_start=on_start)
    async with serve(script_of(LOOK)) as server, model_on(server.base_url) as model:
        await model.take_turn(first_request(), progress)
    assert told[0] == "<start>"
    assert "".join(told[1:]) == LOOK.text
    assert len(told) > 3
    streamed = LOOK.text + LOOK.thinking + json.dumps(LOOK.tools[0].input, ensure_ascii=False)
    assert progress.output_chars == len(streamed)
    assert progress.output_bytes == len(streamed.encode())


@pytest.mark.parametrize("stop_reason", sorted(set(StopReason) - {StopReason.UNKNOWN, StopReason.TOOL_USE}))
async def test_every_stop_reason_arrives(stop_reason: StopReason) -> None:
    turn, _, _ = await turn_of(script_of(Answer("Some words.", stop_reason=stop_reason)))
    assert turn.stop_reason is stop_reason


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.MAX_TOKENS, StopReason.MAX_TOKENS),
        (FaultKind.REFUSAL, StopReason.REFUSAL),
        (FaultKind.PAUSE_TURN, StopReason.PAUSE_TURN),
        (FaultKind.CONTEXT_EXCEEDED, StopReason.CONTEXT_WINDOW),
        (FaultKind.EMPTY_END_TURN, StopReason.END_TURN),
        (FaultKind.UNKNOWN_EVENT, StopReason.TOOL_USE),
        (FaultKind.UNKNOWN_BLOCK, StopReason.TOOL_USE),
        (FaultKind.LATENCY, StopReason.TOOL_USE),
    ],
)
async def test_oddities_that_are_answers_arrive_as_turns(kind: FaultKind, expected: StopReason) -> None:
    turn, _, _ = await turn_of(faulty(kind, ms=1))
    assert turn.stop_reason is expected
    if kind is FaultKind.EMPTY_END_TURN:
        assert turn.content == ()
    if kind is FaultKind.MAX_TOKENS:
        assert turn.content[-1]["input"] != LOOK.tools[0].input
    if kind is FaultKind.UNKNOWN_BLOCK:
        assert turn.content[0] == {"type": "future_block", "payload": {"numbers": [1, 2.5], "words": "café"}}


@pytest.mark.parametrize(
    ("kind", "expected", "starts"),
    [
        (FaultKind.RATE_LIMIT, LlmOverloadedError, False),
        (FaultKind.RATE_LIMIT_BARE, LlmOverloadedError, False),
        (FaultKind.OVERLOADED, LlmOverloadedError, False),
        (FaultKind.STREAM_OVERLOADED, LlmOverloadedError, True),
        (FaultKind.STREAM_API_ERROR, LlmRetryableError, True),
        (FaultKind.SERVER_ERROR, LlmRetryableError, False),
        (FaultKind.GATEWAY_TIMEOUT, LlmRetryableError, False),
        (FaultKind.RESET, LlmRetryableError, False),
        (FaultKind.DROP, LlmRetryableError, True),
        (FaultKind.TRUNCATE, LlmRetryableError, True),
        (FaultKind.EMPTY_BODY, LlmRetryableError, False),
        (FaultKind.HTML_BODY, LlmRetryableError, False),
        (FaultKind.MALFORMED_TOOL_JSON, LlmRetryableError, True),
        (FaultKind.CUT_TOOL_JSON, LlmRetryableError, True),
        (FaultKind.SPEND_CAP, LlmSpendLimitError, False),
        (FaultKind.USAGE_LIMIT, LlmSpendLimitError, False),
        (FaultKind.BILLING, LlmSpendLimitError, False),
        (FaultKind.UNAUTHENTICATED, LlmAuthError, False),
        (FaultKind.FORBIDDEN, LlmAuthError, False),
        (FaultKind.INVALID_REQUEST, LlmRequestError, False),
        (FaultKind.PROMPT_TOO_LONG, LlmContextWindowError, False),
    ],
)
async def test_every_fault_arrives_as_one_of_our_errors(
    kind: FaultKind, expected: type[LlmError], starts: bool
) -> None:
    error, progress = await error_of(faulty(kind, retry_after_s=7))
    assert type(error) is expected
    assert progress.started is starts
    if not starts:
        no_word = {FaultKind.RESET, FaultKind.EMPTY_BODY, FaultKind.HTML_BODY}
        assert progress.sent is (kind in no_word), "nobody said that the prompt was not read"
    assert (progress.usage.output_tokens > 0) is starts
    if kind is FaultKind.RATE_LIMIT:
        assert isinstance(error, LlmRetryableError)
        assert error.retry_after_s == 7
        assert progress.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("scripts", "timeouts", "words"),
    [
        (faulty(FaultKind.STALL), StreamTimeouts(first_byte_s=0.2), "no answer began within 0.2 s"),
        (
            faulty(FaultKind.STREAM_STALL),
            StreamTimeouts(first_byte_s=0.3, between_events_s=0.3),
            "fell silent",
        ),
        (
            script_of(Answer("word " * 500, stream_ms=7_000)),
            StreamTimeouts(first_byte_s=0.5, between_events_s=0.5, whole_s=0.5),
            "not complete after 0.5 s",
        ),
    ],
)
async def test_silence_and_endless_streams_are_ended_by_the_deadline_that_they_break(
    scripts: Mapping[str, Script], timeouts: StreamTimeouts, words: str
) -> None:
    async with serve(scripts) as server, model_on(server.base_url, timeouts=timeouts) as model:
        await model.warm_up()
        progress = Progress()
        with pytest.raises(LlmRetryableError, match=words):
            await model.take_turn(first_request(), progress)
        assert progress.sent


async def test_a_server_that_is_not_there_is_a_fault_that_passes() -> None:
    async with serve(script_of(LOOK)) as server:
        base_url = server.base_url
    async with model_on(base_url) as model:
        progress = Progress()
        with pytest.raises(LlmRetryableError, match="connection"):
            await model.take_turn(first_request(), progress)
        assert not progress.sent


async def test_a_cancelled_stream_leaves_the_model_usable_and_the_start_known() -> None:
    slow = Answer(LOOK.text, stream_ms=60_000)
    progress, begun = Progress(), asyncio.Event()

    async def on_start() -> None:
        begun.set()

    progress.on_start = on_start
    scripts = script_of(slow) | {"t2": Script("t2", (ScriptedTurn(LOOK),))}
    async with serve(scripts) as server, model_on(server.base_url) as model:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(model.take_turn(first_request(), progress))
            await begun.wait()
            call.cancel()
        assert call.cancelled()
        assert progress.started
        other = {"role": "user", "content": [{"type": "text", "text": "Task id: t2"}]}
        turn = await model.take_turn(first_request(messages=[other]), Progress())
        assert turn.stop_reason is StopReason.TOOL_USE


async def test_what_a_start_callback_raises_comes_through_untranslated() -> None:
    class AwayError(Exception):
        pass

    async def on_start() -> None:
        raise AwayError

    async with serve(script_of(LOOK)) as server, model_on(server.base_url) as model:
        with pytest.raises(AwayError):
            await model.take_turn(first_request(), Progress(on_start=on_start))


async def test_a_conversation_is_sent_again_byte_for_byte_and_the_caller_keeps_its_blocks() -> None:
    odd = Answer(
        "Words.", "Thoughts \u2014 deep ones.", LOOK.tools, blocks=({"type": "future_block", "x": [1, {}]},)
    )
    scripts = script_of(odd, LOOK, Answer("Done."))
    async with serve(scripts) as server, model_on(server.base_url) as model:
        request = first_request()
        sent: list[str] = []
        for _ in range(3):
            before = json.dumps([request.system, request.messages, request.tools])
            turn = await model.take_turn(request, Progress())
            assert json.dumps([request.system, request.messages, request.tools]) == before
            assert "cache_control" not in before
            assert json.loads(json.dumps(turn.content)) == list(turn.content)
            sent.append(json.dumps(request.messages))
            request = answered(request, turn)
    for earlier, later in itertools.pairwise(sent):
        assert later.startswith(earlier[:-1])
    records = list(server.books.records)
    # The server refuses edited thinking, and its cache only hits on identical bytes.
    assert [record.status for record in records] == [200, 200, 200]


async def test_a_long_conversation_reads_its_past_from_the_cache() -> None:
    system = [{"type": "text", "text": "Be careful. " * 400}]
    scripts = script_of(*[LOOK] * 6)
    usages = []
    async with serve(scripts) as server, model_on(server.base_url) as model:
        request = first_request(system=system)
        for _ in range(5):
            turn = await model.take_turn(request, Progress())
            usages.append(turn.usage)
            following = answered(request, turn, "output " * 300)
            request = first_request(system=system, messages=following.messages)
    assert usages[0].cache_write_1h_tokens > 1_000
    for earlier, later in itertools.pairwise(usages):
        assert later.cache_read_tokens == earlier.cache_read_tokens + earlier.cache_write_1h_tokens + (
            earlier.cache_write_5m_tokens
        )
        assert later.cache_write_1h_tokens == 0
        assert later.input_tokens == 0


async def test_thinking_that_was_edited_is_refused() -> None:
    async with serve(script_of(LOOK, LOOK)) as server, model_on(server.base_url) as model:
        request = first_request()
        turn = await model.take_turn(request, Progress())
        edited = [{**turn.content[0], "thinking": "Something else."}, *turn.content[1:]]
        for content in (edited, edited[1:]):
            messages = [*answered(request, turn).messages]
            messages[1] = {"role": "assistant", "content": content}
            with pytest.raises(LlmRequestError, match="cannot be modified"):
                await model.take_turn(first_request(messages=messages), Progress())


async def test_a_paused_turn_is_taken_up_by_sending_it_again() -> None:
    paused = Answer("Let me think", stop_reason="pause_turn")
    async with serve(script_of(paused, Answer("Done."))) as server, model_on(server.base_url) as model:
        request = first_request()
        turn = await model.take_turn(request, Progress())
        messages = [*request.messages, {"role": "assistant", "content": list(turn.content)}]
        following = await model.take_turn(first_request(messages=messages), Progress())
    assert following.content[0]["text"] == "Done."


async def test_a_server_of_ones_own_needs_no_key_and_unknown_extras_are_left_out() -> None:
    seen: list[tuple[str, Mapping[str, str]]] = []
    async with (
        serve(script_of(LOOK)) as server,
        AnthropicModel.open(
            api_key=None,
            auth_token=None,
            base_url=server.base_url,
            timeouts=StreamTimeouts(),
            capabilities=Capabilities(cache_control=False, output_config=False),
            on_headers=lambda model, headers: seen.append((model, headers)),
        ) as model,
    ):
        # The server refuses an effort that it does not know: it must not have been sent.
        turn = await model.take_turn(first_request(effort="enormous", system=[], tools=[]), Progress())
    assert turn.usage.cache_write_5m_tokens == turn.usage.cache_write_1h_tokens == 0
    assert seen[0][0] == SONNET
    assert "anthropic-ratelimit-requests-remaining" in seen[0][1]


async def test_a_bearer_token_is_accepted_in_place_of_a_key() -> None:
    async with (
        serve(script_of(LOOK)) as server,
        AnthropicModel.open(
            api_key=None,
            auth_token="token",
            base_url=server.base_url,
            timeouts=StreamTimeouts(),
            capabilities=Capabilities(),
        ) as model,
    ):
        assert (await model.take_turn(first_request(), Progress())).content


async def test_proxies_of_the_environment_are_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    turn, _, _ = await turn_of(script_of(LOOK))
    assert turn.content


async def test_six_streams_run_at_once_on_one_model() -> None:
    scripts = {
        f"t{n}": Script(f"t{n}", (ScriptedTurn(Answer(f"Word {n}.", thinking_ms=200)),)) for n in range(6)
    }
    async with serve(scripts) as server, model_on(server.base_url) as model:
        await model.warm_up()

        async def talk(n: int) -> str:
            message = {"role": "user", "content": [{"type": "text", "text": f"Task id: t{n}"}]}
            turn = await model.take_turn(first_request(messages=[message]), Progress())
            return str(turn.content[0]["text"])

        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(talk(n)) for n in range(6)]
        assert [call.result() for call in calls] == [f"Word {n}." for n in range(6)]
        assert server.books.most_at_once == 6


async def test_without_a_key_and_without_a_server_nothing_opens() -> None:
    with pytest.raises(LlmAuthError) as caught:
        async with AnthropicModel.open(
            api_key="", auth_token=None, base_url="", timeouts=StreamTimeouts(), capabilities=Capabilities()
        ):
            pass
    assert "ANTHROPIC_API_KEY" in caught.value.mend


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://"])
async def test_a_base_url_that_is_none_is_refused_in_words(url: str) -> None:
    with pytest.raises(LlmRequestError, match="no HTTP URL"):
        async with model_on(url):
            pass
