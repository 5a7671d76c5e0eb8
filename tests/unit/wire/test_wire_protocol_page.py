"""The protocol page names exactly what the code speaks."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from agentcoord.daemon.connection import HELLO_TIMEOUT_S, IDLE_TIMEOUT_S
from agentcoord.daemon.places import KEPT_FOR_QUESTIONS, MAX_CLIENTS
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import OnNeedFailed
from agentcoord.domain.worker_state import WorkerState
from agentcoord.wire.messages import FRAME_BYTES, ExitCode, Method, Notification, RpcCode, Topic

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)


def test_every_method_has_its_section_and_every_notification_its_row_in_order() -> None:
    methods = PAGE.split("## Methods\n")[1].split("\n## ")[0]
    assert re.findall(r"^### `([a-z_]+)`$", methods, re.MULTILINE) == [str(method) for method in Method]
    assert first_column("Listening") == [str(notification) for notification in Notification]


@pytest.mark.parametrize("topic", list(Topic))
def test_every_topic_is_named(topic: Topic) -> None:
    assert f"`{topic}`" in PAGE.split("## Listening")[1]


def test_it_says_how_many_clients_there_may_be_and_how_long_they_may_wait() -> None:
    places = PAGE.split("## Who gets a place")[1].split("\n## ")[0]
    assert f"{MAX_CLIENTS} clients may be connected, of whom {MAX_CLIENTS - KEPT_FOR_QUESTIONS} may" in places
    assert f"`hello` within {HELLO_TIMEOUT_S:.0f} seconds" in places
    assert (IDLE_TIMEOUT_S, "for five minutes" in places) == (300, True)


@pytest.mark.parametrize(
    ("shape", "field", "values"),
    [
        ("TaskView", "state", TaskState),
        ("TaskView", "review", ReviewState),
        ("TaskView", "on_need_failed", OnNeedFailed),
        ("WorkerView", "state", WorkerState),
    ],
)
def test_a_field_that_holds_one_of_a_few_words_names_them_all(
    shape: str, field: str, values: type[StrEnum]
) -> None:
    row = next(
        line
        for line in PAGE.split(f"### {shape}\n")[1].split("\n### ")[0].splitlines()
        if line.startswith(f"| `{field}` ")
    )
    assert [str(each) for each in values if f"`{each}`" not in row] == []


def test_every_code_and_bound_is_named() -> None:
    assert f"{FRAME_BYTES:,}" in PAGE
    errors = PAGE.split("## Errors")[1]
    for code in RpcCode:
        assert str(int(code)) in errors
    exit_codes = errors.split("Exit codes of the commands:")[1]
    for exit_code in ExitCode:
        assert re.search(rf"\b{int(exit_code)}\b", exit_codes)
