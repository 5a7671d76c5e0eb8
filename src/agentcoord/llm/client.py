"""The model behind the Messages API: one streaming call at a time through the official SDK.

With `sdk_clients` this is the only home of `anthropic`. The package takes seconds to import on a small
machine, so it is imported in a thread when the first call is made (or `warm_up` is awaited), never
when this module is. Deliberately absent: retries (the SDK's are off; the gateway owns them,
behind one governor), prices, and the SDK's tool runner.

Theory of operation of a turn. The stream is read event by event, and put together here, not by
the SDK's own message stream (`stream_reading` says why). `message_start` says what
the prompt cost; from then on the call counts as billed. A turn exists only when a stop reason
came: a connection that closes cleanly in the middle looks like an ordinary end otherwise.
Whatever goes wrong is raised as one of our four errors; what was seen until then stays in
the caller's `Progress`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agentcoord.errors import LlmError, LlmRequestError, LlmRetryableError
from agentcoord.llm.api import Capabilities, Progress, Provider, StreamTimeouts, Turn, TurnRequest
from agentcoord.llm.cache_marks import with_cache_marks
from agentcoord.llm.failures import Refusal, error_of
from agentcoord.llm.sayable import sayable
from agentcoord.llm.sdk_clients import Access, client_maker
from agentcoord.llm.stream_reading import StreamReading

if TYPE_CHECKING:
    from agentcoord.llm.sdk_clients import SdkClient

__all__ = ["Access", "AnthropicModel", "Capabilities", "Provider", "StreamTimeouts"]

_KEPT_HEADER_PREFIXES = ("anthropic-ratelimit-", "retry-after", "request-id")

HeadersObserver = Callable[[str, Mapping[str, str]], None]
"""Called with the model and the rate-limit headers of each response; must not block or raise."""


class AnthropicModel:
    """A `Model` that calls a server which speaks the Messages API. One for all workers."""

    def __init__(
        self,
        make_client: Callable[[], SdkClient],
        timeouts: StreamTimeouts,
        capabilities: Capabilities,
        on_headers: HeadersObserver | None,
        wall_s: Callable[[], float],
    ) -> None:
        self._make_client = make_client
        self._timeouts = timeouts
        self._capabilities = capabilities
        self._on_headers = on_headers
        self._wall_s = wall_s
        self._client: SdkClient | None = None
        self._making = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        api_key: str | None,
        auth_token: str | None,
        base_url: str | None,
        provider: Provider = Provider.ANTHROPIC,
        region: str | None = None,
        project: str | None = None,
        timeouts: StreamTimeouts,
        capabilities: Capabilities,
        on_headers: HeadersObserver | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> AsyncIterator[AnthropicModel]:
        """Open a model; its connections close with the context.

        `api_key` wins over `auth_token`; without both, only a server of one's own (`base_url`)
        can be called. `provider`, `region` and `project` are as in `Access`; we read no environment
        here, but a cloud's client does. Raises what `client_maker` does.
        """
        access = Access(provider, api_key, auth_token, base_url, region, project)
        make_client = client_maker(access, timeouts)
        model = cls(make_client, timeouts, capabilities, on_headers, wall_s)
        try:
            yield model
        finally:
            if model._client is not None:
                await model._client.close()

    async def warm_up(self) -> None:
        """Import the SDK and make its client now, off the event loop, instead of at the first turn."""
        async with self._making:
            if self._client is None:
                self._client = await asyncio.to_thread(self._make_client)

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        """Make one streaming call. See `Model.take_turn` for what it raises."""
        if self._client is None:
            await self.warm_up()
        assert self._client is not None, "warm_up makes the client"
        deadline_s = self._timeouts.whole_s
        try:
            async with asyncio.timeout(deadline_s) as whole:
                return await self._stream_turn(self._client, request, progress)
        except TimeoutError as error:
            if not whole.expired():
                raise
            raise LlmRetryableError(f"the answer was not complete after {deadline_s:g} s") from error

    async def _stream_turn(self, client: SdkClient, request: TurnRequest, progress: Progress) -> Turn:
        progress.sent = True
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s) as first_byte:
                parameters = sayable(_parameters(request, self._capabilities))
                stream = await client.messages.create(**parameters, stream=True)
        except TimeoutError as error:
            if not first_byte.expired():
                raise
            raise LlmRetryableError(f"no answer began within {self._timeouts.first_byte_s:g} s") from error
        except _foreign_errors() as error:
            raise self._translated(error, request.model, progress, began=False) from error
        try:
            headers = stream.response.headers
            self._note_headers(headers, request.model, progress)
            reading = StreamReading()
            events = aiter(stream)
            while True:
                try:
                    begins = reading.note(await anext(events), progress)
                except StopAsyncIteration:
                    break
                except _foreign_errors() as error:
                    raise self._translated(error, request.model, progress, began=True) from error
                if begins and progress.on_start is not None:
                    await progress.on_start()
            if not progress.started:
                raise LlmRetryableError("the server's answer held no message: not a Messages API stream")
            return reading.finish(progress, request_id=headers.get("request-id", ""))
        finally:
            await stream.close()

    def _translated(self, error: Exception, model: str, progress: Progress, *, began: bool) -> LlmError:
        """Return our error for what the SDK or its transport raised, noting a refusal's headers."""
        import anthropic
        import httpx2

        if not _may_have_been_read(error, began=began):
            progress.sent = False
        match error:
            case anthropic.APIStatusError():
                headers = error.response.headers
                self._note_headers(headers, model, progress)
                refusal = Refusal(
                    status=error.status_code,
                    kind=str(error.type or ""),
                    code=error.error_code or "",
                    message=error.api_message or error.message,
                    headers={name.lower(): value for name, value in headers.items()},
                    request_id=error.request_id or "",
                )
                return error_of(refusal, now_s=self._wall_s())
            case anthropic.APITimeoutError() | httpx2.TimeoutException():
                return LlmRetryableError(f"the model's server fell silent: {_words(error)}")
            case anthropic.APIConnectionError() | httpx2.HTTPError() | httpx2.StreamError():
                cause = _words(error.__cause__) if error.__cause__ else _words(error)
                return LlmRetryableError(f"the connection to the model's server failed: {cause}")
            case anthropic.AnthropicError():
                return LlmRequestError(f"the SDK refused the call: {_words(error)}")
            case _ if began:
                return LlmRetryableError(f"the server's stream makes no sense: {_words(error)}")
            case _:
                return LlmRequestError(f"the request cannot be sent: {_words(error)}")

    def _note_headers(self, headers: Mapping[str, str], model: str, progress: Progress) -> None:
        kept = {
            name.lower(): value
            for name, value in headers.items()
            if name.lower().startswith(_KEPT_HEADER_PREFIXES)
        }
        progress.headers = kept
        if self._on_headers is not None:
            self._on_headers(model, kept)


def _may_have_been_read(error: Exception, *, began: bool) -> bool:
    """Whether a server may have read the prompt without saying that it refuses it."""
    import anthropic
    import httpx2

    if isinstance(error, anthropic.APIStatusError):
        return False
    broke_off = isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError | httpx2.StreamError)
    never_met = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return began or (broke_off and not never_met)


def _foreign_errors() -> tuple[type[Exception], ...]:
    """What the SDK and its transport raise. The built-in ones are how it fails on a stream that breaks
    the protocol: tool input that is no JSON, a block that never began, an answer without a message."""
    import anthropic
    import httpx2

    return (
        anthropic.AnthropicError,
        httpx2.HTTPError,
        httpx2.StreamError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RuntimeError,
        AssertionError,
    )


def _parameters(request: TurnRequest, capabilities: Capabilities) -> dict[str, Any]:
    """Return the call's parameters; optional ones are left out, never sent empty."""
    system, messages = list(request.system), list(request.messages)
    if capabilities.cache_control:
        system, messages = with_cache_marks(system, messages)
    parameters: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": messages,
    }
    if system:
        parameters["system"] = system
    if request.tools:
        parameters["tools"] = list(request.tools)
    if request.effort and capabilities.output_config:
        parameters["output_config"] = {"effort": request.effort}
    return parameters


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
