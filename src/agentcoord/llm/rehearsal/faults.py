"""What can go wrong with a model's server, by name, and when the rehearsal server lets it.

Separate from the application because the choice is pure: a script names a fault for a turn and
how many times, or a probability and a seed decide. The dice depend on the seed, the task, the
turn and the try, never on the order in which requests happen to come, so that a rehearsal with
six workers repeats exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from agentcoord.values import dataclass

_STREAM_FAULTS_STOP_AFTER = 0.5
"""How much of an answer has been streamed when it breaks, as a share of its events."""


class FaultKind(StrEnum):
    """Every fault; `docs/reference/rehearsal-scripts.md` lists them with what a client sees."""

    RATE_LIMIT = "rate_limit"
    """429 with `retry-after`."""
    RATE_LIMIT_BARE = "rate_limit_bare"
    """429 without `retry-after`."""
    SPEND_CAP = "spend_cap"
    """429 with `enforced_spend_limit_reached`: the provider's cap."""
    USAGE_LIMIT = "usage_limit"
    """400: the spend limit that the user set at the provider."""
    BILLING = "billing"
    """402."""
    UNAUTHENTICATED = "unauthenticated"
    """401."""
    FORBIDDEN = "forbidden"
    """403."""
    INVALID_REQUEST = "invalid_request"
    """400."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """400: the prompt does not fit the model's context window."""
    SERVER_ERROR = "server_error"
    """500."""
    GATEWAY_TIMEOUT = "gateway_timeout"
    """504."""
    OVERLOADED = "overloaded"
    """529 before the headers."""
    STREAM_OVERLOADED = "stream_overloaded"
    """`overloaded_error` as an event in the middle of the stream."""
    STREAM_API_ERROR = "stream_api_error"
    """`api_error` as an event in the middle of the stream."""
    RESET = "reset"
    """The connection is reset before the headers."""
    DROP = "drop"
    """The connection closes in the middle of the stream, without its proper end."""
    STALL = "stall"
    """Nothing comes, not even headers."""
    STREAM_STALL = "stream_stall"
    """The stream falls silent in the middle."""
    TRUNCATE = "truncate"
    """The stream ends cleanly in the middle: no stop reason, no error."""
    EMPTY_BODY = "empty_body"
    """200 and nothing."""
    HTML_BODY = "html_body"
    """200 and a web page, as from a captive portal."""
    MALFORMED_TOOL_JSON = "malformed_tool_json"
    """The input of the first tool call is no JSON."""
    CUT_TOOL_JSON = "cut_tool_json"
    """The input of the first tool call is cut off, yet the turn says `tool_use`."""
    MAX_TOKENS = "max_tokens"
    """The answer stops with `max_tokens`, in the middle of the tool input if there is one."""
    REFUSAL = "refusal"
    """An answer with stop reason `refusal`."""
    CONTEXT_EXCEEDED = "context_exceeded"
    """An answer with stop reason `model_context_window_exceeded`."""
    PAUSE_TURN = "pause_turn"
    """An answer with stop reason `pause_turn`."""
    EMPTY_END_TURN = "empty_end_turn"
    """`end_turn` without content."""
    UNKNOWN_EVENT = "unknown_event"
    """An event and a delta that no client knows, beside the whole answer."""
    UNKNOWN_BLOCK = "unknown_block"
    """A content block of an unknown type ahead of the answer."""
    LATENCY = "latency"
    """The answer comes whole, but `ms` later."""


IN_STREAM = frozenset(
    {
        FaultKind.STREAM_OVERLOADED,
        FaultKind.STREAM_API_ERROR,
        FaultKind.DROP,
        FaultKind.STREAM_STALL,
        FaultKind.TRUNCATE,
    }
)
"""Faults that break an answer that has begun."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as a script or the dice ask for it."""

    kind: FaultKind
    times: int = 1
    """How many tries of the turn it spoils before the turn is answered."""
    retry_after_s: float = 1.0
    """For `rate_limit`."""
    ms: int = 1_000
    """For `latency`."""
    after: float = _STREAM_FAULTS_STOP_AFTER
    """For faults in the stream: after which share of its events it breaks, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Dice:
    """Faults by probability."""

    probabilities: Mapping[FaultKind, float]
    seed: int = 0

    def throw(self, task: str, turn: int, attempt: int) -> Fault | None:
        """Return the fault for this try of a turn, or None: the same for the same arguments, always."""
        digest = hashlib.sha256(f"{self.seed}:{task}:{turn}:{attempt}".encode()).digest()
        thrown = int.from_bytes(digest[:8], "big") / 2**64
        for kind, probability in sorted(self.probabilities.items()):
            if thrown < probability:
                return Fault(kind)
            thrown -= probability
        return None


NO_DICE = Dice({})
