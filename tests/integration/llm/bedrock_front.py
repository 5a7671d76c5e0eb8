"""Bedrock's classic endpoint in front of the rehearsal server: other paths, and events in binary frames.

A real server on loopback, so that the SDK's own client for Bedrock is tried whole: its path for a model,
its sign-in by a bearer token, and its decoder of AWS's event stream. The frames are written after AWS's
public description of them (lengths, headers, payload, two checksums). Deliberately absent: signatures
of AWS keys, which nothing here could judge.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import urllib.parse
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

_STRING = 7
_HEADERS = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}


@asynccontextmanager
async def bedrock_in_front_of(base_url: str) -> AsyncIterator[str]:
    """Serve until the block ends; yields the endpoint's address."""
    async with httpx2.AsyncClient(base_url=base_url, trust_env=False) as client:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await _answer(client, reader, writer)
            finally:
                writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _answer(
    client: httpx2.AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Take one request, as Bedrock does, and hand it on in the API's own words."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    _, model, call = head[0].split()[1].rsplit("/", 2)
    assert call == "invoke-with-response-stream", call
    version = body.pop("anthropic_version")  # In the body, where the API has a header.
    assert not {"model", "stream"} & body.keys(), "both are in the path"
    asked = {**body, "model": urllib.parse.unquote(model), "stream": True}
    sent = {"authorization": headers["authorization"], "anthropic-version": version}
    async with client.stream("POST", "/v1/messages", json=asked, headers=sent) as response:
        if response.status_code != 200:
            error = await response.aread()
            writer.write(_head(response.status_code, "application/json") + _chunk(error) + _chunk(b""))
            return
        writer.write(_head(200, "application/vnd.amazon.eventstream"))
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                writer.write(_chunk(frame(line.removeprefix("data: ").encode())))
                await writer.drain()
        writer.write(_chunk(b""))
        await writer.drain()


def frame(event: bytes) -> bytes:
    """Wrap one event of the API as a message of AWS's event stream."""
    payload = json.dumps({"bytes": base64.b64encode(event).decode()}).encode()
    headers = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + struct.pack(">BH", _STRING, len(value))
        + value.encode()
        for name, value in _HEADERS.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _head(status: int, content_type: str) -> bytes:
    words = f"HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n"
    return f"{words}connection: close\r\n\r\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
