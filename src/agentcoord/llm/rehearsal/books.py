"""The rehearsal server's own books: what each request used and would have cost.

Separate, and with prices of its own, so that they check ours: two ledgers that were written
apart must agree. Deliberately not shared with `llm.pricing`; when a price changes there, it
changes here too, and a test says so.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import Any

from agentcoord.llm.rehearsal.prefix_cache import PromptUsage
from agentcoord.values import dataclass

_MAX_RECORDS = 10_000

_PRICES_USD_PER_MTOK = {
    # model: (input, output, write for 5 minutes, write for an hour, read), as decimal text
    "claude-haiku-5-5": ("0.10", "0.50", "0.125", "0.20", "0.01"),
    "claude-sonnet-5-5": ("2", "10", "2.50", "4", "0.10"),
    "claude-opus-5-5": ("4", "20", "5", "8", "0.20"),
    "claude-fable-5-2": ("8", "40", "10", "16", "0.20"),
}
_LONG_PROMPT_FACTOR = {"claude-haiku-5-5": (100_000, 5)}
"""Above so many prompt tokens the whole request costs so many times more."""

KNOWN_MODELS = tuple(_PRICES_USD_PER_MTOK)


@dataclass(frozen=True, slots=True)
class Record:
    """One request and what became of it."""

    request_id: str
    at_ms: int
    model: str
    task: str
    turn: int
    status: int
    fault: str
    """Empty when none was injected."""
    stop_reason: str
    """Empty when the answer did not end."""
    prompt: PromptUsage
    output_tokens: int
    """As far as they were sent."""
    usd_micros: int
    arrived_at_ms: int
    """When the request came in; `at_ms` is when it had ended."""
    refusal: str = ""
    """What the server said instead of answering; empty when it answered."""
    retry_after_s: float = 0.0
    """How long the refusal asked everyone to stay away."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "arrived_at_ms": self.arrived_at_ms,
            "at_ms": self.at_ms,
            "model": self.model,
            "task": self.task,
            "turn": self.turn,
            "status": self.status,
            "fault": self.fault,
            "refusal": self.refusal,
            "retry_after_s": self.retry_after_s,
            "stop_reason": self.stop_reason,
            "input_tokens": self.prompt.input_tokens,
            "cache_read_tokens": self.prompt.cache_read_tokens,
            "cache_write_5m_tokens": self.prompt.cache_write_5m_tokens,
            "cache_write_1h_tokens": self.prompt.cache_write_1h_tokens,
            "output_tokens": self.output_tokens,
            "usd": self.usd_micros / 1_000_000,
        }


class Books:
    """Totals of all requests, and the newest of them one by one."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=_MAX_RECORDS)
        self.total_usd_micros = 0
        self.usd_micros_by_task: dict[str, int] = {}
        self.answered = 0
        """Requests whose answer came to its end."""
        self.requests = 0
        self.at_once = 0
        """Requests that are being answered now."""
        self.most_at_once = 0
        """The most requests that were being answered at the same time."""

    def add(self, record: Record) -> None:
        """Enter a request that has ended, one way or another."""
        self.records.append(record)
        self.requests += 1
        self.answered += bool(record.stop_reason)
        self.total_usd_micros += record.usd_micros
        spent = self.usd_micros_by_task.get(record.task, 0)
        self.usd_micros_by_task[record.task] = spent + record.usd_micros

    def note_at_once(self, requests: int) -> None:
        """So many requests are being answered now."""
        self.at_once = requests
        self.most_at_once = max(self.most_at_once, requests)

    def to_dict(self) -> dict[str, Any]:
        """Return the books as JSON; dollars are what the requests would have cost."""
        return {
            "schema": "agentcoord.rehearsal.books/1",
            "requests": self.requests,
            "answered": self.answered,
            "at_once": self.at_once,
            "most_at_once": self.most_at_once,
            "total_usd": self.total_usd_micros / 1_000_000,
            "usd_by_task": {task: micros / 1_000_000 for task, micros in self.usd_micros_by_task.items()},
            "records": [record.to_dict() for record in self.records],
        }


def price_usd_micros(model: str, prompt: PromptUsage, output_tokens: int) -> int:
    """Return what a request costs in micro-dollars, rounded up; `model` is one of KNOWN_MODELS."""
    rates = [Fraction(rate) for rate in _PRICES_USD_PER_MTOK[model]]
    threshold, factor = _LONG_PROMPT_FACTOR.get(model, (prompt.prompt_tokens, 1))
    if prompt.prompt_tokens > threshold:
        rates = [rate * factor for rate in rates]
    counts = (
        prompt.input_tokens,
        output_tokens,
        prompt.cache_write_5m_tokens,
        prompt.cache_write_1h_tokens,
        prompt.cache_read_tokens,
    )
    return math.ceil(sum((rate * count for rate, count in zip(rates, counts, strict=True)), Fraction(0)))
