"""Where the model comes from: Anthropic, a server that speaks its API, or the rehearsal server.

A daemon without any may still start: tasks can be looked at, undone and accepted; workers then
do not begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agentcoord.config.sections import ModelsSection, Settings
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import DaemonError, LlmAuthError
from agentcoord.llm.api import Model, Progress, Turn, TurnRequest
from agentcoord.llm.client import AnthropicModel, Capabilities, StreamTimeouts

REHEARSAL_START_S = 30.0
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

    @property
    def model_or_refusal(self) -> Model:
        return self.model or NoModel()


@asynccontextmanager
async def open_model(
    settings: Settings, args: StartArgs, env: Mapping[str, str], hub: EventHub
) -> AsyncIterator[ModelSource]:
    """Open what the flags, the settings and the environment name, in that order.

    Raises DaemonError when a rehearsal server was asked for and does not start.
    """
    models = settings.models
    capabilities = Capabilities(
        cache_control=not models.plain_requests,
        output_config=not models.plain_requests,
        anthropic_tools=not models.custom_tools,
    )
    base_url: str | None
    key: str | None
    token: str | None
    async with contextlib.AsyncExitStack() as stack:
        if args.rehearse is not None:
            base_url = await stack.enter_async_context(
                rehearsal_server(args.rehearse, args.rehearsal_latency)
            )
            key, token, words = "rehearsal", None, "rehearsal (scripted)"
        else:
            base_url = models.base_url or env.get("ANTHROPIC_BASE_URL") or None
            key, token = env.get("ANTHROPIC_API_KEY"), env.get("ANTHROPIC_AUTH_TOKEN")
            if not (base_url or key or token):
                yield ModelSource(None, f"none: {THREE_WAYS}")
                return
            words = base_url or "api.anthropic.com"
        model = await stack.enter_async_context(
            AnthropicModel.open(
                api_key=key,
                auth_token=token,
                base_url=base_url,
                timeouts=timeouts_of(settings.models),
                capabilities=capabilities,
            )
        )
        yield ModelSource(model, words, scripted=args.rehearse is not None)


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


@asynccontextmanager
async def rehearsal_server(scripts: Path, latency: float) -> AsyncIterator[str]:
    """Run the rehearsal server in a process of its own; yield its base URL; end it afterwards.

    It ends by itself when this process dies, because its standard input closes then.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agentcoord.llm.rehearsal", "--scripts", os.fspath(scripts)),
        *("--latency-scale", str(latency), "--exit-with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        try:
            async with asyncio.timeout(REHEARSAL_START_S):
                line = await process.stdout.readline()
                if not line:
                    words = (await process.stderr.read()).decode("utf-8", "replace").strip().splitlines()[-3:]
                    raise DaemonError(
                        f"the rehearsal server did not start: {' | '.join(words)}",
                        mend=f"look into {scripts}",
                    )
        except TimeoutError as error:
            raise DaemonError(f"the rehearsal server did not answer in {REHEARSAL_START_S:.0f} s") from error
        async with asyncio.TaskGroup() as group:
            drains = [group.create_task(_drain(stream)) for stream in (process.stdout, process.stderr)]
            try:
                yield str(json.loads(line)["base_url"])
            finally:
                for drain in drains:
                    drain.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.shield(process.wait())


async def _drain(stream: asyncio.StreamReader) -> None:
    """Read and forget, so that a chatty server never blocks on a full pipe."""
    while await stream.read(65536):
        pass
