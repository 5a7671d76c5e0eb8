"""How large a call is before anybody has counted it: estimates of tokens from bytes.

Separate from the gateway because it is pure. Money is reserved by an estimate from above. The minute's
limits are spent by an estimate of what will not be read from the cache, which knows the conversation's
last call: what that one sent is in the cache while it is young.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from agentcoord.domain.usage import Usage
from agentcoord.llm.api import Progress, TurnRequest

_PROMPT_MARGIN_TOKENS = 2_000
"""For what the provider adds to a prompt: tool-use instructions and framing."""
_BYTES_PER_TOKEN = 3
_CACHE_LIVES_S = 270.0
"""Of a mark of five minutes, with a margin."""


def estimate_input_tokens(request: TurnRequest) -> int:
    """Estimate a prompt's tokens from above: its JSON's bytes over 3, and a margin."""
    prompt = {
        "system": list(request.system),
        "messages": list(request.messages),
        "tools": list(request.tools),
    }
    size = len(json.dumps(prompt, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN) + _PROMPT_MARGIN_TOKENS


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
