"""The page of `agentcoord status`: what is so, and what helps."""

from __future__ import annotations

from typing import Any

import pytest
from canned_views import status_view

from agentcoord.cli.pages import status_page
from agentcoord.tui.styled import plain_text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "running"}, ""),
        ({"state": "paused", "paused_why": ""}, "at your word; agentcoord ctl resume goes on"),
        (
            {"state": "paused", "paused_why": "the disk is full"},
            "the disk is full; agentcoord ctl resume goes on",
        ),
    ],
)
def test_a_pause_says_why_and_how_it_ends(changes: dict[str, Any], words: str) -> None:
    lines = [plain_text(line) for line in status_page(status_view(**changes), 80)]
    told = [line.removeprefix("paused").strip() for line in lines if line.startswith("paused")]
    assert told == ([words] if words else [])
