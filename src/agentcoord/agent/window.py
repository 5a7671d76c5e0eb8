"""How an attempt uses a model's context window: how long answers, results and conversations get.

Separate because it is pure, and one place decides how the window is shared out. With 200,000 tokens and
more nothing is short, and the bounds are those that make sense by themselves. Below that each gets its part:
45 % before the conversation is begun anew, at most 32 % for one answer, and the rest for the results of a
turn. A turn with many long results may still pass that; then the server says so and the loop begins anew.
"""

from __future__ import annotations

from agentcoord.agent.outcomes import LoopLimits
from agentcoord.llm.api import ROOMY_TOKENS
from agentcoord.values import dataclass

_CONVERSATION_PERCENT = 45
_GROWN_ANSWER_PERCENT = 32
_ANSWER_PERCENT = 8
_RESULT_CHARS_PER_TOKEN = 0.5
"""A result of so many characters a token of the window is an eighth of it."""
_MAP_PERCENT = 5


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """A model's context window."""

    tokens: int = ROOMY_TOKENS

    def limits(self, *, max_turns: int, compact_at_tokens: int = 0) -> LoopLimits:
        """Return the bounds of an attempt. `compact_at_tokens`: 0 for the window's own share."""
        roomy = LoopLimits()
        share = self.tokens * _CONVERSATION_PERCENT // 100
        return LoopLimits(
            max_turns=max_turns,
            max_tokens=min(roomy.max_tokens, self.tokens * _ANSWER_PERCENT // 100),
            max_tokens_grown=min(roomy.max_tokens_grown, self.tokens * _GROWN_ANSWER_PERCENT // 100),
            compact_at_tokens=compact_at_tokens or min(roomy.compact_at_tokens, share),
            result_chars=min(roomy.result_chars, int(self.tokens * _RESULT_CHARS_PER_TOKEN)),
        )

    @property
    def map_tokens(self) -> int:
        """How much of the first message the map of the repository may take."""
        return min(4_000, self.tokens * _MAP_PERCENT // 100)

    @property
    def instruction_bytes(self) -> int:
        """How much of the project's instructions to agents is read."""
        return min(64 * 1024, self.tokens // 2)
