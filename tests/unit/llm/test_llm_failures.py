"""The table from a server's refusal to our errors."""

from __future__ import annotations

import pytest

from agentcoord.errors import (
    LlmAuthError,
    LlmContextWindowError,
    LlmError,
    LlmOverloadedError,
    LlmRequestError,
    LlmRetryableError,
    LlmSpendLimitError,
)
from agentcoord.llm.failures import Refusal, error_of, retry_after_s

NOW_S = 1_795_000_000.0


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Refusal(400, "invalid_request_error"), LlmRequestError),
        (Refusal(400, message="You have reached your specified API usage limits."), LlmSpendLimitError),
        (Refusal(400, message="Your credit balance is too low to access the API."), LlmSpendLimitError),
        (Refusal(400, message="prompt is too long: 210000 tokens > 200000 maximum"), LlmContextWindowError),
        (Refusal(400, message="the request exceeds the available context size"), LlmContextWindowError),
        (Refusal(400, message="This model's maximum context length is 32768"), LlmContextWindowError),
        (Refusal(500, message="lost the context window"), LlmRetryableError),
        (Refusal(401, "authentication_error"), LlmAuthError),
        (Refusal(402, "billing_error"), LlmSpendLimitError),
        (Refusal(402, code="linked_organization_spend_limit_reached"), LlmSpendLimitError),
        (Refusal(403, "permission_error"), LlmAuthError),
        (Refusal(404, "not_found_error"), LlmRequestError),
        (Refusal(408), LlmRetryableError),
        (Refusal(409, "conflict_error"), LlmRetryableError),
        (Refusal(413, "request_too_large"), LlmRequestError),
        (Refusal(429, "rate_limit_error"), LlmOverloadedError),
        (Refusal(429, "rate_limit_error", code="ramp_limit_exceeded"), LlmOverloadedError),
        (Refusal(429, "rate_limit_error", code="enforced_spend_limit_reached"), LlmSpendLimitError),
        (Refusal(429, "rate_limit_error", code="contract_spend_limit_reached"), LlmSpendLimitError),
        (Refusal(500, "api_error"), LlmRetryableError),
        (Refusal(502), LlmRetryableError),
        (Refusal(504, "timeout_error"), LlmRetryableError),
        (Refusal(529, "overloaded_error"), LlmOverloadedError),
        (Refusal(200, "overloaded_error"), LlmOverloadedError),
        (Refusal(200, "rate_limit_error"), LlmOverloadedError),
        (Refusal(200, "api_error"), LlmRetryableError),
        (Refusal(200, "invalid_request_error"), LlmRequestError),
    ],
)
def test_each_refusal_becomes_the_error_that_says_what_to_do(
    refusal: Refusal, expected: type[LlmError]
) -> None:
    assert type(error_of(refusal, now_s=NOW_S)) is expected


def test_the_words_of_the_server_and_the_request_id_reach_the_user_shortened() -> None:
    error = error_of(Refusal(400, message="x" * 10_000, request_id="req_1"), now_s=NOW_S)
    assert "req_1" in str(error)
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "30"}, 1.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT"}, 30.0),
        ({"retry-after": "Wed, 18 Nov 2020 11:07:10 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, now_s=1_795_000_000.0) == expected
