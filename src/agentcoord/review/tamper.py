"""Tampering: changes that make checks say less than they did, told with file and line.

Entry point of the rules: which of them look at which changed file. What the rules cannot decide
they flag: a person is cheaper than a check that no longer checks. Pure; contents come in as bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence

from agentcoord.review.flags import ChangedFile, Flag, FlagKind, in_order, is_test
from agentcoord.review.tamper_config import config_flags, silenced_flags
from agentcoord.review.tamper_tests import test_flags

JUDGED_BYTES = 1024 * 1024
"""Of a longer file only the names are looked at."""


def find_flags(files: Sequence[ChangedFile], commands: Collection[str]) -> tuple[Flag, ...]:
    """Return every flag of a change, the weightiest first. `commands` are the checks it is judged by.

    Blocking for as long as parsing takes; call it from a thread.
    """
    run_by_checks = _words_of(commands)
    found: list[Flag] = []
    tests = [file for file in files if is_test(file.path) or _holds_tests(file)]
    for file in files:
        if file.before == file.after:
            continue
        if len(file.after) > JUDGED_BYTES or len(file.before or b"") > JUDGED_BYTES:
            if is_test(file.path):
                found.append(
                    Flag(FlagKind.CONFIGURATION_CHANGED, file.path, 0, "a test file too large to be compared")
                )
            continue
        found += config_flags(file, run_by_checks)
        found += silenced_flags(file)
        if file in tests:
            found += test_flags(file, tests)
    return in_order(found)


def _holds_tests(file: ChangedFile) -> bool:
    """Rust keeps unit tests beside the code that they test."""
    before = file.before or b""
    return file.path.endswith(".rs") and (b"test]" in before or b"cfg(test)" in before)


def _words_of(commands: Iterable[str]) -> frozenset[str]:
    """Words of the check commands that may name files of the project."""
    words: set[str] = set()
    for command in commands:
        try:
            words |= {word.removeprefix("./") for word in shlex.split(command)}
        except ValueError:
            words |= set(command.split())
    return frozenset(words)
