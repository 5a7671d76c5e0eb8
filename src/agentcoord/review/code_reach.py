"""Where the code of a test in JavaScript, TypeScript, Go or Rust can still be reached, and fail the test.

Works on masked code. Separate from `code_tests`, which finds the tests. What a test returns at its outermost
level ends it; what a `try` catches in silence fails nothing. Deliberately absent: conditions, but for those
that return and do nothing else, which are told as what skips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agentcoord.review.code_blocks import Block
from agentcoord.review.source_mask import Language, Masked

# Blanks are taken and never given back: a file may hold 100,000 of them in a row.
_RETURN = re.compile(r"\breturn\b[^\S\n]*+(?:(?:Ok\(\(\)\)|nil|null|undefined|true)[^\S\n]*+)?+(?=[;\n}])")
_RETURN_VALUE = re.compile(r"return[^\S\n]++(?:0|false|void 0|Promise\.resolve\(\))[^\S\n]*+(?=[;\n}])")
_MAYBE = re.compile(r"(?:\)|\belse)\s*+\Z")
"""What stands before a statement that is, or may be, under a condition without a block."""
_RETURN_WORD = re.compile(r"\breturn\b")
_ONLY_RETURNS = re.compile(r"(?P<head>\bif\b[^;{}]{0,400}+)\{\s*+return\s*+(?:Ok\(\(\)\)\s*+)?+;?+\s*+\}")
_UNEQUAL = "|".join(
    rf"{n}\s*+(?:===?+\s*+[^{n}\D]|!==?+\s*+{n}|>\s*+[{n}-9]|<\s*+[0-{n}])" for n in range(10)
)
"""A comparison of two digits that never holds."""
_FALSE = rf"(?:false|0|!\s*+true|{_UNEQUAL})(?![\w.])"
_NEVER = re.compile(
    rf"\b(?:if|while|for)\b\s*+\(?+(?:[^;{{}}]{{0,200}}+;)?+\s*+\(?+\s*+{_FALSE}\s*+\)?+\s*+"
    r"(?:&&[^;{}|]{0,300}+)?+\)?+\s*+\{"
    rf"|\b(?:if|while|for)\b[^{{}}|]{{0,300}}&&\s*+\(?+\s*+{_FALSE}[\s)]*+\{{"
)
"""Blocks that are never entered, with or without an assignment before the condition."""
_NEVER_SCRIPT = re.compile(rf"\bif\s*+\(\s*+{_FALSE}\s*+(?:&&[^(){{}}|]{{0,200}}+)?+\)\s*+(?=[\w$])[^;\n]*+")
"""The same without a block."""
_LEAVES = {
    Language.SCRIPT: re.compile(
        r"(?:\A|(?<=[;{}]))\s*+(?P<call>(?:process\.(?:exit|reallyExit)|Deno\.exit)(?P<opening>\()\s*+0?+\s*+\))"
    ),
    Language.GO: re.compile(
        r"(?<=[;{}\n])[^\S\n]*+(?:defer[^\S\n]++)?+"
        r"(?P<call>(?:(?:os|syscall)\.Exit|runtime\.Goexit)(?P<opening>\()\s*+0?+\s*+\))"
    ),
    Language.RUST: re.compile(r"(?<=[;{}])\s*+(?P<call>(?:\w++::)*?process::exit(?P<opening>\()\s*+0\s*+\))"),
}
"""Statements that end the run of all tests as if they had passed."""
_MAY_STOP = re.compile(r"\breturn\b|\bSkip(?:f|Now)?\(|\.skip\(")
"""What may keep a child process's part from being run in a test run, or the test's from the child."""
_TRY = re.compile(r"\btry\s*\{")
_CATCH = re.compile(r"\s*+catch\s*+(?:\([^)]{0,200}+\))?+\s*+\{")
_FAILS = re.compile(r"\b(?:throw|expect|assert|fail|reject|done|t)\b")
_HEAD_CHARS = 100
GO_MAIN = "TestMain"
"""The function of a Go package that runs its tests."""
_GO_INIT = re.compile(r"^func\s++init\s*+\(\s*+\)\s*+\{", re.MULTILINE)
_GO_MAIN_GIVEN = re.compile(r"\(\s*+(?P<name>\w++)\s++\*\s*+(?:\w++\.)?+M\b")
GO_RUNS_NOTHING = f"{GO_MAIN} runs no test, or ends with 0 whatever they say"
_EXIT_0 = re.compile(r"\bos\.Exit\(\s*+0\s*+\)")
_RUN, _EXIT = re.compile(r"\.Run\(\)"), re.compile(r"\bos\.Exit\(\s*\d")


Stretches = Sequence[tuple[int, int]]


def reachable(
    text: Masked, language: Language, start: int, end: int, own: Stretches
) -> Iterator[tuple[int, int]]:
    """Yield the parts of a test's `own` stretches, outside of tests within it, in which an assertion counts.

    The test reaches from `start`, behind its name, to `end`.
    """
    body = body_of(text, start, end)
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
    body = body_of(text, start, end)
    if body is None:
        return
    outermost = frozenset(brackets_between(text, body + 1, text.closing[body]))
    for found in (each for stretch in own for each in _ONLY_RETURNS.finditer(text.code, *stretch)):
        if text.code.index("{", found.end("head")) in outermost:
            head = text.source[found.start() : min(found.end("head"), found.start() + _HEAD_CHARS)]
            yield f"it returns early {' '.join(head.split())}", found.start()


def leaves(text: Masked, language: Language, blocks: Sequence[Block]) -> Iterator[tuple[str, int]]:
    """Yield the calls by which a file or a test ends the run whatever happens, and their places.

    Under a condition, in a handler or in a function within, it is a child process that they end.
    """
    if not _LEAVES[language].search(text.code):
        return
    spans = [(body + 1, text.closing[body]) for body in _always_run(text, language, blocks)]
    if language is Language.SCRIPT:
        spans.append((0, len(text.code)))
    for start, end in spans:
        # Of a file as a whole nothing returns.
        stops = _MAY_STOP.search(text.code, start, end) if start else None
        calls = list(_LEAVES[language].finditer(text.code, start, stops.start() if stops else end))
        outermost = frozenset(brackets_between(text, start, end)) if calls else frozenset()
        for found in calls:
            if found.start("opening") in outermost:
                yield f"it ends the test run: {' '.join(found['call'].split())}", found.start("call")


def _always_run(text: Masked, language: Language, blocks: Sequence[Block]) -> Iterator[int]:
    """The braces of the functions that every run of the tests enters."""
    for block in blocks:
        body = body_of(text, block.body, block.end)
        # A subtest's guard may stand in the test around it.
        if body is not None and (language is not Language.GO or text.code.startswith("func ", block.start)):
            yield body
    if language is Language.GO:
        yield from (found.end() - 1 for found in _GO_INIT.finditer(text.code))


def main_hook(text: Masked, start: int, end: int) -> str | None:
    """Say what a TestMain does to the tests that it runs; None when it runs them and ends as they do."""
    if _RUN.search(text.code, start, end) and not _EXIT.search(text.code, start, end):
        return None
    return GO_RUNS_NOTHING if _runs_nothing(text, start, end) else f"{GO_MAIN} does not end as the tests do"


def _runs_nothing(text: Masked, start: int, end: int) -> bool:
    """Whether it has no use for what it is given to run the tests by, or passes over what that says."""
    body = body_of(text, start, end)
    given = _GO_MAIN_GIVEN.search(text.code, start, end if body is None else body)
    if body is None or given is None:
        return False
    name = given["name"]
    if re.search(rf"\b{name}\b", text.code[body:end]) is None:
        return True
    alone = re.compile(rf"[;{{\n]\s*+(?:_\s*+=\s*+)?+{name}\.Run\(\)")
    passed_over = alone.search(text.code, body, end)
    return passed_over is not None and _EXIT_0.search(text.code, passed_over.end(), end) is not None


def body_of(text: Masked, start: int, end: int) -> int | None:
    """The brace of the test's function: the last one that stands in no other bracket."""
    body, place = None, start
    while place < end:
        sign = text.code[place]
        if sign in "([{":
            body = place if sign == "{" else body
            place = text.closing[place]
        place += 1
    return body


def brackets_between(text: Masked, place: int, end: int) -> Iterator[int]:
    """Those that open there and stand in no other."""
    while place < end:
        if text.code[place] in "([{":
            yield place
            place = text.closing[place]
        place += 1


def _first_return(text: Masked, body: int, end: int) -> int:
    """Where the function ends at the latest: at a return that stands in no other bracket, or at its end."""
    place = body + 1
    for bracket in [*brackets_between(text, place, end), end]:
        for word in _RETURN_WORD.finditer(text.code, place, bracket):
            if _RETURN.match(text.code, word.start()):
                return word.start()
            before = text.code[max(body, word.start() - _HEAD_CHARS) : word.start()]
            if _RETURN_VALUE.match(text.code, word.start()) and not _MAYBE.search(before):
                return word.start()
        place = text.closing.get(bracket, bracket) + 1
    return end


def _silent_tries(text: Masked, start: int, end: int) -> Iterator[int]:
    """The braces of each `try` whose `catch` neither throws nor asserts."""
    for found in _TRY.finditer(text.code, start, end):
        opening = found.end() - 1
        caught = _CATCH.match(text.code, text.closing[opening] + 1)
        if caught and not _FAILS.search(text.code, caught.end(), text.closing[caught.end() - 1]):
            yield opening
