"""What every peer's program shares: its settings from the environment, and how handlers record.

A handler appends one 8-byte number to a file in memory, so that recording costs every peer the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable

URL = os.environ["BENCH_URL"]
HOST, PORT = "127.0.0.1", int(URL.rsplit(":", 1)[1].split("/")[0])
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
OPTIONS: dict[str, object] = json.loads(os.environ.get("BENCH_OPTIONS", "{}"))
now_ns = time.monotonic_ns
_records = os.open(os.environ["BENCH_OUT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_GAP_S = 0.01


def record_now() -> None:
    os.write(_records, struct.pack("<q", now_ns()))


def record_delay(sent_ns: int) -> None:
    os.write(_records, struct.pack("<q", now_ns() - sent_ns))


def bodies(count: int) -> list[str]:
    """1,000 characters of prose each, no two alike."""
    prose = open(os.environ["BENCH_PROSE"], encoding="ascii").read()
    return [prose[(i * 977) % (len(prose) - 1000) :][:1000] for i in range(count)]


async def send_apart(count: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Send `count` messages 10 ms apart, each with the moment it was sent."""
    for _ in range(count):
        await asyncio.sleep(_GAP_S)
        await send(now_ns())


def send_apart_blocking(count: int, send: Callable[[int], object]) -> None:
    for _ in range(count):
        time.sleep(_GAP_S)
        send(now_ns())


def use_uvloop() -> None:
    if OPTIONS.get("uvloop"):
        import uvloop

        uvloop.install()


def main(
    worker: Callable[[], object],
    *,
    fill: Callable[[list[str]], object],
    drip: Callable[[int], object],
) -> None:
    """`worker`, `fill COUNT` or `drip COUNT`; fill and drip may give coroutines."""
    use_uvloop()
    if sys.argv[1] == "worker":
        worker()
        return
    count = int(sys.argv[2])
    done = fill(bodies(count)) if sys.argv[1] == "fill" else drip(count)
    if asyncio.iscoroutine(done):
        asyncio.run(done)
