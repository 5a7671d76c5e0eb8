"""What UTF-8 cannot say is sent in words, and all else as it is."""

from __future__ import annotations

import json

import pytest

from agentcoord.llm.sayable import sayable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"caf\xe9/\xff.py".decode("utf-8", "surrogateescape"), "caf\\xe9/\\xff.py"),
        ("half \ud83d of one, \ude00", "half \ufffd of one, \ufffd"),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
    ],
)
def test_odd_halves_are_told_and_nothing_else_changes(text: str, said: str) -> None:
    request = {"model": "m", "messages": [{"content": ({"text": text, "n": 1.5, "b": None},)}]}
    sent = sayable(request)
    json.dumps(sent, ensure_ascii=False).encode()
    assert sent["messages"][0]["content"][0] == {"text": said, "n": 1.5, "b": None}
    assert request["messages"][0]["content"][0]["text"] == text  # type: ignore[index]


def test_a_request_that_can_be_sent_is_not_copied() -> None:
    request = {"messages": [{"content": [{"text": "caf\u00e9"}]}], "tools": [{"name": "bash"}]}
    assert sayable(request) is request
