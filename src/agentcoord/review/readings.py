"""What is read out of a test file, whatever its language: each test, what it asserts, what skips it.

Separate from the readers (`python_tests`, `code_tests`) and from the comparison (`tamper_tests`), which
meet in these values.
"""

from __future__ import annotations

from dataclasses import field

from agentcoord.review.assertions import Assertion
from agentcoord.values import dataclass

OUTSIDE = "outside of the tests"
"""The one entry for all that is asserted there, so that it cannot vanish either."""


@dataclass(frozen=True, slots=True)
class WrittenTest:
    """One test."""

    name: str
    """Without its class or group."""
    line: int
    body: str
    """Without names and places: equal bodies are the same test."""
    assertions: tuple[Assertion, ...]
    skips: dict[str, int]
    """What skips it or expects it to fail, and in which line."""
    cases: int
    """How many times a table runs it, as far as can be read; 1 without."""
    patience_ms: float | None = None
    """How long it may take, where it says so itself."""
    retries: float = 0
    """How often it may fail before it counts as failed."""


@dataclass(frozen=True, slots=True)
class FileReading:
    """One file."""

    tests: dict[str, WrittenTest] = field(default_factory=dict)
    """By `Class::name`, or `group > name`."""
    classes: set[str] = field(default_factory=set)
    """Those whose tests are read."""
    skips: dict[str, int] = field(default_factory=dict)
    """Of the whole file, or of classes and groups."""
    hooks: dict[str, int] = field(default_factory=dict)
    """What steers the test run itself: pytest hooks, collection lists, exits."""
    fixtures: dict[str, dict[str, int]] = field(default_factory=dict)
    """By name, what in each skips the tests that ask for it, and in which line."""
