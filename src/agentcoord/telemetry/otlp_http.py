"""Where traces go, by the variables that OpenTelemetry defines, and sending them by HTTP.

See https://opentelemetry.io/docs/specs/otel/protocol/exporter/. Understood are the endpoint, the headers,
`gzip`, a certificate, resource attributes, the service's name, and samplers by ratio. Imports no HTTP
before something is sent. Deliberately absent: gRPC.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final
from urllib.parse import unquote, urlsplit

from agentcoord.telemetry.otlp import encode_request
from agentcoord.telemetry.posting import post
from agentcoord.telemetry.spans import Span
from agentcoord.values import dataclass

HTTP_PROTOCOL: Final = "http/protobuf"
CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
SEND_TIMEOUT_S: Final = 10.0
TRIES: Final = 3
MOST_WAIT_S: Final = 5.0
"""Between two tries, whatever the collector asks for."""
_PASSING: Final = frozenset({429, 502, 503, 504})
"""Answers after which the protocol asks to try again."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Where traces are sent."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """With their tokens."""
    resource: Mapping[str, str]
    """Who we are."""
    compress: bool
    certificate: str
    """A file with the authorities to trust; empty: the system's."""
    share: float
    """Of the traces; 1 for all."""

    def samples(self, trace_id: int) -> bool:
        """Whether this trace is among those sent: all of its spans are, or none."""
        return (trace_id & (1 << 64) - 1) < self.share * (1 << 64)


def collector_of(env: Mapping[str, str]) -> Collector | str:
    """Return where the person's environment sends traces; else why not, empty when it names no place."""

    def of_traces(name: str, default: str = "") -> str:
        return (
            env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or default
        )

    base = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    url = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and f"{base.rstrip('/')}/v1/traces")
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not url or off or env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return ""
    if (protocol := of_traces("PROTOCOL", HTTP_PROTOCOL)) != HTTP_PROTOCOL:
        return (
            f"the protocol {protocol} is not spoken: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={HTTP_PROTOCOL}"
        )
    if urlsplit(url).scheme not in ("http", "https"):
        return "the endpoint is no http(s) address"
    name = env.get("OTEL_SERVICE_NAME", "")
    resource = {"service.name": "agentcoord", **_pairs(env.get("OTEL_RESOURCE_ATTRIBUTES", ""))}
    return Collector(
        url=url,
        headers=_pairs(of_traces("HEADERS")),
        resource={**resource, "service.name": name} if name else resource,
        compress=of_traces("COMPRESSION") == "gzip",
        certificate=of_traces("CERTIFICATE"),
        share=_share(env.get("OTEL_TRACES_SAMPLER", ""), env.get("OTEL_TRACES_SAMPLER_ARG", "")),
    )


def wants_content(env: Mapping[str, str]) -> bool:
    """Whether the person has asked for words in traces."""
    return env.get(CAPTURE_VARIABLE, "").lower() in ("true", "1", "span_only", "span_and_event")


def send(collector: Collector, spans: Sequence[Span], version: str) -> None:
    """Post the spans, again while the collector asks for that. Blocking.

    Raises OSError when they did not get there, of which a refused answer is one.
    """
    import ssl
    from urllib.error import HTTPError
    from urllib.request import Request

    body = encode_request(spans, {**collector.resource, "service.version": version}, version)
    headers = {"Content-Type": "application/x-protobuf", "User-Agent": f"agentcoord/{version}"}
    if collector.compress:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    trust = None
    if collector.url.startswith("https:"):
        trust = ssl.create_default_context(cafile=collector.certificate or None)
    request = Request(collector.url, body, {**headers, **collector.headers}, method="POST")  # noqa: S310 - looked at
    for attempt in range(1, TRIES + 1):
        try:
            post(request, SEND_TIMEOUT_S, trust)
            return
        except HTTPError as error:
            if error.code not in _PASSING or attempt == TRIES:
                raise
            asked = error.headers.get("Retry-After", "")
            time.sleep(min(MOST_WAIT_S, float(asked) if asked.isdecimal() else 0.5 * 2**attempt))


def _pairs(text: str) -> dict[str, str]:
    """Read `a=b,c=d`, percent-encoded as W3C baggage is."""
    found = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {unquote(key.strip()): unquote(value.strip()) for key, _, value in found}


def _share(sampler: str, argument: str) -> float:
    """How many of the traces are sent; what cannot be read means all of them, as the specification says."""
    if sampler.endswith("always_off"):
        return 0.0
    if not sampler.endswith("traceidratio"):
        return 1.0
    try:
        share = float(argument)
    except ValueError:
        return 1.0
    return share if 0 <= share <= 1 else 1.0
