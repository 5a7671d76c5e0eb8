"""The Messages API as an application: routes, who may ask, and what each request earns.

Separate from the server that carries it. A request passes, in order: credentials, size,
validation, the conversation's rules, its script, the fault that the script or the dice ask
for, and the rate limits; then it is answered and entered in the books. Deliberately absent:
state of conversations. Which turn is due is read from the request, so a killed and resumed
conversation goes on where it was, with this server or another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field, replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentcoord.clock import Clock
from agentcoord.llm.rehearsal.answers import Message, compose, events_of
from agentcoord.llm.rehearsal.books import KNOWN_MODELS, Books, Record, price_usd_micros
from agentcoord.llm.rehearsal.casting import Casting, Play
from agentcoord.llm.rehearsal.exchange import Exchange
from agentcoord.llm.rehearsal.faults import NO_DICE, Dice, FaultKind
from agentcoord.llm.rehearsal.prefix_cache import Lookup, PrefixCache, PromptUsage, count_prompt_tokens
from agentcoord.llm.rehearsal.problems import Problem, refusal_of
from agentcoord.llm.rehearsal.rate_limits import Limits, RateLimits
from agentcoord.llm.rehearsal.scripts import Script
from agentcoord.llm.rehearsal.validation import COUNT_FIELDS, check_request
from agentcoord.values import dataclass

MAX_BODY_BYTES = 32 * 1024 * 1024
_NO_PROMPT = PromptUsage(0, 0, 0, 0)

OnRecord = Callable[[Record], Awaitable[None]]
"""Awaited with each record after it was entered in the books."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the rehearsal behaves beside its scripts."""

    latency_scale: float = 1.0
    """Multiplies `thinking_ms`, `stream_ms` and the `latency` fault."""
    dice: Dice = NO_DICE
    limits: Limits = field(default_factory=Limits)
    on_record: OnRecord | None = None


class MessagesApi:
    """The routes and what they remember: tries, cache, limits, books."""

    def __init__(self, scripts: Mapping[str, Script], clock: Clock, options: Options) -> None:
        self.books = Books()
        self._casting = Casting(scripts, options.dice)
        self._clock = clock
        self._options = options
        self._cache = PrefixCache()
        self._limits = RateLimits(options.limits)
        self._requests = 0
        self._at_once = 0

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/messages", _Endpoint(self._messages, self._clock), methods=["POST"]),
                Route(
                    "/v1/messages/count_tokens", _Endpoint(self._count_tokens, self._clock), methods=["POST"]
                ),
                # As Vertex AI has it: the model in the path, the version in the body.
                Route(
                    "/projects/{project}/locations/{region}/publishers/anthropic/models/{call}",
                    _Endpoint(self._messages, self._clock),
                    methods=["POST"],
                ),
                Route("/v1/models", self._models),
                Route("/v1/models/{model}", self._models),
                Route("/books", self._show_books),
            ]
        )

    async def _show_books(self, _request: Request) -> JSONResponse:
        return JSONResponse(self.books.to_dict())

    async def _models(self, request: Request) -> JSONResponse:
        if (problem := _check_credentials(request)) is not None:
            return JSONResponse(problem.body(self._next_id()), problem.status)
        models = [_model_dict(name) for name in KNOWN_MODELS]
        if (wanted := request.path_params.get("model")) is None:
            ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]}
            return JSONResponse({"data": models, "has_more": False, **ends})
        found = next((model for model in models if model["id"] == wanted), None)
        if found is None:
            return JSONResponse(Problem(404, f"model: {wanted}").body(self._next_id()), 404)
        return JSONResponse(found)

    async def _count_tokens(self, request: Request, exchange: Exchange) -> None:
        request_id = self._next_id()
        headers = {"request-id": request_id}
        body = await _read_body(request)
        if isinstance(body, Problem):
            await exchange.refuse(body, headers, request_id)
        elif (problem := check_request(body, COUNT_FIELDS)) is not None:
            await exchange.refuse(problem, headers, request_id)
        else:
            await exchange.reply(200, {"input_tokens": count_prompt_tokens(body)}, headers)

    async def _messages(self, request: Request, exchange: Exchange) -> None:
        asked = _Asked(self._next_id(), self._clock.now_ms())
        self._at_once += 1
        self.books.note_at_once(self._at_once)
        try:
            body = await _read_body(request)
            play = body if isinstance(body, Problem) else self._casting.find(body)
            if isinstance(play, Problem):
                await exchange.refuse(play, {"request-id": asked.request_id}, asked.request_id)
                await self._enter(asked, status=play.status, refusal=play)
            else:
                assert not isinstance(body, Problem), "a refused body finds no play"
                await self._answer(body, play, exchange, asked)
        finally:
            self._at_once -= 1
            self.books.note_at_once(self._at_once)

    async def _answer(self, body: dict[str, Any], play: Play, exchange: Exchange, asked: _Asked) -> None:
        """Answer a valid request, or spoil it as its fault says, and enter it in the books."""
        model, fault = body["model"], play.fault
        kind = fault.kind if fault is not None else None
        asked = replace(asked, model=model, task=play.task, turn=play.turn, fault=str(kind or ""))
        started_at = self._clock.monotonic()
        lookup = self._cache.look_up(body, started_at)
        too_early_s = self._limits.take(model, lookup.usage, started_at)
        headers = {
            "request-id": asked.request_id,
            **self._limits.headers(model, started_at, self._clock.now_ms()),
        }
        refusal = refusal_of(fault) if fault is not None else None
        if too_early_s is not None:
            wait = f"{too_early_s:.3f}"
            refusal = Problem(
                429, "This request would exceed your rate limit.", headers={"retry-after": wait}
            )
            asked = replace(asked, fault="")
        if refusal is not None:
            await exchange.refuse(refusal, headers, asked.request_id)
            await self._enter(asked, status=refusal.status, refusal=refusal)
            return
        if kind is not None and await exchange.spoil(kind, headers):
            await self._enter(asked, status=200)
            return
        await self._pause(play)
        message = compose(
            play.answer,
            task=play.task,
            turn=play.turn,
            model=model,
            max_tokens=body["max_tokens"],
            fault=fault,
        )
        self._cache.write(lookup, started_at)
        self._casting.note_begun(body["messages"], message.content)
        sent, complete = await self._send(body, message, lookup, exchange, headers, play)
        self._limits.charge_output(model, sent, self._clock.monotonic())
        await self._enter(
            asked,
            status=200,
            prompt=lookup.usage,
            output_tokens=sent,
            stop_reason=message.stop_reason if complete else "",
        )

    async def _send(
        self,
        body: Mapping[str, Any],
        message: Message,
        lookup: Lookup,
        exchange: Exchange,
        headers: Mapping[str, str],
        play: Play,
    ) -> tuple[int, bool]:
        """Send the answer; return its output tokens as far as sent, and whether it came to its end."""
        if not body.get("stream"):
            await exchange.reply(200, message.to_dict(lookup.usage), headers)
            return message.output_tokens, True
        stream_s = play.answer.stream_ms / 1_000 * self._options.latency_scale
        events = events_of(message, lookup.usage)
        sent, complete = await exchange.stream(events, headers, play.fault, stream_s)
        return (message.output_tokens if complete else max(1, sent)), complete

    async def _pause(self, play: Play) -> None:
        """Think: wait as long as the script says before the first byte."""
        wait_ms = play.answer.thinking_ms
        if play.fault is not None and play.fault.kind is FaultKind.LATENCY:
            wait_ms += play.fault.ms
        if (wait_s := wait_ms / 1_000 * self._options.latency_scale) > 0:
            await self._clock.sleep(wait_s)

    async def _enter(
        self,
        asked: _Asked,
        *,
        status: int,
        refusal: Problem | None = None,
        prompt: PromptUsage = _NO_PROMPT,
        output_tokens: int = 0,
        stop_reason: str = "",
    ) -> None:
        cost = price_usd_micros(asked.model, prompt, output_tokens) if output_tokens else 0
        record = Record(
            request_id=asked.request_id,
            arrived_at_ms=asked.arrived_at_ms,
            at_ms=self._clock.now_ms(),
            model=asked.model,
            task=asked.task,
            turn=asked.turn,
            status=status,
            fault=asked.fault,
            refusal="" if refusal is None else refusal.message,
            retry_after_s=0.0 if refusal is None else refusal.retry_after_s,
            stop_reason=stop_reason,
            prompt=prompt,
            output_tokens=output_tokens,
            usd_micros=cost,
        )
        self.books.add(record)
        if self._options.on_record is not None:
            await self._options.on_record(record)

    def _next_id(self) -> str:
        self._requests += 1
        return f"req_rehearsal_{self._requests:06d}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is known of a request before it is answered."""

    request_id: str
    arrived_at_ms: int
    model: str = ""
    task: str = ""
    turn: int = -1
    fault: str = ""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A route that speaks plain ASGI through an Exchange."""

    handle: Callable[[Request, Exchange], Awaitable[None]]
    clock: Clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who hangs up while still sending its request is owed no answer.
        with contextlib.suppress(ClientDisconnect):
            await self.handle(Request(scope, receive), Exchange(scope, receive, send, self.clock))


def _check_credentials(request: Request) -> Problem | None:
    bearer = request.headers.get("authorization", "")
    has_bearer = bearer.lower().startswith("bearer ") and bearer[7:].strip()
    if has_bearer or request.headers.get("x-api-key", "").strip():
        return None
    return Problem(401, "x-api-key header is required")


async def _read_body(request: Request) -> dict[str, Any] | Problem:
    """Read the JSON body, or say what is wrong with the request as such."""
    if (problem := _check_credentials(request)) is not None:
        return problem
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MAX_BODY_BYTES:
            pieces.append(piece)
    if size > MAX_BODY_BYTES:
        return Problem(413, "Request exceeds the maximum size")
    try:
        body = json.loads(b"".join(pieces))
    except ValueError:
        return Problem(400, "The request body is not valid JSON")
    if not isinstance(body, dict):
        return Problem(400, "The request body must be an object")
    if (call := request.path_params.get("call")) is not None:
        return _of_vertex(body, call)
    if not request.headers.get("anthropic-version"):
        return Problem(400, "anthropic-version: header is required")
    return dict(body)


def _of_vertex(body: dict[str, Any], call: str) -> dict[str, Any] | Problem:
    """Translate a request to Vertex AI, whose path ends in `MODEL:streamRawPredict`, into the API's own."""
    model, _, method = call.rpartition(":")
    if method not in ("rawPredict", "streamRawPredict"):
        return Problem(404, f"no method {method!r}")
    if not body.get("anthropic_version"):
        return Problem(400, "anthropic_version: Field required")
    kept = {name: value for name, value in body.items() if name != "anthropic_version"}
    return {**kept, "model": model}


def _model_dict(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
    }
