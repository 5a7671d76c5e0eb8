"""The protocol page names exactly what the code speaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentcoord.wire.messages import FRAME_BYTES, ExitCode, Method, Notification, RpcCode, Topic

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)


def test_every_method_and_notification_has_its_row_in_order() -> None:
    assert first_column("Methods") == [str(method) for method in Method]
    assert first_column("Listening") == [str(notification) for notification in Notification]


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_is_named(topic: Topic) -> None:
    assert f"`{topic}`" in PAGE.split("## Listening")[1]


def test_every_code_and_bound_is_named() -> None:
    assert f"{FRAME_BYTES:,}" in PAGE
    errors = PAGE.split("## Errors")[1]
    for code in RpcCode:
        assert str(int(code)) in errors
    exit_codes = errors.split("Exit codes of the commands:")[1]
    for exit_code in ExitCode:
        assert re.search(rf"\b{int(exit_code)}\b", exit_codes)
