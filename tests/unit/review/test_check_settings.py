"""The settings of checks that verdicts and flags go by."""

from __future__ import annotations

import pytest

from agentcoord.config.load import read_settings
from agentcoord.errors import ConfigError


def test_tampering_is_held_and_old_failures_are_allowed_unless_said_otherwise() -> None:
    checks = read_settings("", {}).checks
    assert (checks.on_tamper, checks.pre_existing) == ("hold", "allow")
    text = """
    [checks]
    on_tamper = "flag"
    pre_existing = "refuse"
    junit_files = ["out/**/*.xml"]
    unit = "make"
    """
    checks = read_settings(text, {"AGENTCOORD_CHECKS_UNREAD_FILES": "docs/**,*.md"}).checks
    assert (checks.on_tamper, checks.pre_existing) == ("flag", "refuse")
    assert (checks.junit_files, checks.unread_files) == (("out/**/*.xml",), ("docs/**", "*.md"))
    assert dict(checks.commands) == {"unit": "make"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('on_tamper = "fag"', "did you mean flag"),
        ('pre_existing = "deny"', "allow, refuse"),
        ('junit_files = ["../out.xml"]', "inside the repository"),
        ('unread_files = ["/etc/*"]', "inside the repository"),
        ('unread_files = ["/"]', "inside the repository"),
    ],
)
def test_other_values_are_told(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(f"[checks]\n{line}\n", {})
