"""Where the model comes from: Anthropic, a server that speaks its API, or the rehearsal server.

A daemon without any may still start: tasks can be looked at, undone and accepted; workers then
do not begin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentcoord.config.sections import ModelsSection, Settings
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.rehearsal_process import rehearsal_server
from agentcoord.daemon.start_args import StartArgs
from agentcoord.domain.events import EventKind
from agentcoord.errors import LlmAuthError
from agentcoord.llm.api import Model, Progress, Provider, Turn, TurnRequest
from agentcoord.llm.client import AnthropicModel, Capabilities, StreamTimeouts
from agentcoord.values import dataclass
from agentcoord.wire.protocol import NO_MODEL

THREE_WAYS = "set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for another server, or try `agentcoord demo`"


class NoModel:
    """Stands where a model would, and refuses every turn."""

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        raise LlmAuthError("there is neither an API key nor a base URL", mend=THREE_WAYS)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The model and how people are told of it."""

    model: Model | None
    words: str
    scripted: bool = False
    warm_up: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Imports what the first turn would wait for."""

    @property
    def model_or_refusal(self) -> Model:
        return self.model or NoModel()


@asynccontextmanager
async def open_model(
    settings: Settings, args: StartArgs, env: Mapping[str, str], hub: EventHub, log_file: Path
) -> AsyncIterator[ModelSource]:
    """Open what the flags, the settings and the environment name, in that order.

    `log_file` is where a rehearsal server complains.
    Raises DaemonError when a rehearsal server was asked for and does not start.
    """
    if args.rehearse is None:
        async with open_named_model(settings, env) as source:
            yield source
        return
    async with (
        rehearsal_server(
            args.rehearse,
            args.rehearsal_latency,
            log_file,
            tell=lambda words: hub.emit(EventKind.ERROR, where="rehearsal server", error=words),
        ) as base_url,
        _open(settings, Provider.ANTHROPIC, base_url, "rehearsal", None) as model,
    ):
        yield ModelSource(model, "rehearsal (scripted)", scripted=True, warm_up=model.warm_up)


@asynccontextmanager
async def open_named_model(settings: Settings, env: Mapping[str, str]) -> AsyncIterator[ModelSource]:
    """Open what the settings and the environment name; without a key and a server there is no model."""
    models = settings.models
    provider = Provider(models.provider)
    key: str | None = None
    token = env.get("ANTHROPIC_AUTH_TOKEN")
    if provider is not Provider.ANTHROPIC:
        base_url = models.base_url or None
        words = models.base_url or " ".join(filter(None, (provider, models.region)))
    else:
        base_url = models.base_url or env.get("ANTHROPIC_BASE_URL") or None
        key = env.get("ANTHROPIC_API_KEY")
        if not (base_url or key or token):
            yield ModelSource(None, f"{NO_MODEL}{THREE_WAYS}")
            return
        words = base_url or "api.anthropic.com"
    async with _open(settings, provider, base_url, key, token) as model:
        yield ModelSource(model, words, warm_up=model.warm_up)


@asynccontextmanager
async def _open(
    settings: Settings, provider: Provider, base_url: str | None, key: str | None, token: str | None
) -> AsyncIterator[AnthropicModel]:
    models = settings.models
    async with AnthropicModel.open(
        api_key=key,
        auth_token=token,
        base_url=base_url,
        provider=provider,
        region=models.region or None,
        project=models.project or None,
        timeouts=timeouts_of(models),
        capabilities=Capabilities(
            cache_control=not models.plain_requests,
            output_config=not models.plain_requests,
            anthropic_tools=not models.custom_tools,
        ),
    ) as model:
        yield model


def timeouts_of(models: ModelsSection) -> StreamTimeouts:
    """The deadlines of one call; silence may last at least as long as the first byte."""
    silence_s = max(models.silence_s, models.first_byte_s)
    standard = StreamTimeouts()
    return StreamTimeouts(
        connect_s=min(standard.connect_s, models.first_byte_s),
        first_byte_s=models.first_byte_s,
        between_events_s=silence_s,
        whole_s=max(standard.whole_s, silence_s),
    )
