"""What we say to a model and what comes back, in our own types.

Content blocks are plain JSON objects, kept exactly as they came, because a conversation
must be re-sent byte for byte: unknown block types and thinking signatures included.
Deliberately absent: anything of the SDK; `llm.client` is its only home.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol

from agentcoord.domain.usage import NO_USAGE, CapUnit, Usage, UsdMicros
from agentcoord.values import dataclass

Block = dict[str, Any]
"""One content block of the Messages API, as JSON."""
Message = dict[str, Any]
"""`{"role": "user" | "assistant", "content": [Block, ...]}`."""

ROOMY_TOKENS = 200_000
"""The context window of a model of which nothing else is known, and the size from which nothing is short."""


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
    """The call was not made: its worst case would pass a cap."""

    scope: str
    """`run`, `task` or `day`."""
    cap: int
    """In `unit`, as what is spent."""
    spent: int
    unit: CapUnit = CapUnit.USD_MICROS

    @property
    def in_words(self) -> str:
        """Which cap it is: `the run cap of $6.00`."""
        return f"the {self.scope} cap of {self.unit.in_words(self.cap)}"


@dataclass(slots=True)
class Progress:
    """What a stream has shown so far; filled in while it runs, and still there when it broke.

    An interrupted call is booked from this: usage of `message_start` plus an estimate of the output.
    """

    usage: Usage = NO_USAGE
    output_chars: int = 0
    """Characters of text, thinking and tool input so far."""
    output_bytes: int = 0
    """The same in UTF-8, which is nearer to tokens for scripts other than Latin."""
    sent: bool = False
    """The request has gone out, as far as anybody knows, and no answer has refused it."""
    started: bool = False
    """`message_start` arrived: the call is assumed to be billed."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Rate-limit headers of the response, lower case; filled in for refusals too."""
    on_text: Callable[[str], None] | None = field(default=None, repr=False)
    """Called with each piece of text, for the live transcript; must not block or raise."""
    on_start: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    """Awaited once, when `message_start` arrives; what it raises ends the call."""

    def restart(self) -> None:
        """Forget what an earlier try has shown; the callbacks stay."""
        self.usage = NO_USAGE
        self.output_chars = 0
        self.output_bytes = 0
        self.sent = False
        self.started = False
        self.headers = {}


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """The deadlines of one call, in seconds."""

    connect_s: float = 15.0
    first_byte_s: float = 90.0
    """Until the response headers; at most `between_events_s`."""
    between_events_s: float = 120.0
    """Of silence on the wire within a stream; pings count as life."""
    whole_s: float = 1_800.0

    def __post_init__(self) -> None:
        ordered = 0 < self.first_byte_s <= self.between_events_s <= self.whole_s
        assert ordered, "first_byte_s <= between_events_s <= whole_s"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server understands beyond the core; other servers than Anthropic's lack some."""

    cache_control: bool = True
    output_config: bool = True
    """Knows `output_config.effort`."""
    anthropic_tools: bool = True
    """Knows the tool types that Anthropic defines; without it the agent describes them by schema."""


class Provider(StrEnum):
    """Who serves the models."""

    ANTHROPIC = "anthropic"
    """Anthropic, or any server that speaks its API."""
    AWS = "aws"
    """Anthropic's platform on AWS."""
    BEDROCK = "bedrock"
    BEDROCK_MANTLE = "bedrock-mantle"
    """Bedrock's endpoint that speaks the Messages API."""
    FOUNDRY = "foundry"
    """Microsoft Foundry."""
    VERTEX = "vertex"
    """Google's Vertex AI."""


class Model(Protocol):
    """Somebody who answers one turn: the SDK's client, or a fake that passes the same contract."""

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        """Make one streaming call.

        Raises LlmRetryableError, LlmSpendLimitError, LlmRequestError or LlmAuthError. Never
        retries by itself.
        """
        ...
