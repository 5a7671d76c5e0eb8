"""How large a call is before anybody has counted it: estimates of tokens from bytes.

Separate from the gateway because it is pure. Money is reserved by an estimate from above. The minute's
limits are spent by an estimate of what will not be read from the cache, which knows the conversation's
last call: what that one sent is in the cache while it is young.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentcoord.domain.usage import Usage
from agentcoord.llm.api import Progress, TurnRequest
from agentcoord.values import dataclass

_PROMPT_MARGIN_TOKENS = 2_000
"""For what the provider adds to a prompt: tool-use instructions and framing."""
_BYTES_PER_TOKEN = 3
_CACHE_LIVES_S = 270.0
"""Of a mark of five minutes, with a margin."""


@dataclass(frozen=True, slots=True)
class PromptSize:
    """A prompt's tokens, estimated from above."""

    shared: int
    """System prompt and tools: at worst they are written to the cache for an hour."""
    own: int
    """The conversation: at worst it is written to the cache for five minutes."""

    @property
    def tokens(self) -> int:
        return self.shared + self.own

    @classmethod
    def of(cls, request: TurnRequest) -> PromptSize:
        """Estimate by the JSON's bytes over 3, and a margin."""
        shared = _tokens_from_above([*request.system, *request.tools])
        return cls(shared + _PROMPT_MARGIN_TOKENS, _tokens_from_above(request.messages))

    def dearest_usages(self) -> tuple[Usage, Usage]:
        """What a provider may count of it once it has the prompt: one of these costs the most."""
        written = Usage(cache_write_1h_tokens=self.shared, cache_write_5m_tokens=self.own)
        return Usage(input_tokens=self.tokens), written


def estimate_input_tokens(request: TurnRequest) -> int:
    """Estimate a prompt's tokens from above."""
    return PromptSize.of(request).tokens


def _tokens_from_above(parts: Sequence[Mapping[str, Any]]) -> int:
    text = json.dumps(list(parts), ensure_ascii=False, separators=(",", ":"))
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def usage_of_broken_call(progress: Progress) -> Usage:
    """Return what to book for a call that started and broke: it is billed in full, as far as it came."""
    seen = max(progress.output_chars, progress.output_bytes)
    return replace(
        progress.usage, output_tokens=max(progress.usage.output_tokens, -(-seen // _BYTES_PER_TOKEN))
    )


@dataclass(slots=True)
class CachedPrefix:
    """What one conversation's last call left in the provider's cache."""

    _tokens: int = 0
    _read_at_s: float = float("-inf")

    def uncached_of(self, input_tokens: int, now_s: float) -> int:
        """Estimate how much of a prompt of `input_tokens` will not be read from the cache."""
        is_longer = input_tokens >= self._tokens
        return input_tokens - self._tokens if is_longer and self._is_young(now_s) else input_tokens

    def note_sent(self, input_tokens: int, now_s: float) -> None:
        """A prompt of so many tokens, by the same estimate, was read by the model at that time."""
        self._tokens, self._read_at_s = input_tokens, now_s

    def _is_young(self, now_s: float) -> bool:
        return now_s < self._read_at_s + _CACHE_LIVES_S
