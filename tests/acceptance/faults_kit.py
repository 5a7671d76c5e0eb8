"""A night against a rehearsal server of its own that throws faults, and what must hold after it.

The server is a process beside the daemon, as a provider would be: it keeps its own books, which
judge ours. Every rule of the issue is one method of `Books` or one question to the daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from night_kit import Night, wait_gone

from agentcoord.llm.rehearsal.faults import FaultKind

DELIVERY_MS = 150
"""A request may be on its way when a refusal is: later than this, its sender knew."""
STOPS_THE_RUN = frozenset(
    {
        FaultKind.SPEND_CAP,
        FaultKind.USAGE_LIMIT,
        FaultKind.BILLING,
        FaultKind.UNAUTHENTICATED,
        FaultKind.FORBIDDEN,
    }
)
"""The provider refuses to serve this account: the run stops with words, and its tasks wait for a person."""
BOOKS_TIMEOUT_S = 45.0
BOOKS_EVERY_S = 0.05
SHORT_DEADLINES = {"AGENTCOORD_MODELS_FIRST_BYTE_S": "1", "AGENTCOORD_MODELS_SILENCE_S": "1"}


@dataclass(frozen=True)
class Books:
    """What the server wrote down."""

    raw: Mapping[str, Any]

    @property
    def records(self) -> list[dict[str, Any]]:
        return list(self.raw["records"])

    @property
    def usd(self) -> float:
        return float(self.raw["total_usd"])

    def thrown(self) -> set[str]:
        """The faults that really happened."""
        return {record["fault"] for record in self.records if record["fault"]}

    def malformed(self) -> list[str]:
        """Requests that were refused for what we sent, with the server's words."""
        return [
            f"{record['status']}: {record['refusal']}"
            for record in self.records
            if record["status"] in (400, 401, 404, 413) and not record["fault"]
        ]

    def sent_too_early(self) -> list[str]:
        """Requests that came in while a refusal before them asked everyone to stay away."""
        early = []
        for refused in self.records:
            begins = refused["at_ms"] + DELIVERY_MS
            ends = refused["at_ms"] + refused["retry_after_s"] * 1_000
            early += [
                f"{record['request_id']} {ends - record['arrived_at_ms']:.0f} ms before the end of the "
                f"window of {refused['request_id']}"
                for record in self.records
                if record["model"] == refused["model"] and begins < record["arrived_at_ms"] < ends
            ]
        return early


class FaultyNight:
    """A night whose model is at the other end of a faulty line."""

    def __init__(self, night: Night, base_url: str) -> None:
        self.night = night
        self.base_url = base_url
        night.env.update(
            {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_API_KEY": "rehearsal", **SHORT_DEADLINES}
        )

    def start(self) -> int:
        """Start the daemon on the server, as a user's environment would."""
        from agentcoord.daemon.background_start import start_background
        from agentcoord.daemon.start_args import StartArgs

        started = start_background(self.night.root, args=StartArgs(), env=self.night.env)
        self.night._pids.add(started.pid)
        return started.pid

    def books(self) -> Books:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.base_url}/books", timeout=10) as response:
            return Books(json.loads(response.read()))

    def wait_for_books(self, condition: Callable[[Books], bool]) -> Books:
        """Read the server's books again and again until `condition` holds; they tell no events."""
        give_up_at = time.monotonic() + BOOKS_TIMEOUT_S
        while not condition(books := self.books()):
            assert time.monotonic() < give_up_at, books.raw
            time.sleep(BOOKS_EVERY_S)
        return books

    def costs(self) -> dict[str, Any]:
        return self.night.run("agentcoord", "costs", "--json").document

    def end(self, pid: int) -> None:
        """Stop in order; whatever waited without a deadline would hold this up."""
        done = self.night.run("agentcoordd", "stop")
        assert done.code == 0, done.err
        assert wait_gone(pid, 20), "the daemon did not end"


@contextlib.contextmanager
def faulty_server(
    scripts: Path, faults: Mapping[FaultKind, float], *, seed: int, latency_scale: float = 0.01
) -> Iterator[str]:
    """Run the rehearsal server; yield its base URL."""
    command = [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", os.fspath(scripts)]
    command += ["--latency-scale", str(latency_scale), "--seed", str(seed), "--exit-with-parent"]
    for kind, probability in faults.items():
        command += ["--fault", f"{kind}={probability}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the rehearsal server did not start"
            yield json.loads(line)["base_url"]
        finally:
            process.kill()
