"""How a conversation can end, and the bounds that make it end.

Separate from the loop because the daemon matches on these and the loop's parts count by them.
"""

from __future__ import annotations

from enum import StrEnum

from agentcoord.llm.api import SpendRefused
from agentcoord.values import dataclass


class GiveUpKind(StrEnum):
    """Which bound was reached. Each has its own answer to the model and its own counter."""

    TURNS = "turns"
    """All turns of the attempt are used."""
    IDLE = "idle"
    """Turn after turn without a change to a file."""
    SAME_CALL = "same_call"
    """The same call again and again."""
    MALFORMED_CALL = "malformed_call"
    UNKNOWN_TOOL = "unknown_tool"
    EMPTY_TURN = "empty_turn"
    """Turns with nothing in them."""
    NO_CHANGE = "no_change"
    """It claims to be finished, and no file inside the scope differs."""
    CUT_TURN = "cut_turn"
    """Turn after turn ended in `max_tokens`, the largest allowance included."""
    PAUSED_TURN = "paused_turn"
    REFUSED = "refused"
    """The model refuses to go on."""
    CONTEXT_WINDOW = "context_window"
    """The model's context window is too small for the conversation, even begun anew."""
    UNKNOWN_STOP = "unknown_stop"
    """The server names stop reasons that nobody knows."""


@dataclass(frozen=True, slots=True)
class ClaimsFinished:
    """The worker says it is done; the conversation waits for `reject`, or ends here."""

    summary: str
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The attempt ends without a claim."""

    why: str
    """One sentence for people, and for the next attempt."""
    kind: GiveUpKind


@dataclass(frozen=True, slots=True)
class OutOfMoney:
    """The next call's worst case would pass a cap; it was not made. Running again asks again."""

    refused: SpendRefused


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The daemon is stopping; everything until here is on disk, and running again goes on."""


LoopOutcome = ClaimsFinished | GaveUp | OutOfMoney | Interrupted


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """Bounds of one attempt. A limit of N ends the attempt at the Nth occurrence in a row."""

    max_turns: int = 60
    max_tokens: int = 16_000
    """Output allowance of a turn; doubles after a cut turn, up to `max_tokens_grown`."""
    max_tokens_grown: int = 64_000
    compact_at_tokens: int = 90_000
    """A conversation this long is summarised and begun anew: well within the windows of the models that
    have a price, and below the 100,000 from which on Haiku's whole request costs five times as much."""
    result_chars: int = 40_000
    """Of one tool result: about 10,000 tokens, and it is re-read each turn."""
    context_limit: int = 3
    """Full windows in a row that end the attempt; each before is answered by beginning anew."""
    tool_timeout_s: float = 120.0
    """Of one command."""
    call_deadline_s: float = 300.0
    """Of any tool call as a whole, waiting for a file's lock included."""
    same_call_limit: int = 3
    """The Nth identical call in a row is answered without running; the 2Nth ends the attempt."""
    idle_turn_limit: int = 10
    """Turns without a change before the worker is told so; twice as many end the attempt."""
    malformed_limit: int = 5
    """Malformed calls, and calls of unknown tools, each counted apart."""
    empty_limit: int = 3
    no_change_limit: int = 3
    cut_limit: int = 4
    pause_limit: int = 5
    refusal_limit: int = 2
    parallel_calls: int = 8
    """Read-only calls of one turn that run side by side."""
