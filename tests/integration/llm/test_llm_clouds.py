"""The SDK's clients for clouds, pointed at the rehearsal server: the same turns, and true causes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from bedrock_front import bedrock_in_front_of
from test_llm_client_contract import BASH, LOOK, faulty, script_of

from agentcoord.config.load import read_settings
from agentcoord.errors import ConfigError, LlmAuthError, LlmOverloadedError, LlmRequestError
from agentcoord.llm.api import Capabilities, Progress, Provider, StopReason, StreamTimeouts, TurnRequest
from agentcoord.llm.client import AnthropicModel
from agentcoord.llm.rehearsal import serve
from agentcoord.llm.rehearsal.faults import FaultKind
from agentcoord.llm.rehearsal.server import RehearsalServer

HAIKU = "claude-haiku-5-5"
SIGN_IN = {
    Provider.AWS: {"ANTHROPIC_AWS_API_KEY": "k", "ANTHROPIC_AWS_WORKSPACE_ID": "w"},
    Provider.BEDROCK: {"AWS_BEARER_TOKEN_BEDROCK": "k"},
    Provider.BEDROCK_MANTLE: {"AWS_BEARER_TOKEN_BEDROCK": "k"},
    Provider.FOUNDRY: {"ANTHROPIC_FOUNDRY_API_KEY": "k"},
    Provider.VERTEX: {},
}
"""How the person who runs the daemon is signed in; Vertex is handed its token."""


def model_of(provider: Provider, base_url: str, **changes: Any) -> Any:
    given: dict[str, Any] = {"region": "us-east-1", "project": "shop", "auth_token": None, **changes}
    if provider is Provider.VERTEX:
        given["auth_token"] = "token"
    return AnthropicModel.open(
        api_key=None,
        base_url=base_url,
        provider=provider,
        timeouts=StreamTimeouts(),
        capabilities=Capabilities(),
        **given,
    )


def request() -> TurnRequest:
    message = {"role": "user", "content": [{"type": "text", "text": "Task id: t1\nDo it."}]}
    system = [{"type": "text", "text": "You are careful."}]
    return TurnRequest(HAIKU, system, [message], [BASH], 8_000, "medium")


@asynccontextmanager
async def model_at(provider: Provider, server: RehearsalServer) -> AsyncIterator[AnthropicModel]:
    """The model of `provider` at the rehearsal server, in the words of that cloud."""
    async with AsyncExitStack() as held:
        base_url = server.base_url
        if provider is Provider.BEDROCK:
            base_url = await held.enter_async_context(bedrock_in_front_of(base_url))
        yield await held.enter_async_context(model_of(provider, base_url))


@pytest.fixture
def signed_in(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
    for name, value in SIGN_IN[provider].items():
        monkeypatch.setenv(name, value)
    return provider


@pytest.mark.parametrize("provider", list(SIGN_IN))
async def test_a_turn_comes_through_the_clouds_own_client_and_is_priced_by_its_model(
    signed_in: Provider,
) -> None:
    async with serve(script_of(LOOK)) as server, model_at(signed_in, server) as model:
        turn = await model.take_turn(request(), Progress())
        assert [block["type"] for block in turn.content] == ["thinking", "text", "tool_use"]
        assert turn.content[2]["input"] == LOOK.tools[0].input
        assert turn.stop_reason is StopReason.TOOL_USE
        assert turn.usage.prompt_tokens > 0
        assert [(record.model, record.status) for record in server.books.records] == [(HAIKU, 200)]


@pytest.mark.parametrize("provider", list(SIGN_IN))
async def test_a_clouds_overload_is_ours_to_wait_out_and_asked_for_once(signed_in: Provider) -> None:
    async with serve(faulty(FaultKind.OVERLOADED)) as server, model_at(signed_in, server) as model:
        with pytest.raises(LlmOverloadedError):
            await model.take_turn(request(), Progress())
        assert server.books.requests == 1


@pytest.mark.parametrize(
    ("provider", "words"), [(Provider.FOUNDRY, "credentials"), (Provider.AWS, "workspace|credentials|auth")]
)
async def test_a_cloud_that_nobody_is_signed_in_to_is_refused_in_words(
    provider: Provider, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*SIGN_IN[provider], "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    async with model_of(provider, "http://127.0.0.1:9") as model:
        with pytest.raises(LlmAuthError, match=f"(?i){provider}.*({words})") as caught:
            await model.take_turn(request(), Progress())
        assert "models.provider" in caught.value.mend


async def test_what_a_cloud_needs_beside_the_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for provider, extra in ((Provider.BEDROCK, "aws"), (Provider.VERTEX, "vertex")):
        with pytest.raises(LlmRequestError) as caught:
            async with AnthropicModel.open(
                api_key=None,
                auth_token=None,
                base_url=None,
                provider=provider,
                timeouts=StreamTimeouts(),
                capabilities=Capabilities(),
            ):
                raise AssertionError("opened without what it needs")
        assert f"anthropic[{extra}]" in caught.value.mend


async def test_the_translated_path_refuses_what_vertex_would() -> None:
    import httpx2

    headers = {"authorization": "Bearer k"}
    body = {"max_tokens": 10, "messages": [{"role": "user", "content": "Task id: t1"}]}
    path = "/projects/p/locations/r/publishers/anthropic/models"
    async with (
        serve(script_of(LOOK)) as server,
        httpx2.AsyncClient(base_url=server.base_url, trust_env=False, headers=headers) as client,
    ):
        statuses = [
            (await client.post(f"{path}/{HAIKU}:{method}", json={**body, **version})).status_code
            for method, version in (
                ("rawPredict", {"anthropic_version": "vertex"}),
                ("rawPredict", {}),
                ("guess", {"anthropic_version": "vertex"}),
            )
        ]
    assert statuses == [200, 400, 404]


def test_a_provider_that_nobody_knows_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"models.provider 'vortex' .*did you mean vertex"):
        read_settings('[models]\nprovider = "vortex"\n', {})
