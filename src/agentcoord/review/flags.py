"""Flags: places in a change where checks may say less than they did, as values.

Separate from the rules that find them (`tamper` and its neighbours), which all speak of these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from agentcoord.values import dataclass

MOST_FLAGS = 200
_TEST_PATH = re.compile(
    r"(^|/)(tests?|specs?|__tests__|e2e)/|(^|/)conftest\.py$"
    r"|(^|/)(test_[^/]*|[^/]*(_test|_spec|\.test|\.spec|Tests?|Spec))\.\w+$"
)


class FlagKind(StrEnum):
    """What was done; the order is that of their weight in review."""

    TEST_DELETED = "test deleted"
    TEST_SKIPPED = "test skipped"
    ASSERTION_REMOVED = "assertion removed"
    ASSERTION_WEAKENED = "assertion weakened"
    THRESHOLD_LOWERED = "threshold lowered"
    CONFIGURATION_CHANGED = "check configuration changed"
    REWRITTEN = "file changed by a check"
    SHRUNK = "file emptied or shrunk"
    TESTS_GONE = "fewer tests run"
    EXPECTATION_CHANGED = "expected value changed"
    WARNING_SILENCED = "warning silenced"
    UPDATED = "file updated by a check"


_TOLD_ONLY = frozenset(
    {FlagKind.REWRITTEN, FlagKind.EXPECTATION_CHANGED, FlagKind.WARNING_SILENCED, FlagKind.UPDATED}
)
"""What honest work does every day: shown in review, and never a reason to hold."""
_ORDER = list(FlagKind)


@dataclass(frozen=True, slots=True)
class Flag:
    """One place that a person should look at."""

    kind: FlagKind
    path: str
    line: int
    """In the file as it would be; in the file as it was when what stood there is gone. 0: the whole file."""
    words: str

    @property
    def holds(self) -> bool:
        """Whether `checks.on_tamper = "hold"` keeps the task from landing for it."""
        return self.kind not in _TOLD_ONLY

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.kind}: {self.words}"


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One file as the worker was given it and as it made it."""

    path: str
    before: bytes | None
    """None: the worker added it."""
    after: bytes


def in_order(flags: Iterable[Flag]) -> tuple[Flag, ...]:
    """The flags as they are shown: weightiest first, then by place; bounded."""
    unique = dict.fromkeys(flags)
    return tuple(sorted(unique, key=lambda flag: (_ORDER.index(flag.kind), flag.path, flag.line)))[
        :MOST_FLAGS
    ]


def is_test(path: str) -> bool:
    """Whether a file holds tests, by its name and where it stands."""
    return _TEST_PATH.search(path) is not None


def text_of(content: bytes | None) -> str:
    """The content as text; bytes that are no UTF-8 become replacement characters."""
    return (content or b"").decode("utf-8", "replace")
