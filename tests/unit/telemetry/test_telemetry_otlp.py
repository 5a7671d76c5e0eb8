"""OTLP written by us and read by the official classes; where it is sent, and how."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agentcoord.telemetry.otlp import encode_request
from agentcoord.telemetry.otlp_http import Collector, collector_of, send, wants_content
from agentcoord.telemetry.spans import Span

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1)
values = texts | numbers | st.booleans() | st.floats(allow_nan=False) | st.lists(texts, max_size=3).map(tuple)
spans = st.builds(
    Span,
    name=texts,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    parent_id=st.integers(0, 2**64 - 1),
    start_ns=st.integers(0, 2**63),
    end_ns=st.integers(0, 2**63),
    attributes=st.dictionaries(texts, values, max_size=2),
    is_client=st.booleans(),
    error=texts,
)


def plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(plain(each) for each in value.array_value.values)
    return getattr(value, kind)


@given(st.lists(spans, max_size=2))
@example([Span("long" * 5_000, 1, 2, 3, 4, 5, {"list": ("ä" * 200, ""), "n": -1}, error="x" * 200)])
def test_the_official_classes_read_what_was_written(written: list[Span]) -> None:
    body = encode_request(written, {"service.name": "shop"}, "1.2")
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert [(each.key, plain(each.value)) for each in resource.resource.attributes] == [
        ("service.name", "shop")
    ]
    (scope,) = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("agentcoord", "1.2")
    read = [
        Span(
            name=each.name,
            trace_id=int.from_bytes(each.trace_id),
            span_id=int.from_bytes(each.span_id),
            parent_id=int.from_bytes(each.parent_span_id),
            start_ns=each.start_time_unix_nano,
            end_ns=each.end_time_unix_nano,
            attributes={one.key: plain(one.value) for one in each.attributes},
            is_client=each.kind == 3,
            error=each.status.message if each.status.code == 2 else "",
        )
        for each in scope.spans
    ]
    assert read == written
    for one, two in zip(read, written, strict=True):
        assert [type(value) for value in one.attributes.values()] == [
            type(v) for v in two.attributes.values()
        ]


def collector(**env: str) -> Collector:
    found = collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318/", **env})
    assert isinstance(found, Collector)
    return found


def test_the_place_is_read_from_the_variables_that_opentelemetry_defines() -> None:
    assert collector().url == "http://x:4318/v1/traces"
    assert collector(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://y/t").url == "https://y/t"
    named = collector(
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20secret, x = 1",
        OTEL_RESOURCE_ATTRIBUTES="service.name=a,team=b",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    assert named.headers == {"authorization": "Bearer secret", "x": "1"}
    assert named.resource == {"service.name": "a", "team": "b"}
    assert named.compress
    assert "secret" not in repr(named)
    assert collector(OTEL_SERVICE_NAME="mine").resource["service.name"] == "mine"
    assert collector().resource["service.name"] == "agentcoord"


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "the protocol grpc is not spoken"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "file:///etc"}, "the endpoint is no http(s) address"),
    ],
)
def test_nothing_is_sent_where_nothing_can_or_shall_be(env: dict[str, str], why: str) -> None:
    found = collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", **env})
    assert isinstance(found, str)
    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_a_share_of_the_traces_is_a_share_of_the_ids() -> None:
    ids = [number * (2**64 // 1_000) for number in range(1_000)]
    for sampler, argument, share in (
        ("", "", 1_000),
        ("parentbased_always_off", "", 0),
        ("traceidratio", "0.25", 250),
        ("parentbased_traceidratio", "nonsense", 1_000),
    ):
        made = collector(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument)
        assert abs(sum(map(made.samples, ids)) - share) <= 1


def test_words_are_sent_only_when_they_are_asked_for() -> None:
    assert not wants_content({})
    assert wants_content({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"})


@pytest.fixture
def server() -> Iterator[tuple[str, list[int], list[tuple[dict[str, str], bytes]]]]:
    """A collector that answers with the codes that a test lines up, then with 200."""
    answers: list[int] = []
    heard: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            heard.append((headers, self.rfile.read(int(headers["content-length"]))))
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", answers, heard
    httpd.shutdown()
    thread.join()
    httpd.server_close()


SPAN = Span("a", 1, 2, 0, 3, 4, {})


def test_a_busy_collector_is_asked_again_and_one_that_refuses_is_not(
    server: tuple[str, list[int], list[tuple[dict[str, str], bytes]]],
) -> None:
    url, answers, heard = server
    made = collector(
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_HEADERS="x-key=k",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    answers[:] = [503, 429]
    send(made, [SPAN], "1")
    assert len(heard) == 3
    headers, body = heard[-1]
    assert (headers["x-key"], headers["content-type"]) == ("k", "application/x-protobuf")
    assert gzip.decompress(body) == encode_request([SPAN], {**made.resource, "service.version": "1"}, "1")
    answers[:] = [400]
    with pytest.raises(HTTPError):
        send(made, [SPAN], "1")
    assert len(heard) == 4
    answers[:] = [503] * 3
    with pytest.raises(HTTPError):
        send(made, [SPAN], "1")
    assert len(heard) == 7
    with pytest.raises(OSError, match="refused"):
        send(collector(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"), [SPAN], "1")
