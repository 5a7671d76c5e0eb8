"""Where the code of a test in JavaScript, TypeScript, Go or Rust can still be reached, and fail the test.

Works on masked code. Separate from `code_tests`, which finds the tests. What a test returns at its outermost
level ends it; what a `try` catches in silence fails nothing. Deliberately absent: conditions, but for those
that return and do nothing else, which are told as what skips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agentcoord.review.source_mask import Language, Masked

# Blanks are taken and never given back: a file may hold 100,000 of them in a row.
_RETURN = re.compile(r"\breturn\b[^\S\n]*+(?:(?:Ok\(\(\)\)|nil|null|undefined|true)[^\S\n]*+)?+(?=[;\n}])")
_ONLY_RETURNS = re.compile(r"(?P<head>\bif\b[^;{}]{0,400}+)\{\s*+return\s*+(?:Ok\(\(\)\)\s*+)?+;?+\s*+\}")
_FALSE = r"(?:false|0|!\s*+true)(?![\w.])"
_NEVER = re.compile(
    rf"\b(?:if|while|for)\b\s*+\(?+(?:[^;{{}}]{{0,200}}+;)?+\s*+\(?+\s*+{_FALSE}\s*+\)?+\s*+"
    r"(?:&&[^;{}|]{0,300}+)?+\)?+\s*+\{"
    rf"|\b(?:if|while|for)\b[^{{}}|]{{0,300}}&&\s*+\(?+\s*+{_FALSE}[\s)]*+\{{"
)
"""Blocks that are never entered, with or without an assignment before the condition."""
_NEVER_SCRIPT = re.compile(rf"\bif\s*+\(\s*+{_FALSE}\s*+(?:&&[^(){{}}|]{{0,200}}+)?+\)\s*+(?=[\w$])[^;\n]*+")
"""The same without a block."""
_LEAVES = {
    Language.SCRIPT: re.compile(r"\b(?:process\.(?:exit|abort|reallyExit)|Deno\.exit)\("),
    Language.GO: re.compile(r"\b(?:os\.Exit|syscall\.Exit|runtime\.Goexit)\("),
    Language.RUST: re.compile(r"\bprocess::(?:exit|abort)\("),
}
"""Calls that end the run of all tests, with a code of their own choice, or of this one."""
_TRY = re.compile(r"\btry\s*\{")
_CATCH = re.compile(r"\s*+catch\s*+(?:\([^)]{0,200}+\))?+\s*+\{")
_FAILS = re.compile(r"\b(?:throw|expect|assert|fail|reject|done|t)\b")
_HEAD_CHARS = 100
GO_MAIN = "TestMain"
"""The function of a Go package that runs its tests."""
_RUN, _EXIT = re.compile(r"\.Run\(\)"), re.compile(r"\bos\.Exit\(\s*\d")


Stretches = Sequence[tuple[int, int]]


def reachable(
    text: Masked, language: Language, start: int, end: int, own: Stretches
) -> Iterator[tuple[int, int]]:
    """Yield the parts of a test's `own` stretches, outside of tests within it, in which an assertion counts.

    The test reaches from `start`, behind its name, to `end`.
    """
    body = _body(text, start, end)
    stop = end if body is None else _first_return(text, body, text.closing[body])
    place = start
    for first, last in own:
        dead = [
            (found.end() - 1, text.closing[found.end() - 1])
            for found in _NEVER.finditer(text.code, first, last)
        ]
        if language is Language.SCRIPT:
            dead += [(opening, text.closing[opening]) for opening in _silent_tries(text, first, last)]
            dead += [found.span() for found in _NEVER_SCRIPT.finditer(text.code, first, last)]
        place = max(place, first)
        for opening, closing in sorted(dead):
            if place < min(opening, stop):
                yield place, min(opening, stop)
            place = max(place, closing)
        if place < min(last, stop):
            yield place, min(last, stop)


def guards(text: Masked, start: int, end: int, own: Stretches) -> Iterator[tuple[str, int]]:
    """Yield the conditions at a test's outermost level that do nothing but return, and their places."""
    body = _body(text, start, end)
    if body is None:
        return
    outermost = frozenset(_brackets(text, body))
    for found in (each for stretch in own for each in _ONLY_RETURNS.finditer(text.code, *stretch)):
        if text.code.index("{", found.end("head")) in outermost:
            head = text.source[found.start() : min(found.end("head"), found.start() + _HEAD_CHARS)]
            yield f"it returns early {' '.join(head.split())}", found.start()


def leaves(text: Masked, language: Language, stretches: Stretches) -> Iterator[tuple[str, int]]:
    """Yield the calls that end the test run, and their places."""
    for found in (each for stretch in stretches for each in _LEAVES[language].finditer(text.code, *stretch)):
        words = text.source[found.start() : text.closing.get(found.end() - 1, found.end()) + 1]
        yield f"it ends the test run: {' '.join(words.split())[:_HEAD_CHARS]}", found.start()


def ends_as_its_tests(text: Masked, start: int, end: int) -> bool:
    """Whether a TestMain runs the tests, and ends with no code of its own."""
    return _RUN.search(text.code, start, end) is not None and not _EXIT.search(text.code, start, end)


def _body(text: Masked, start: int, end: int) -> int | None:
    """The brace of the test's function: the last one that stands in no other bracket."""
    body, place = None, start
    while place < end:
        sign = text.code[place]
        if sign in "([{":
            body = place if sign == "{" else body
            place = text.closing[place]
        place += 1
    return body


def _brackets(text: Masked, body: int) -> Iterator[int]:
    """Those that open right within `body`."""
    place, end = body + 1, text.closing[body]
    while place < end:
        if text.code[place] in "([{":
            yield place
            place = text.closing[place]
        place += 1


def _first_return(text: Masked, body: int, end: int) -> int:
    """Where the function ends at the latest: at a return that stands in no other bracket, or at its end."""
    place = body + 1
    for bracket in [*_brackets(text, body), end]:
        found = _RETURN.search(text.code, place, bracket + 1)
        if found and found.start() < bracket:
            return found.start()
        place = text.closing.get(bracket, bracket) + 1
    return end


def _silent_tries(text: Masked, start: int, end: int) -> Iterator[int]:
    """The braces of each `try` whose `catch` neither throws nor asserts."""
    for found in _TRY.finditer(text.code, start, end):
        opening = found.end() - 1
        caught = _CATCH.match(text.code, text.closing[opening] + 1)
        if caught and not _FAILS.search(text.code, caught.end(), text.closing[caught.end() - 1]):
            yield opening
