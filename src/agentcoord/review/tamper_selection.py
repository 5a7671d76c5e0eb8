"""Tamper rules for which test files a runner of JavaScript or TypeScript picks: fewer of them is a flag.

Vitest's settings (also in `vite.config`, which builds as well), Jest's (also in `package.json`) and Mocha's.
Read are the keys that pick or leave out, each with the texts of its list, wherever in the file they stand; a
text that is gone from what picks, and a new one in what leaves out, is flagged at its line. Whether one
pattern covers another is not asked: a person is cheaper. How they are read is in `runner_lists`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from agentcoord.review.flags import ChangedFile, Flag, FlagKind, text_of
from agentcoord.review.runner_lists import Listed, ListedKey, keys_in
from agentcoord.values import dataclass

_WORDS_CHARS = 80
_HARMLESS = re.compile(
    r"(?:\.\.\.)?configDefaults\.(?:include|exclude)"
    r"|(?:<rootDir>|\*\*)?/?(?:\\\\/|/)?(?:node_modules|\.git|dist)(?:/|/\*\*|/\*|\\\\/)?"
    r"|\*\*/\*\.\{test,spec\}\.\?\(c\|m\)\[jt\]s\?\(x\)"
    r"|\*\*/__tests__/\*\*/\*\.\[jt\]s\?\(x\)|\*\*/\?\(\*\.\)\+\(spec\|test\)\.\[jt\]s\?\(x\)"
)
"""What the runners pick and leave out anyway."""


@dataclass(frozen=True, slots=True)
class _Runner:
    """Where its settings are, and which of them decide what runs."""

    files: re.Pattern[str]
    picks: frozenset[str]
    leaves_out: frozenset[str]
    within: frozenset[str]
    """One of these objects must be right around the key; empty: any."""


_RUNNERS = (
    _Runner(
        re.compile(r"(^|/)(vite|vitest)\.config\.\w+$"),
        frozenset({"include", "dir"}),
        frozenset({"exclude", "testNamePattern"}),
        frozenset({"test", "coverage", "typecheck"}),
    ),
    _Runner(
        re.compile(r"(^|/)(jest\.config\.\w+|package\.json)$"),
        frozenset({"testMatch", "testRegex", "roots"}),
        frozenset({"testPathIgnorePatterns", "coveragePathIgnorePatterns"}),
        frozenset(),
    ),
    _Runner(
        re.compile(r"(^|/)\.mocharc\.\w+$"),
        frozenset({"spec", "files"}),
        frozenset({"ignore", "exclude", "grep", "fgrep", "invert"}),
        frozenset(),
    ),
    _Runner(
        re.compile(r"(^|/)package\.json$"),
        frozenset({"spec", "files"}),
        frozenset({"ignore", "exclude", "grep", "fgrep", "invert"}),
        frozenset({"mocha"}),
    ),
)


_Settings = Mapping[str, list[ListedKey]]
"""By `<object>.<key>`: a file may have several of the same name."""


def selects_tests(path: str) -> bool:
    """Whether a runner is told in this file which tests to run."""
    return any(runner.files.search(path) for runner in _RUNNERS)


def selection_flags(file: ChangedFile) -> list[Flag] | None:
    """Flags for tests that are picked no more; None for a file that cannot be read, or is of no runner."""
    flags: list[Flag] = []
    runners = [runner for runner in _RUNNERS if runner.files.search(file.path)]
    for runner in runners:
        before, after = (_settings(file.path, text_of(each), runner) for each in (file.before, file.after))
        if before is None or after is None:
            return None
        for name in sorted(before.keys() | after.keys()):
            picks = name.rpartition(".")[2] in runner.picks
            compare = _picked_less if picks else _left_out_more
            found = compare(name, before.get(name, []), after.get(name, []))
            if found is not None:
                line, words = found
                flags.append(Flag(FlagKind.CONFIGURATION_CHANGED, file.path, line, words))
    return flags if runners else None


def _picked_less(name: str, before: list[ListedKey], after: list[ListedKey]) -> tuple[int, str] | None:
    """What picks no more: a text that is gone, one that takes away, or a list where all were picked."""
    was, now = _texts(before), _texts(after)
    gone = _beyond(was, now)
    if gone:
        line = after[0].line if after else gone[0].line
        return line, f"{name} no longer picks {_words(gone[0].text)}"
    new = _beyond(now, was)
    less = [text for text in new if text.text.startswith("!")]
    if less:
        return less[0].line, f"{name} leaves out {_words(less[0].text)}"
    if not before and new:
        return new[0].line, f"{name} now says what is picked: {_words(new[0].text)}"
    return None


def _left_out_more(name: str, before: list[ListedKey], after: list[ListedKey]) -> tuple[int, str] | None:
    new = _beyond(_texts(after), _texts(before))
    if new:
        return new[0].line, f"{name} leaves out {_words(new[0].text)}"
    return None


def _texts(settings: Iterable[ListedKey]) -> list[Listed]:
    """All that they list, without what every runner does anyway."""
    return [text for each in settings for text in each.texts if not _HARMLESS.fullmatch(text.text)]


def _beyond(texts: Iterable[Listed], others: Iterable[Listed]) -> list[Listed]:
    """Return those of `texts` that are not among `others`."""
    left = Counter(text.text for text in others)
    beyond = []
    for text in texts:
        if left[text.text] > 0:
            left[text.text] -= 1
        else:
            beyond.append(text)
    return beyond


def _words(text: str) -> str:
    return text if len(text) <= _WORDS_CHARS else text[:_WORDS_CHARS] + "..."


def _settings(path: str, text: str, runner: _Runner) -> _Settings | None:
    keys = keys_in(path, text, runner.picks | runner.leaves_out, runner.within)
    if keys is None:
        return None
    settings: dict[str, list[ListedKey]] = {}
    for name, key in keys:
        settings.setdefault(name, []).append(key)
    return settings
