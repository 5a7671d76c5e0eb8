"""What we say to a model and what comes back, in our own types.

Content blocks are plain JSON objects, kept exactly as they came, because a conversation
must be re-sent byte for byte: unknown block types and thinking signatures included.
Deliberately absent: anything of the SDK; `llm.client` is its only home.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from agentcoord.domain.usage import NO_USAGE, Usage, UsdMicros

Block = dict[str, Any]
"""One content block of the Messages API, as JSON."""
Message = dict[str, Any]
"""`{"role": "user" | "assistant", "content": [Block, ...]}`."""


class StopReason(StrEnum):
    """Why the model stopped. Any other word the server says is kept as `UNKNOWN`."""

    END_TURN = "end_turn"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    TOOL_USE = "tool_use"
    PAUSE_TURN = "pause_turn"
    REFUSAL = "refusal"
    CONTEXT_WINDOW = "model_context_window_exceeded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One call. Tools, effort and system stay the same through a conversation (they key the cache)."""

    model: str
    system: Sequence[Block]
    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]]
    max_tokens: int
    effort: str = ""
    """Empty: not sent."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A complete answer: it has a stop reason, or it would not exist."""

    content: tuple[Block, ...]
    stop_reason: StopReason
    usage: Usage
    model: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class PaidTurn:
    """A turn and what it cost."""

    turn: Turn
    cost_usd_micros: UsdMicros
    usage: Usage
    """Of all tries of this turn, interrupted ones included."""


@dataclass(frozen=True, slots=True)
class SpendRefused:
    """The call was not made: its worst case would pass a cap. `scope` is `run`, `task` or `day`."""

    scope: str
    cap_usd_micros: UsdMicros
    spent_usd_micros: UsdMicros


@dataclass(slots=True)
class Progress:
    """What a stream has shown so far; filled in while it runs, and still there when it broke.

    An interrupted call is booked from this: usage of `message_start` plus an estimate of the output.
    """

    usage: Usage = NO_USAGE
    output_chars: int = 0
    started: bool = False
    """`message_start` arrived: the call is assumed to be billed."""
    on_text: Callable[[str], None] | None = field(default=None, repr=False)
    """Called with each piece of text, for the live transcript; must not block or raise."""


class Model(Protocol):
    """Somebody who answers one turn: the SDK's client, or a fake that passes the same contract."""

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        """Make one streaming call.

        Raises LlmRetryableError, LlmSpendLimitError, LlmRequestError or LlmAuthError. Never
        retries by itself.
        """
        ...
