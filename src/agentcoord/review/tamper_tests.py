"""Tamper rules for tests that can be read one by one: what each still asserts, how hard, what skips it.

A test is compared with the one of the same name, else with one of the same body anywhere in the
change (it was renamed or moved). Only assertions that can still fail count: not those after a
return, under `if False`, or where a failure would be swallowed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field

from agentcoord.review.assertions import Assertion
from agentcoord.review.code_patience import DEFAULT_MS
from agentcoord.review.code_reach import GO_RUNS_NOTHING
from agentcoord.review.code_tests import language_of, read_code_tests
from agentcoord.review.flags import ChangedFile, Flag, FlagKind
from agentcoord.review.python_tests import read_tests
from agentcoord.review.readings import OUTSIDE, FileReading, WrittenTest
from agentcoord.review.tamper_text import text_flags
from agentcoord.values import dataclass

_ANYTHING = re.compile(r"\bANY\b|\bexpect\.any(?:thing)?\(|\bmock\.Anything\b")


def test_flags(file: ChangedFile, others: Sequence[ChangedFile]) -> list[Flag]:
    """Compare one test file with what it was; `others` are all the test files of the change.

    In a language that we do not read, and where brackets do not fit together, lines are counted.
    """
    before, after = read_any(file.path, file.before or b""), read_any(file.path, file.after)
    if file.before is None and after is not None and GO_RUNS_NOTHING in after.hooks:
        # It steers the tests of the whole package, which are in other files.
        line = after.hooks[GO_RUNS_NOTHING]
        return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, line, GO_RUNS_NOTHING)]
    # Where no test was found, the framework may call them by other words.
    if before is not None and after is not None and (before.tests or file.path.endswith(".py")):
        return reading_flags(file.path, before, after, [other for other in others if other is not file])
    if not file.path.endswith(".py"):
        return text_flags(file)
    words = "it is not Python that can be read" if after is None else "what it was could not be read"
    return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 0, words)]


def read_any(path: str, content: bytes) -> FileReading | None:
    """Read a test file by its ending; None when it is of no language that we read, or cannot be read."""
    if path.endswith(".py"):
        return read_tests(content)
    language = language_of(path)
    return read_code_tests(content, language) if language else None


def reading_flags(
    path: str, before: FileReading, after: FileReading, others: Sequence[ChangedFile]
) -> list[Flag]:
    """Compare two readings of one file."""
    flags = [
        Flag(FlagKind.CONFIGURATION_CHANGED, path, line, words)
        for words, line in after.hooks.items()
        if words not in before.hooks
    ]
    flags += [
        Flag(FlagKind.TEST_SKIPPED, path, line, words)
        for words, line in after.skips.items()
        if words not in before.skips and (before.tests or path.endswith("conftest.py"))
    ]
    flags += [
        Flag(FlagKind.TEST_SKIPPED, path, line, words)
        for name, skips in after.fixtures.items()
        for words, line in skips.items()
        if words not in before.fixtures.get(name, (words,))
    ]
    moved = _Moved(before, after, others)
    for name, old in before.tests.items():
        new = after.tests.get(name)
        if name == OUTSIDE and _how_many(after) >= _how_many(before):
            continue  # A helper's assertions stand in the tests now.
        if new is not None:
            flags += _compared(path, name, old, new)
        elif not moved.has(old):
            flags.append(Flag(FlagKind.TEST_DELETED, path, old.line, f"{name} is gone"))
    return flags


def _how_many(reading: FileReading) -> int:
    return sum(len(test.assertions) for test in reading.tests.values())


@dataclass(slots=True)
class _Moved:
    """Bodies and names of tests that may be an old one under another name or in another file."""

    before: FileReading
    after: FileReading
    others: Sequence[ChangedFile]
    _is_read: bool = False
    """Only when the first test is missed."""
    _bodies: set[str] = field(default_factory=set)
    _most_asserted: dict[str, int] = field(default_factory=dict)
    """By a test's name."""
    _said: set[str] = field(default_factory=set)
    """Of the new tests in the same file every statement, and every assertion that can fail."""

    def has(self, old: WrittenTest) -> bool:
        if not self._is_read:
            self._read()
        asserted = self._most_asserted.get(old.name, -1)
        return old.body in self._bodies or asserted >= len(old.assertions) or self._is_split(old)

    def _is_split(self, old: WrittenTest) -> bool:
        """Whether all of its statements stand in new tests, and what it asserted can still fail there."""
        parts = [*old.body.splitlines(), *(each.text for each in old.assertions)]
        return bool(old.body and old.assertions) and self._said.issuperset(parts)

    def _read(self) -> None:
        self._is_read = True
        for test in self._candidates():
            if not test.skips:
                self._bodies.add(test.body)
                most = self._most_asserted.get(test.name, 0)
                self._most_asserted[test.name] = max(most, len(test.assertions))
        for name, test in self.after.tests.items():
            if name not in self.before.tests and not test.skips:
                self._said.update(test.body.splitlines(), (each.text for each in test.assertions))

    def _candidates(self) -> Iterator[WrittenTest]:
        yield from self.after.tests.values()
        for other in self.others:
            was, now = read_any(other.path, other.before or b""), read_any(other.path, other.after)
            known = set(was.tests) if was else set()
            yield from (test for name, test in (now.tests if now else {}).items() if name not in known)


def _compared(path: str, name: str, old: WrittenTest, new: WrittenTest) -> list[Flag]:
    flags = [
        Flag(FlagKind.TEST_SKIPPED, path, line, f"{name}: {words}")
        for words, line in new.skips.items()
        if words not in old.skips
    ]
    if new.cases < old.cases:
        words = f"{name} had {old.cases} cases and has {new.cases}"
        flags.append(Flag(FlagKind.TEST_DELETED, path, new.line, words))
    # Without any limit a hanging test hangs, and no check is greener for it.
    patience_ms = new.patience_ms if new.patience_ms != math.inf else None
    if (patience_ms or 0) > (old.patience_ms or DEFAULT_MS) or new.retries > old.retries:
        words = f"{name} has more patience than it had"
        flags.append(Flag(FlagKind.THRESHOLD_LOWERED, path, new.line, words))
    dropped, added = _difference(old.assertions, new.assertions)
    if len(new.assertions) < len(old.assertions):
        words = f"{name} had {len(old.assertions)} that could fail and has {len(new.assertions)}"
        if dropped:
            words += f"; gone: {dropped[0].text}"
        flags.append(Flag(FlagKind.ASSERTION_REMOVED, path, new.line, words))
        return flags
    for was, now in zip(dropped, added, strict=False):
        flag = _weaker(path, name, was, now)
        if flag is not None:
            flags.append(flag)
    return flags


def _difference(
    old: Sequence[Assertion], new: Sequence[Assertion]
) -> tuple[list[Assertion], list[Assertion]]:
    """What stands in one only, each in its order: the first dropped pairs with the first added."""
    kept = Counter(each.text for each in old) & Counter(each.text for each in new)
    return _without(old, kept.copy()), _without(new, kept.copy())


def _without(assertions: Sequence[Assertion], kept: Counter[str]) -> list[Assertion]:
    rest = []
    for each in assertions:
        if kept[each.text] > 0:
            kept[each.text] -= 1
        else:
            rest.append(each)
    return rest


def _weaker(path: str, name: str, was: Assertion, now: Assertion) -> Flag | None:
    words = f"{name}: was {was.text}, is {now.text}"
    if now.strength < was.strength or _takes_anything(now) > _takes_anything(was):
        return Flag(FlagKind.ASSERTION_WEAKENED, path, now.line, words)
    if now.tolerance > was.tolerance and now.strength <= was.strength:
        return Flag(FlagKind.THRESHOLD_LOWERED, path, now.line, words)
    if now.shape != was.shape or now.strength > was.strength:
        return None
    if _is_looser(was, now):
        return Flag(FlagKind.THRESHOLD_LOWERED, path, now.line, words)
    return Flag(FlagKind.EXPECTATION_CHANGED, path, now.line, words)


def _takes_anything(assertion: Assertion) -> int:
    """How many parts of it may be anything at all."""
    return len(_ANYTHING.findall(assertion.text))


def _is_looser(was: Assertion, now: Assertion) -> bool:
    """Whether a bound moved outwards, with all else alike."""
    for old, new in zip(was.upper_bounds, now.upper_bounds, strict=False):
        if new > old:
            return True
    return any(new < old for old, new in zip(was.lower_bounds, now.lower_bounds, strict=False))
