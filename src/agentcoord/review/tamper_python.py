"""Tamper rules for Python tests, by their syntax trees: what each test still asserts, and how hard.

A test is compared with the one of the same name, else with one of the same body anywhere in the
change (it was renamed or moved). Only assertions that can still fail count: not those after a
return, under `if False`, or where a failure would be swallowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentcoord.review.assertions import Assertion
from agentcoord.review.flags import ChangedFile, Flag, FlagKind
from agentcoord.review.python_tests import FileReading, PythonTest, read_tests


def python_flags(file: ChangedFile, others: Sequence[ChangedFile]) -> list[Flag]:
    """Compare one Python test file with what it was; `others` are all the test files of the change."""
    before = read_tests(file.before or b"")
    after = read_tests(file.after)
    if after is None:
        return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 0, "it is not Python that can be read")]
    if before is None:
        return [Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 0, "what it was could not be read")]
    flags = [
        Flag(FlagKind.CONFIGURATION_CHANGED, file.path, line, words)
        for words, line in after.hooks.items()
        if words not in before.hooks
    ]
    flags += [
        Flag(FlagKind.TEST_SKIPPED, file.path, line, words)
        for words, line in after.skips.items()
        if words not in before.skips and before.tests
    ]
    moved = _Moved(after, others)
    for name, old in before.tests.items():
        new = after.tests.get(name)
        if new is not None:
            flags += _compared(file.path, name, old, new)
        elif not moved.has(old):
            flags.append(Flag(FlagKind.TEST_DELETED, file.path, old.line, f"{name} is gone"))
    return flags


@dataclass(slots=True)
class _Moved:
    """Bodies and names of tests that may be an old one under another name or in another file."""

    after: FileReading
    others: Sequence[ChangedFile]

    def has(self, old: PythonTest) -> bool:
        return any(
            new.body == old.body or (new.name == old.name and len(new.assertions) >= len(old.assertions))
            for new in self._candidates()
            if not new.skips
        )

    def _candidates(self) -> Iterator[PythonTest]:
        yield from self.after.tests.values()
        for other in self.others:
            was, now = read_tests(other.before or b""), read_tests(other.after)
            known = set(was.tests) if was else set()
            yield from (test for name, test in (now.tests if now else {}).items() if name not in known)


def _compared(path: str, name: str, old: PythonTest, new: PythonTest) -> list[Flag]:
    flags = [
        Flag(FlagKind.TEST_SKIPPED, path, line, f"{name}: {words}")
        for words, line in new.skips.items()
        if words not in old.skips
    ]
    if new.cases < old.cases:
        words = f"{name} had {old.cases} cases and has {new.cases}"
        flags.append(Flag(FlagKind.TEST_DELETED, path, new.line, words))
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
    if now.strength < was.strength:
        return Flag(FlagKind.ASSERTION_WEAKENED, path, now.line, words)
    if now.shape != was.shape or now.strength > was.strength:
        return None
    if _is_looser(was, now):
        return Flag(FlagKind.THRESHOLD_LOWERED, path, now.line, words)
    return Flag(FlagKind.EXPECTATION_CHANGED, path, now.line, words)


def _is_looser(was: Assertion, now: Assertion) -> bool:
    """Whether a bound moved outwards, with all else alike."""
    for old, new in zip(was.upper_bounds, now.upper_bounds, strict=False):
        if new > old:
            return True
    return any(new < old for old, new in zip(was.lower_bounds, now.lower_bounds, strict=False))
