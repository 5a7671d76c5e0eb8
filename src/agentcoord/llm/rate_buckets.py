"""What a minute still allows on one model: token buckets, learned from the limit headers.

Separate from the governor because it is arithmetic over a clock that is passed in. The provider
describes its limits as continuous token buckets that count requests, input tokens (without those read
from the cache) and output tokens, each a minute. We keep the same buckets. A call spends what it is
expected to use before it starts, and what it really used corrects that at its end; a header only ever
lowers a level, because it was written before calls that have started since. Nothing is known, and
nothing held up, until the first headers came; other servers send none. Deliberately absent: waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from agentcoord.values import dataclass

_HEADER = "anthropic-ratelimit-{kind}-{what}"
_FIRST_USUAL_OUTPUT_TOKENS = 1_000.0
"""What a call is expected to answer with, before the first answer."""
_LEARNING_RATE = 0.2
"""How much of the newest answer's length goes into the usual one."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What a call is expected to use of a minute's limits."""

    input_tokens: int = 0
    """Without those that will be read from the cache."""
    max_output_tokens: int = 0
    """It may not answer with more; what it is expected to answer with is learned."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What was taken from each bucket."""

    requests: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def by_kind(self) -> dict[str, float]:
        """The amounts under the names of the headers; `tokens` is a limit on both together."""
        return {
            "requests": self.requests,
            "input-tokens": self.input_tokens,
            "output-tokens": self.output_tokens,
            "tokens": self.input_tokens + self.output_tokens,
        }


@dataclass(slots=True)
class _Bucket:
    per_minute: float
    level: float
    at_s: float

    def refill(self, now_s: float) -> None:
        grown = self.level + self.per_minute / 60 * (now_s - self.at_s)
        self.level = min(self.per_minute, grown)
        self.at_s = now_s

    def wait_s(self, amount: float) -> float:
        """How long until `amount` is there; what no bucket can hold waits for a full one."""
        return max(0.0, min(amount, self.per_minute) - self.level) * 60 / self.per_minute


@dataclass(slots=True)
class RateBuckets:
    """The buckets of one model. Times are of `Clock.monotonic`."""

    usual_output_tokens: float = _FIRST_USUAL_OUTPUT_TOKENS
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def charge_of(self, wants: Wants) -> Charge:
        """What a call would be charged in advance."""
        output = min(float(wants.max_output_tokens), self.usual_output_tokens)
        return Charge(1.0, float(wants.input_tokens), output)

    def hold_s(self, charge: Charge, now_s: float) -> tuple[float, str]:
        """How long until every bucket can bear `charge`, and the limit that takes longest."""
        longest, scarce = 0.0, ""
        for kind, amount in charge.by_kind().items():
            if (bucket := self._buckets.get(kind)) is None:
                continue
            bucket.refill(now_s)
            if (wait_s := bucket.wait_s(amount)) > longest:
                longest, scarce = wait_s, kind
        return longest, scarce

    def spend(self, charge: Charge, now_s: float) -> None:
        """Take what a starting call is expected to use."""
        self._take(charge.by_kind(), now_s)

    def correct(self, charge: Charge, used: Charge, now_s: float) -> None:
        """Replace what was taken in advance by what was used."""
        given_back = charge.by_kind()
        self._take({kind: amount - given_back[kind] for kind, amount in used.by_kind().items()}, now_s)
        if used.output_tokens:
            self.usual_output_tokens += _LEARNING_RATE * (used.output_tokens - self.usual_output_tokens)

    def learn(self, headers: Mapping[str, str], now_s: float) -> None:
        """Take in `anthropic-ratelimit-*` headers; what makes no sense in them changes nothing."""
        for kind in ("requests", "input-tokens", "output-tokens", "tokens"):
            limit = number_in(headers, _HEADER.format(kind=kind, what="limit"))
            remaining = number_in(headers, _HEADER.format(kind=kind, what="remaining"))
            if limit is None or limit <= 0:
                continue
            bucket = self._buckets.setdefault(kind, _Bucket(limit, limit, now_s))
            bucket.refill(now_s)
            bucket.per_minute = limit
            bucket.level = min(bucket.level, limit if remaining is None else remaining)

    def knows(self, kind: str) -> bool:
        """Whether headers have told the limit on `kind`."""
        return kind in self._buckets

    def _take(self, amounts: Mapping[str, float], now_s: float) -> None:
        for kind, amount in amounts.items():
            if (bucket := self._buckets.get(kind)) is not None:
                bucket.refill(now_s)
                bucket.level = min(bucket.per_minute, bucket.level - amount)


def number_in(headers: Mapping[str, str], name: str) -> float | None:
    """Read a header that is a number; None when it is missing or none."""
    try:
        return float(headers[name])
    except (KeyError, ValueError):
        return None
