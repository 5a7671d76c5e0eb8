"""Logs: JSON lines, private, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import structlog

from agentcoord.telemetry.logs import REDACTED, Redactor, logging_to

SECRET = "sk-ant-api03-abcdefghijkl"


def test_a_line_is_json_with_its_facts_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with logging_to(path, secrets=["hunter22"]):
        structlog.get_logger("x").info(
            "task_claimed", task="a", key=f"it is {SECRET}", deep={"list": ["hunter22", 3]}
        )
    line = json.loads(path.read_text())
    assert (line["event"], line["task"], line["level"]) == ("task_claimed", "a", "info")
    assert line["deep"] == {"list": [REDACTED, 3]}
    assert SECRET not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_tracebacks_are_cleaned_too(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with logging_to(path, secrets=["hunter22"]):
        structlog.get_logger("x").error("failed", exc_info=ValueError("the password is hunter22"))
    assert "ValueError" in path.read_text()
    assert "hunter22" not in path.read_text()


def test_short_words_are_not_taken_for_secrets() -> None:
    assert Redactor(["a", ""]).clean("a plain text") == "a plain text"
    assert Redactor([]).clean("Authorization: Bearer abcdefghijklmnop") == f"Authorization: {REDACTED}"
