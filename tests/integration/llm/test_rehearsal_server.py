"""The rehearsal server over plain HTTP: what it answers, and what it refuses as the service does."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from agentcoord.llm.rehearsal import Options, RehearsalServer, serve
from agentcoord.llm.rehearsal.rate_limits import Limits
from agentcoord.llm.rehearsal.scripts import Answer, Script, ScriptedTurn, ToolCall, When

SONNET = "claude-sonnet-5-5"
CALL = Answer("I will look.", "Hm.", (ToolCall("bash", {"command": "ls"}),))
REPAIR = When("FAILED", Answer("Red."))
SCRIPTS = {"t1": Script("t1", (ScriptedTurn(CALL), ScriptedTurn(Answer("Done."), (REPAIR,))))}
HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21", "content-type": "application/json"}
USER = {"role": "user", "content": [{"type": "text", "text": "Task id: t1"}]}
BASH = {"type": "bash_20250124", "name": "bash"}


def body(*messages: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {
        "model": SONNET,
        "max_tokens": 1_000,
        "tools": [BASH],
        "messages": [*(messages or (USER,))],
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def result(tool_id: str, content: str = "a.py") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}


def call(tool_id: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_id, "name": "bash", "input": {}}


def user(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


async def send(
    server: RehearsalServer, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    """Send one request in a thread; return status, parsed body and headers."""

    def blocking() -> tuple[int, Any, Mapping[str, str]]:
        asked = urllib.request.Request(
            f"{server.base_url}{path}", data=data, headers=dict(HEADERS if headers is None else headers)
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(asked, timeout=20) as response:
                return response.status, json.loads(response.read()), dict(response.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), dict(error.headers)

    return await asyncio.to_thread(blocking)


async def post(
    server: RehearsalServer, asked: Mapping[str, Any], path: str = "/v1/messages"
) -> tuple[int, Any]:
    status, answer, _ = await send(server, path, json.dumps(asked).encode())
    return status, answer


async def test_an_answer_that_is_not_streamed_has_the_same_content_each_time() -> None:
    async with serve(SCRIPTS) as server:
        status, first = await post(server, body())
        _, again = await post(server, body())
    assert status == 200
    assert [block["type"] for block in first["content"]] == ["thinking", "text", "tool_use"]
    assert first["stop_reason"] == "tool_use"
    assert first["usage"]["output_tokens"] > 5
    assert first["content"] == again["content"]


async def test_a_conversation_gets_the_same_turns_from_another_server() -> None:
    async with serve(SCRIPTS) as server:
        _, first = await post(server, body())
    tool_id = first["content"][-1]["id"]
    for words, expected in (("3 passed", "Done."), ("1 FAILED", "Red.")):
        async with serve(SCRIPTS) as server:
            going_on = body(USER, assistant(*first["content"]), user(result(tool_id, words)))
            status, second = await post(server, going_on)
        assert (status, second["content"][0]["text"]) == (200, expected)


async def test_consecutive_messages_of_one_role_are_taken_as_one() -> None:
    async with serve(SCRIPTS) as server:
        split = body(USER, assistant(call()), user(result("toolu_1")), user({"type": "text", "text": "And?"}))
        status, _ = await post(server, split)
    assert status == 200


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no model", body(model=None), "model: Field required"),
    ("no max_tokens", body(max_tokens=None), "max_tokens: Field required"),
    ("no messages", body(messages=None), "messages: Field required"),
    ("empty messages", body(messages=[]), "at least one message"),
    ("max_tokens of 0", body(max_tokens=0), "greater than or equal to 1"),
    ("max_tokens as text", body(max_tokens="8k"), "valid integer"),
    ("an unknown field", body(budget=3), "budget: Extra inputs"),
    ("an unknown message field", body({**USER, "name": "x"}), "messages.0.name: Extra inputs"),
    ("temperature", body(temperature=0.5), "sampling"),
    ("an unknown effort", body(output_config={"effort": "huge"}), "effort"),
    ("an unknown role", body({"role": "system", "content": "x"}), "messages.0.role"),
    ("an assistant first", body(assistant({"type": "text", "text": "x"}), USER), "first message"),
    ("empty text", body(user({"type": "text", "text": ""})), "non-empty"),
    ("an empty message", body(USER, assistant(), USER), "non-empty content"),
    ("a final assistant message", body(USER, assistant({"type": "text", "text": "x"})), "prefill"),
    ("an unanswered call", body(USER, assistant(call()), USER), "without `tool_result`"),
    ("a call unanswered at the end", body(USER, assistant(call())), "without `tool_result`"),
    ("a result nobody asked for", body(user(result("toolu_9"))), "unexpected `tool_use_id`"),
    (
        "a result given twice",
        body(USER, assistant(call()), user(result("toolu_1"), result("toolu_1"))),
        "single result",
    ),
    (
        "a result after text",
        body(USER, assistant(call()), user({"type": "text", "text": "x"}, result("toolu_1"))),
        "must come first",
    ),
    (
        "a call id used twice",
        body(USER, assistant(call(), call()), user(result("toolu_1"))),
        "must be unique",
    ),
    ("a bad tool name", body(tools=[{"name": "no spaces", "input_schema": {}}]), "tools.0.name"),
    ("two tools of one name", body(tools=[BASH, BASH]), "unique"),
    ("a tool without schema", body(tools=[{"name": "x"}]), "input_schema"),
    ("forced tool choice", body(tool_choice={"type": "any"}), "forced tool use"),
    ("disabled thinking", body(thinking={"type": "disabled"}), "cannot be disabled"),
    (
        "five breakpoints",
        body(user(*[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5)),
        "maximum of 4",
    ),
    (
        "an hour after five minutes",
        body(
            user(
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            )
        ),
        "must not come after",
    ),
    (
        "an odd ttl",
        body(user({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}})),
        "ttl",
    ),
]


async def test_what_the_service_refuses_is_refused_with_400() -> None:
    async with serve(SCRIPTS) as server:
        for name, asked, words in REFUSED:
            status, answer = await post(server, asked)
            assert status == 400, name
            assert answer["type"] == "error"
            assert answer["error"]["type"] == "invalid_request_error"
            assert words in answer["error"]["message"], name
            assert answer["request_id"]
        assert server.books.requests == len(REFUSED)
        assert server.books.total_usd_micros == 0


async def test_haiku_takes_what_only_the_larger_models_refuse() -> None:
    async with serve(SCRIPTS) as server:
        asked = body(model="claude-haiku-5-5", tool_choice={"type": "any"}, thinking={"type": "disabled"})
        assert (await post(server, asked))[0] == 200


async def test_credentials_version_json_and_size_are_checked_in_this_order() -> None:
    async with serve(SCRIPTS) as server:
        data = json.dumps(body()).encode()
        bare = {"anthropic-version": "x", "content-type": "application/json"}
        assert (await send(server, "/v1/messages", data, bare))[0] == 401
        assert (await send(server, "/v1/messages", data, bare | {"authorization": "Bearer k"}))[0] == 200
        assert (await send(server, "/v1/messages", data, {"x-api-key": "k"}))[0] == 400
        assert (await send(server, "/v1/messages", b"{"))[0] == 400
        assert (await send(server, "/v1/messages", b"[]"))[0] == 400
        status, answer, _ = await send(server, "/v1/messages", b" " * (32 * 1024 * 1024 + 1))
    assert (status, answer["error"]["type"]) == (413, "request_too_large")


async def test_an_unknown_model_and_an_unknown_task_are_not_found_in_words() -> None:
    async with serve(SCRIPTS) as server:
        status, answer = await post(server, body(model="claude-next"))
        assert (status, answer["error"]["type"]) == (404, "not_found_error")
        status, answer = await post(server, body(user({"type": "text", "text": "Task id: t9\n"})))
        assert status == 404
        assert "'t9'" in answer["error"]["message"]
        assert "t1" in answer["error"]["message"]


async def test_the_default_script_plays_for_tasks_without_one() -> None:
    scripts = {**SCRIPTS, "*": Script("*", (ScriptedTurn(Answer("Anything.")),))}
    async with serve(scripts) as server:
        _, answer = await post(server, body(user({"type": "text", "text": "Task id: t9"})))
        _, own = await post(server, body())
    assert answer["content"][0]["text"] == "Anything."
    assert own["content"][1]["text"] == "I will look."


async def test_tokens_are_counted_and_models_are_listed() -> None:
    async with serve(SCRIPTS) as server:
        status, counted = await post(server, body(max_tokens=None), "/v1/messages/count_tokens")
        assert status == 200
        assert counted["input_tokens"] > 10
        status, refused = await post(server, body(), "/v1/messages/count_tokens")
        assert (status, "max_tokens" in refused["error"]["message"]) == (400, True)
        _, models, _ = await send(server, "/v1/models")
        assert SONNET in [model["id"] for model in models["data"]]
        assert (await send(server, f"/v1/models/{SONNET}"))[1]["id"] == SONNET
        assert (await send(server, "/v1/models/claude-next"))[0] == 404
        assert (await send(server, "/v1/models", headers={}))[0] == 401


async def test_an_answer_is_cut_at_max_tokens() -> None:
    async with serve(SCRIPTS) as server:
        _, answer = await post(server, body(max_tokens=2))
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] <= 2


async def test_the_rate_limit_is_enforced_with_a_retry_after_and_told_in_headers() -> None:
    options = Options(limits=Limits(requests_per_minute=2))
    async with serve(SCRIPTS, options=options) as server:
        data = json.dumps(body()).encode()
        answers = [await send(server, "/v1/messages", data) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert 0 < float(answers[2][2]["retry-after"]) <= 30
    assert answers[1][2]["anthropic-ratelimit-requests-remaining"] == "0"
    assert answers[1][2]["anthropic-ratelimit-requests-limit"] == "2"


async def test_the_books_are_there_for_everyone_to_read() -> None:
    async with serve(SCRIPTS) as server:
        await post(server, body())
        await post(server, body(model="claude-next"))
        status, books, _ = await send(server, "/books", headers={})
    assert status == 200
    assert (books["requests"], books["answered"]) == (2, 1)
    assert books["total_usd"] == books["usd_by_task"]["t1"] == books["records"][0]["usd"] > 0
    assert [record["status"] for record in books["records"]] == [200, 404]
