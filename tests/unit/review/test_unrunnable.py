"""Which checks could not even run: their program, or the module that Python was to run, is not there."""

from __future__ import annotations

import pytest

from agentcoord.review.checks import CheckOutcome, CheckReport
from agentcoord.review.unrunnable import why_unrunnable


def report(command: str, exit_code: int, output: str) -> CheckReport:
    return CheckReport((CheckOutcome("tests", command, exit_code, output, 5),), "tree")


@pytest.mark.parametrize(
    ("command", "exit_code", "output"),
    [
        ("jest", 127, "sh: jest: command not found\n"),
        ("python -m pytest -q", 1, "/usr/bin/python3: No module named pytest\n"),
        ("cd x && .venv/bin/python -m mypy src", 1, "/repo/x/.venv/bin/python: No module named mypy\n"),
    ],
)
def test_what_is_missing_is_told_with_what_was_said(command: str, exit_code: int, output: str) -> None:
    why = why_unrunnable(report(command, exit_code, output))
    assert f"`{command}` ended with {exit_code} ({output.strip()})" in why
    assert "install what is missing" in why


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("python -m pytest -q", "E   ModuleNotFoundError: No module named 'shop'\n"),
        ("python -m pytest -q", "/usr/bin/python3: No module named shop\n"),
        ("make test", "/usr/bin/python3: No module named pytest\n"),
        ("python -m pytest -q", ""),
    ],
)
def test_red_tests_are_no_reason_to_hold_the_run(command: str, output: str) -> None:
    assert why_unrunnable(report(command, 1, output)) == ""
