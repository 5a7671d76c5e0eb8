#!/usr/bin/env python3
"""A daemon's socket that only talks: answers a dashboard and sends it events and rows at a given rate.

    python tui_flood.py SOCKET EVENTS_A_SECOND ROWS_A_SECOND TASKS_A_TIME

In a process of its own, so that what it takes is not counted for the dashboard. Speaks through the same
codec as the daemon. Sends until the reader is gone; a reader that does not keep up is waited for, so what
arrives is what it can take. Separate from the program that measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count
from pathlib import Path
from typing import Any, Final

from agentcoord.wire.codec import FrameDecoder, Request, encode_result
from agentcoord.wire.messages import Method, Notification
from agentcoord.wire.quick_json import encode_notification

NIGHT: Final = Path(__file__).resolve().parents[1] / "dashboard_night.json"
TASKS: Final = 40
BATCH_S: Final = 0.01
STATUS_S: Final = 1.0


def a_snapshot() -> dict[str, Any]:
    """The recorded night with forty tasks, of which most are at work."""
    snapshot: dict[str, Any] = json.loads(NIGHT.read_text(encoding="utf-8"))["snapshot"]
    rows = snapshot["tasks"]
    snapshot["tasks"] = [
        {**rows[i % len(rows)], "id": f"task-{i:02}", "state": "running", "why": ""} for i in range(TASKS)
    ]
    return snapshot


class Flood:
    """One night that never ends."""

    def __init__(self, events_a_s: float, rows_a_s: float, tasks_a_time: int) -> None:
        self._snapshot = a_snapshot()
        self._events_a_s = events_a_s
        self._rows_a_s = rows_a_s
        self._tasks_a_time = tasks_a_time

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        try:
            async with asyncio.TaskGroup() as group:
                while chunk := await reader.read(65536):
                    for frame in decoder.feed(chunk):
                        assert isinstance(frame, Request)
                        writer.write(encode_result(frame.id, self._answer(frame.method)))
                        if frame.method == Method.SUBSCRIBE:
                            group.create_task(self._talk(writer))
                raise ConnectionResetError  # The reader left: what talks to it ends too.
        except* OSError:
            writer.close()

    def _answer(self, method: str) -> dict[str, Any]:
        snapshot = self._snapshot
        if method == Method.SUBSCRIBE:
            return {
                "epoch": snapshot["epoch"],
                "seq": snapshot["seq"],
                "mode": "resync",
                "snapshot": snapshot,
            }
        if method == Method.STATUS:
            return dict(snapshot["status"])
        return {
            "protocol": 1,
            "version": "0",
            "pid": 1,
            "project": snapshot["status"]["project"],
            "epoch": "e",
        }

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        snapshot, loop = self._snapshot, asyncio.get_running_loop()
        began, seq, rows_sent, status_sent = loop.time(), snapshot["seq"], 0, 0
        first = seq
        for turn in count():
            passed = loop.time() - began
            lines = []
            while seq - first < passed * self._events_a_s:
                seq += 1
                event = {**snapshot["events"][seq % len(snapshot["events"])], "seq": seq}
                lines.append(
                    encode_notification(Notification.EVENT, {"epoch": snapshot["epoch"], "event": event})
                )
            if rows_sent < passed * self._rows_a_s:
                rows_sent += 1
                lines += self._rows(turn)
            if status_sent < passed / STATUS_S:
                status_sent += 1
                status = {
                    **snapshot["status"],
                    "spend": {**snapshot["status"]["spend"], "spent_usd": passed / 99},
                }
                lines.append(encode_notification(Notification.STATUS, status))
            writer.write(b"".join(lines))
            await writer.drain()
            await asyncio.sleep(BATCH_S)

    def _rows(self, turn: int) -> list[bytes]:
        """The tasks at work and every worker moved on a little."""
        tasks = [
            {**row, "turns": turn + i, "cost_usd": turn / 1000 + i}
            for i, row in enumerate(self._snapshot["tasks"][: self._tasks_a_time])
        ]
        workers = [
            {**row, "doing": f"run pytest -q tests/test_{turn % 100}.py", "turns": turn}
            for row in self._snapshot["workers"]
        ]
        return [
            encode_notification(Notification.TASKS, {"tasks": tasks}),
            encode_notification(Notification.WORKERS, {"workers": workers}),
        ]


async def main(socket: str, events_a_s: float, rows_a_s: float, tasks_a_time: int) -> None:
    flood = Flood(events_a_s, rows_a_s, tasks_a_time)
    async with await asyncio.start_unix_server(flood.serve, socket) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
