"""Traces to a real collector's endpoint: a whole run as one tree, and no word of what was said in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from night_kit import Night, bash, create, finish, night
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentcoord.wire.messages import Method


class Collector:
    """Receives OTLP over HTTP on the loopback, as a collector would."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def spans(self) -> list[Any]:
        found = []
        for path, body in self.bodies:
            assert path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                assert names["service.name"] == "agentcoord"
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture
def a_night() -> Iterator[Night]:
    with night() as a:
        a.make_project()
        yield a


def test_a_run_arrives_as_one_tree_with_its_tokens_and_without_a_word(
    a_night: Night, collector: Collector
) -> None:
    a = a_night
    a.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server.server_port}",
        "ANTHROPIC_API_KEY": "sk-ant-wordA",
    }
    a.script(
        "t",
        {"text": "wordB", "tools": [bash("echo wordC")]},
        {"tools": [create("new.py", "wordD = 1\n")]},
        {"tools": [finish("wordE")]},
    )
    a.start()
    a.load('[[task]]\nid = "t"\ntitle = "wordF"\ndescription = "wordG"\n')
    assert a.run("agentcoord", "wait", "--timeout", "40").code == 0
    tokens = a.run("agentcoord", "costs", "--json").document["tokens"]
    a.call(Method.STOP, now=False)
    a.wait_until_stopped()

    spans = collector.spans()
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert len({span.trace_id for span in spans}) == 1
    parents = {
        (span.name.split()[0], by_id[span.parent_span_id].name.split()[0] if span.parent_span_id else "")
        for span in spans
    }
    assert parents == {
        ("run", ""),
        ("task", "run"),
        ("invoke_agent", "task"),
        ("chat", "invoke_agent"),
        ("execute_tool", "invoke_agent"),
        ("check", "invoke_agent"),
        ("landing", "invoke_agent"),
    }
    chats = [attributes(span) for span in spans if span.name.startswith("chat ")]
    assert len(chats) == 3
    assert sum(each["gen_ai.usage.output_tokens"] for each in chats) == tokens["output"]
    assert sum(each["gen_ai.usage.cache_read.input_tokens"] for each in chats) == tokens["cache_read"]
    everything = b"".join(body for _, body in collector.bodies)
    assert b"word" not in everything
    assert b"claude-haiku-5-5" in everything
