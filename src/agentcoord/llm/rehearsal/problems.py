"""How the server says no: the error body of the Messages API, and every refusal it has.

Separate because validation, faults and routing all answer with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from agentcoord.llm.rehearsal.faults import Fault, FaultKind
from agentcoord.values import dataclass

_KIND_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, before anything was answered."""

    status: int
    message: str
    error_code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after_s(self) -> float:
        """How long it asks to stay away; 0 when it does not say."""
        return float(self.headers.get("retry-after", 0))

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON that the service sends."""
        error: dict[str, Any] = {"type": _KIND_OF_STATUS[self.status], "message": self.message}
        if self.error_code:
            error["details"] = {"error_code": self.error_code}
        return {"type": "error", "error": error, "request_id": request_id}


def refusal_of(fault: Fault) -> Problem | None:
    """Return the refusal that a fault stands for, or None for faults of another sort."""
    match fault.kind:
        case FaultKind.RATE_LIMIT:
            wait = f"{fault.retry_after_s:g}"
            return Problem(429, "This request would exceed your rate limit.", headers={"retry-after": wait})
        case FaultKind.RATE_LIMIT_BARE:
            return Problem(429, "This request would exceed your rate limit.")
        case FaultKind.SPEND_CAP:
            return Problem(
                429, "Your organization has reached its spend limit.", "enforced_spend_limit_reached"
            )
        case FaultKind.USAGE_LIMIT:
            return Problem(400, "You have reached your specified API usage limits.")
        case FaultKind.BILLING:
            return Problem(402, "There is a problem with your billing.")
        case FaultKind.UNAUTHENTICATED:
            return Problem(401, "invalid x-api-key")
        case FaultKind.FORBIDDEN:
            return Problem(403, "Your API key may not use this resource.")
        case FaultKind.INVALID_REQUEST:
            return Problem(400, "The request is invalid, because the script says so.")
        case FaultKind.PROMPT_TOO_LONG:
            return Problem(400, "prompt is too long: 210000 tokens > 200000 maximum")
        case FaultKind.SERVER_ERROR:
            return Problem(500, "Internal server error")
        case FaultKind.GATEWAY_TIMEOUT:
            return Problem(504, "Request timed out")
        case FaultKind.OVERLOADED:
            return Problem(529, "Overloaded")
        case _:
            return None
