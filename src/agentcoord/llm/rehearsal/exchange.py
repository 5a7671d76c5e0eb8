"""One exchange on the wire: the answer streamed piece by piece, and every way it can break.

Separate from the application because this is where faults touch the connection itself. It
speaks plain ASGI, since a framework's responses cannot reset a connection; the server puts
the transport into the scope for that.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping, Sequence

from starlette.types import Receive, Scope, Send

from agentcoord.clock import Clock
from agentcoord.llm.rehearsal.answers import Event
from agentcoord.llm.rehearsal.faults import IN_STREAM, Fault, FaultKind
from agentcoord.llm.rehearsal.problems import Problem

TRANSPORT_KEY = "agentcoord.transport"
"""Where the server's protocol puts the connection's transport in the ASGI scope."""
_STALL_DEADLINE_S = 900.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_HTML = b"<!doctype html><title>Sign in</title><p>Please sign in to use this network.</p>"


class Exchange:
    """One request's way back to its client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, clock: Clock) -> None:
        self._transport: asyncio.Transport = scope[TRANSPORT_KEY]
        self._receive = receive
        self._send = send
        self._clock = clock

    async def refuse(self, problem: Problem, headers: Mapping[str, str], request_id: str) -> None:
        """Send an error in place of an answer."""
        await self.reply(problem.status, problem.body(request_id), {**headers, **problem.headers})

    async def reply(self, status: int, body: object, headers: Mapping[str, str]) -> None:
        """Send one JSON document."""
        encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        await self._begin(status, {**headers, "content-length": str(len(encoded))}, "application/json")
        await self._send({"type": "http.response.body", "body": encoded})

    async def spoil(self, kind: FaultKind, headers: Mapping[str, str]) -> bool:
        """Break the exchange before anything of the answer; False when `kind` is of another sort."""
        match kind:
            case FaultKind.RESET:
                await self._reset()
            case FaultKind.STALL:
                await self._stall()
            case FaultKind.EMPTY_BODY:
                await self._begin(200, headers, "text/event-stream; charset=utf-8")
                await self._send({"type": "http.response.body", "body": b""})
            case FaultKind.HTML_BODY:
                await self._begin(200, headers, "text/html; charset=utf-8")
                await self._send({"type": "http.response.body", "body": _HTML})
            case _:
                return False
        return True

    async def stream(
        self, events: Sequence[Event], headers: Mapping[str, str], fault: Fault | None, stream_s: float
    ) -> tuple[int, bool]:
        """Send the events, spread over `stream_s`; return the output tokens sent and whether all were.

        A fault of the stream breaks it on its way, after `message_start` and before the end.
        """
        breaking = fault if fault is not None and fault.kind in IN_STREAM else None
        last = len(events)
        if breaking is not None:
            last = min(max(1, round(len(events) * breaking.after)), len(events) - 2)
        gap_s = stream_s / len(events)
        await self._begin(200, {**headers, "cache-control": "no-cache"}, "text/event-stream; charset=utf-8")
        sent_tokens = 0
        for event in events[:last]:
            if self._transport.is_closing():
                return sent_tokens, False
            await self._send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            sent_tokens += event.output_tokens
            if gap_s > 0:
                await self._clock.sleep(gap_s)
        if breaking is not None:
            await self._break_stream(breaking.kind)
            return sent_tokens, False
        await self._send({"type": "http.response.body", "body": b""})
        return sent_tokens, True

    async def _break_stream(self, kind: FaultKind) -> None:
        match kind:
            case FaultKind.STREAM_OVERLOADED | FaultKind.STREAM_API_ERROR:
                name = "overloaded_error" if kind is FaultKind.STREAM_OVERLOADED else "api_error"
                error = Event("error", {"error": {"type": name, "message": "Overloaded"}})
                await self._send({"type": "http.response.body", "body": error.encode()})
            case FaultKind.TRUNCATE:
                await self._send({"type": "http.response.body", "body": b""})
            case FaultKind.STREAM_STALL:
                await self._stall()
            case _:
                # Without a reset: that would take back what the client has not read yet.
                self._transport.abort()
                await self._wait_for_disconnect()

    async def _begin(self, status: int, headers: Mapping[str, str], content_type: str) -> None:
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        raw.append((b"content-type", content_type.encode("ascii")))
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _reset(self) -> None:
        """Reset the connection, as a router or a crash does; return once the server has noticed."""
        if (sock := self._transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        await self._wait_for_disconnect()

    async def _stall(self) -> None:
        """Say nothing until the client gives up, or long enough that it never will; then hang up."""
        try:
            async with asyncio.timeout(_STALL_DEADLINE_S):
                await self._wait_for_disconnect()
        except TimeoutError:
            await self._reset()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
