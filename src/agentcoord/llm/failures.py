"""What a server's refusal means for us: the table from its facts to our errors.

Separate from the client so that it is pure and knows nothing of the SDK's exception classes;
whatever client we use hands in the facts. The facts come from the provider's public error
reference and from what SDK 2.12 was seen to raise.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import field

from agentcoord.errors import (
    LlmAuthError,
    LlmContextWindowError,
    LlmError,
    LlmOverloadedError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
)
from agentcoord.values import dataclass

_SPEND_CODES = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)
_SPEND_PHRASES = ("specified api usage limits", "credit balance is too low")
"""A spend limit that the user set himself comes as a plain 400 with these words and no code."""
_WINDOW_PHRASES = (
    "prompt is too long",
    "exceeds the available context size",
    "maximum context length",
    "exceed context limit",
    "context window",
)
"""How Anthropic, llama.cpp, vLLM and others say that a prompt does not fit; there is no code for it."""
_OVERLOAD_KINDS = frozenset({"rate_limit_error", "overloaded_error"})
_SERVER_KINDS = frozenset({"api_error", "timeout_error"})
_AUTH_KINDS = frozenset({"authentication_error", "permission_error"})
_LONGEST_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said instead of answering."""

    status: int
    """Of the response; 200 when the error came inside a stream."""
    kind: str = ""
    """`error.type` of the body."""
    code: str = ""
    """`error.details.error_code` of the body."""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""
    request_id: str = ""


def error_of(refusal: Refusal, *, now_s: float) -> LlmError:
    """Return the error to raise. `now_s` is the wall clock, for a `retry-after` that is a date."""
    words = " ".join(refusal.message.split())[:_LONGEST_MESSAGE_CHARS] or "no message"
    name = refusal.kind or "error"
    trace = f" (request {refusal.request_id})" if refusal.request_id else ""
    said = f"the model's server answered {refusal.status} {name}: {words}{trace}"

    if _is_spend_limit(refusal):
        return LlmSpendLimitError(
            said, mend="raise the spend limit or add credit at the provider, then resume the run"
        )
    if refusal.status in (401, 403) or refusal.kind in _AUTH_KINDS:
        return LlmAuthError(said, mend="check ANTHROPIC_API_KEY and what it may use")
    if refusal.status in (429, 529) or refusal.kind in _OVERLOAD_KINDS:
        return LlmOverloadedError(said, retry_after_s=retry_after_s(refusal.headers, now_s=now_s))
    if refusal.status in (408, 409) or refusal.status >= 500 or refusal.kind in _SERVER_KINDS:
        return LlmRetryableError(said, retry_after_s=retry_after_s(refusal.headers, now_s=now_s))
    if _is_full_window(refusal):
        return LlmContextWindowError(said)
    return LlmRequestError(said)


def _is_full_window(refusal: Refusal) -> bool:
    lowered = refusal.message.lower()
    return refusal.status in (400, 413) and any(phrase in lowered for phrase in _WINDOW_PHRASES)


def _is_spend_limit(refusal: Refusal) -> bool:
    if refusal.code in _SPEND_CODES or refusal.kind == "billing_error" or refusal.status == 402:
        return True
    lowered = refusal.message.lower()
    return refusal.status == 400 and any(phrase in lowered for phrase in _SPEND_PHRASES)


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Read how long the server asks to wait, from `retry-after-ms` or `retry-after` (RFC 9110, 10.2.3).

    None when it does not say, or says nonsense.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) * unit_s
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        at = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now_s)
