"""Rate limits as the service has them: continuous token buckets, a model, told in headers.

Separate because it is arithmetic over a clock that is passed in. Cache reads do not count
toward input tokens a minute; plain input and cache writes do.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping

from agentcoord.llm.rehearsal.prefix_cache import PromptUsage
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What an organisation may use of one model in a minute."""

    requests_per_minute: int = 4_000
    input_tokens_per_minute: int = 4_000_000
    output_tokens_per_minute: int = 800_000


@dataclass(slots=True)
class _Bucket:
    capacity: float
    level: float
    at_s: float

    def refill(self, now_s: float) -> None:
        self.level = min(self.capacity, self.level + self.capacity / 60 * (now_s - self.at_s))
        self.at_s = now_s

    def wait_s(self, amount: float) -> float:
        """How long until `amount` is there; never more than a full bucket's worth."""
        missing = min(amount, self.capacity) - self.level
        return max(0.0, missing * 60 / self.capacity)

    def full_in_s(self) -> float:
        return (self.capacity - self.level) * 60 / self.capacity


class RateLimits:
    """The buckets of every model that was asked for."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[str, dict[str, _Bucket]] = {}

    def take(self, model: str, prompt: PromptUsage, now_s: float) -> float | None:
        """Charge a request and its prompt; or return how many seconds it is too early."""
        buckets = self._of(model, now_s)
        counted = prompt.prompt_tokens - prompt.cache_read_tokens
        wait_s = max(buckets["requests"].wait_s(1), buckets["input-tokens"].wait_s(counted))
        if buckets["output-tokens"].level < 0:
            wait_s = max(wait_s, buckets["output-tokens"].wait_s(0))
        if wait_s > 0:
            return wait_s
        buckets["requests"].level -= 1
        buckets["input-tokens"].level -= counted
        return None

    def charge_output(self, model: str, output_tokens: int, now_s: float) -> None:
        """Charge output as it was sent; a bucket may go below nothing and then refuses."""
        self._of(model, now_s)["output-tokens"].level -= output_tokens

    def headers(self, model: str, now_s: float, now_ms: int) -> Mapping[str, str]:
        """Return the `anthropic-ratelimit-*` headers."""
        headers: dict[str, str] = {}
        for kind, bucket in self._of(model, now_s).items():
            reset_s = now_ms / 1_000 + bucket.full_in_s()
            reset = datetime.datetime.fromtimestamp(math.ceil(reset_s), datetime.UTC)
            headers[f"anthropic-ratelimit-{kind}-limit"] = str(int(bucket.capacity))
            headers[f"anthropic-ratelimit-{kind}-remaining"] = str(max(0, int(bucket.level)))
            headers[f"anthropic-ratelimit-{kind}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def _of(self, model: str, now_s: float) -> dict[str, _Bucket]:
        buckets = self._buckets.get(model)
        if buckets is None:
            capacities = {
                "requests": self._limits.requests_per_minute,
                "input-tokens": self._limits.input_tokens_per_minute,
                "output-tokens": self._limits.output_tokens_per_minute,
            }
            buckets = {kind: _Bucket(float(n), float(n), now_s) for kind, n in capacities.items()}
            self._buckets[model] = buckets
        for bucket in buckets.values():
            bucket.refill(now_s)
        return buckets
