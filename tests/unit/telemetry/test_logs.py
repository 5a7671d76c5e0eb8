"""Logs: JSON lines, private, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
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


def test_what_is_no_text_is_cleaned_as_the_text_that_it_is_written_as(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with logging_to(path, secrets=["hunter22"]):
        structlog.get_logger("x").info(
            "failed",
            error=ValueError("hunter22"),
            path=Path("/hunter22"),
            deep={"hunter22": {b"hunter22"}},
            n=2,
        )
    line = json.loads(path.read_text())
    assert (line["error"], line["path"]) == (REDACTED, f"/{REDACTED}")
    assert line["deep"] == {REDACTED: f"{{b'{REDACTED}'}}"}


def test_each_file_of_a_rotation_is_the_owners_alone(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log.jsonl", file_bytes=200):
        for number in range(5):
            structlog.get_logger("x").info("one", number=number, more="x" * 100)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert len(modes) > 2
    assert set(modes.values()) == {0o600}


def test_short_words_are_not_taken_for_secrets() -> None:
    assert Redactor(["a", ""]).clean("a plain text") == "a plain text"
    assert Redactor([]).clean("Authorization: Bearer abcdefghijklmnop") == f"Authorization: {REDACTED}"


BODY = "aB3" * 14
PEM = "RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "key",
    [
        f"sk-proj-{BODY}",
        f"ghp_{BODY[:36]}",
        f"github_pat_{BODY}",
        f"glpat-{BODY[:20]}",
        f"xoxb-{BODY}",
        f"sk_live_{BODY[:24]}",
        "AKIA" + "A1B2" * 4,
        f"AIza{BODY[:35]}",
        f"npm_{BODY[:36]}",
        f"pypi-{BODY}",
        f"hf_{BODY[:34]}",
        f"Bearer {BODY}",
        "\n".join((f"-----BEGIN {PEM}", "Proc-Type: 4,ENCRYPTED\n", BODY, f"{BODY}==", f"-----END {PEM}")),
    ],
)
def test_what_has_the_shape_of_a_key_is_cut_out(key: str) -> None:
    assert Redactor([]).clean(f"export TOKEN={key}\nnext") == f"export TOKEN={REDACTED}\nnext"


@pytest.mark.parametrize(
    "text",
    [
        "task-skeleton-of-a-thing-that-has-a-very-long-name-indeed",
        "sk-short",
        "ghp_",
        "hf_model",
        "AKIAK",
        "npm_config_cache=/x",
        "pypi-server",
        "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----",
        "Bearer of news",
    ],
)
def test_what_only_begins_like_one_stays(text: str) -> None:
    assert Redactor([]).clean(text) == text
