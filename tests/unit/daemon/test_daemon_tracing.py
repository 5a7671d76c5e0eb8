"""The tracer: what an earlier daemon left under way ends in the trace, and what cannot be sent waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest
from daemon_fakes import HandClock, MemoryLog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.tracing import SEND_EVERY_S, Tracer
from agentcoord.domain.events import Event, EventKind
from agentcoord.store.event_log import EventLog
from agentcoord.telemetry.otlp_http import Collector, collector_of
from agentcoord.telemetry.spans import SpanBook

SPANS = 4


class Server:
    """A collector that refuses the first `refused` requests for good."""

    def __init__(self, refused: int) -> None:
        names: list[tuple[str, str]] = []
        self.spans = names
        self.refusals = 0
        self.got_all = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refusals < refused:
                    outer.refusals += 1
                    self.send_response(400)
                else:
                    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                        spans = [span for scope in resource.scope_spans for span in scope.spans]
                        names.extend((span.name, span.status.message) for span in spans)
                    if len(names) >= SPANS:
                        outer.got_all.set()
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(refused=1)
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


async def test_a_restart_ends_what_was_under_way_and_nothing_is_lost_to_a_refusal(server: Server) -> None:
    clock, log = HandClock(), MemoryLog()
    claimed = {"token": 1, "attempt": 1, "model": "m"}
    earlier = Event(EventKind.TASK_CLAIMED, clock.now_ms() - 1_000, "a", "Architect", claimed)
    await log.append([earlier])
    hub = EventHub(cast("EventLog", log), clock)
    await hub.load_recent()
    collector = collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.http.server_port}"})
    assert isinstance(collector, Collector)

    async def status() -> Any:
        return {"ended": True}

    run = "r20261126-220000"
    tracer = Tracer(hub, SpanBook("shop"), collector, clock, current_run=lambda: run, status=status)
    hub.emit(EventKind.DAEMON_STARTED)
    async with asyncio.TaskGroup() as group:
        told = group.create_task(hub.run())
        await hub.flushed()  # It stands among the newest events before the tracer looks.
        tracing = group.create_task(tracer.run())
        await asyncio.sleep(0)
        hub.emit(EventKind.TASK_CLAIMED, task="a", worker="Architect", **{**claimed, "token": 2})
        hub.emit(EventKind.TASK_DONE, task="a", worker="Architect", files=[])
        assert await asyncio.to_thread(server.got_all.wait, 20)
        told.cancel()
        tracing.cancel()
    assert server.refusals == 1
    assert server.spans == [
        ("invoke_agent Architect", "interrupted"),
        ("invoke_agent Architect", ""),
        ("task a", ""),
        (f"run {run}", ""),
    ]


def test_a_collector_that_says_nothing_holds_up_no_daemon_that_stops_and_what_is_lost_is_counted() -> None:
    claimed = {"token": 1, "attempt": 1, "model": "m"}

    async def stop_while_it_hangs(port: int) -> socket.socket:
        hub = EventHub(cast("EventLog", MemoryLog()), HandClock())
        collector = collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})
        assert isinstance(collector, Collector)

        async def status() -> Any:
            return {"ended": False}

        tracer = Tracer(
            hub,
            SpanBook("shop"),
            collector,
            HandClock(),
            current_run=lambda: "r20261126-220000",
            status=status,
            last_words_s=0.05,
        )
        async with asyncio.TaskGroup() as group:
            told, tracing = group.create_task(hub.run()), group.create_task(tracer.run())
            await asyncio.sleep(0)
            hub.emit(EventKind.TASK_CLAIMED, task="a", worker="Architect", **claimed)
            hub.emit(EventKind.TASK_DONE, task="a", worker="Architect", files=[])
            taken, _ = await asyncio.to_thread(silent.accept)
            told.cancel()
            tracing.cancel()
        return taken

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        capture_logs() as logged,
        asyncio.run(stop_while_it_hangs(silent.getsockname()[1])),
    ):
        assert any(thread.name == "traces" for thread in threading.enumerate()), "nobody waited for it"
    (lost,) = [each for each in logged if each["event"] == "spans_lost"]
    assert lost["spans"] == 2


async def test_a_collector_that_is_away_is_asked_ever_more_rarely() -> None:
    class Clock(HandClock):
        async def sleep(self, seconds: float) -> None:
            if seconds >= SEND_EVERY_S:
                waits.append(seconds)
                if len(waits) == 9:
                    enough.set()
            await super().sleep(seconds)

    waits: list[float] = []
    enough = asyncio.Event()
    clock = Clock()
    hub = EventHub(cast("EventLog", MemoryLog()), clock)
    collector = collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert isinstance(collector, Collector)

    async def status() -> Any:
        return {"ended": False}

    tracer = Tracer(hub, SpanBook("shop"), collector, clock, current_run=lambda: "r1", status=status)
    claimed = {"token": 1, "attempt": 1, "model": "m"}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hub.run()), group.create_task(tracer.run())]
        await asyncio.sleep(0)
        hub.emit(EventKind.TASK_CLAIMED, task="a", worker="Architect", **claimed)
        hub.emit(EventKind.TASK_DONE, task="a", worker="Architect", files=[])
        async with asyncio.timeout(20):
            await enough.wait()
        for task in tasks:
            task.cancel()
    assert waits[:9] == [5, 10, 20, 40, 80, 160, 300, 300, 300]
