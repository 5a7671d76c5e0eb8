"""Reading the assertions of JavaScript, TypeScript, Go and Rust: what each requires, and how hard.

Works on masked code, where no word stands in a string or a comment. Separate from `code_tests`, which
finds the tests that they stand in. What is not known counts as exact, so that only a known weaker form
is ever called weaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agentcoord.review.assertions import EXACT, PARTLY, TRUTHY, VOID, Assertion
from agentcoord.review.source_mask import Language, Masked

_BEGINNING = {
    Language.SCRIPT: re.compile(r"\b(?:expect|assert)\b(?:\.\w+)*\s*\(|\bt\.(?!skip|todo|plan|log)\w+\s*\("),
    Language.GO: re.compile(r"\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(|\b(?:assert|require)\.\w+\("),
    Language.RUST: re.compile(r"\b(?:debug_|prop_)?assert\w*!\s*[(\[{]|\bpanic!\s*[(\[{]"),
}
_SHOULD = re.compile(r"\.should\b")
_CHAIN = re.compile(r"\s*\.\s*(\w+)\s*(\()?")
_WORD = re.compile(r"\w+")
_DIGITS = r"(-?\b\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)(?:_?(?:[fiu]\d+|[iu]size))?\b"
_NUMBER, _BELOW, _ABOVE = (re.compile(sign + _DIGITS) for sign in ("", r"<=?\s*", r">=?\s*"))
_WAITED_FOR = re.compile(r"(?:\bawait|\breturn|=>|[,(\[])\s*$")
"""What stands before a promise that fails the test when it fails."""
_TRUTHY_WORDS = frozenset(
    {"toBeTruthy", "toBeFalsy", "toBeDefined", "ok", "truthy", "falsy", "exist", "exists", "isOk", "notOk"}
    | {"True", "False", "NotNil", "NotEmpty", "NoError", "NotZero", "assert"}
)
_PARTLY_WORDS = frozenset(
    {"toContain", "toContainEqual", "toMatch", "toMatchObject", "toHaveProperty", "toBeInstanceOf", "toThrow"}
    | {"toThrowError", "toHaveBeenCalled", "toBeGreaterThan", "toBeGreaterThanOrEqual", "toBeLessThan"}
    | {"toBeLessThanOrEqual", "toBeCloseTo", "include", "match", "notEqual", "notDeepEqual", "throws"}
    | {
        "Contains",
        "NotEqual",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "InDelta",
        "Error",
        "assert_ne",
    }
)
_LITERAL = re.compile(r"\s*(?:true|false|null|\d+|['\"`]\s*['\"`])\s*")
_UPPER = re.compile(r"toBeLessThan\w*$|^(?:Less\w*|InDelta|InEpsilon|isBelow|isAtMost|closeTo)$")
_LOWER = re.compile(r"toBeGreaterThan\w*$|^(?:Greater\w*|toBeCloseTo|isAbove|isAtLeast)$")
_STATEMENT_CHARS = 4_000
_LOOK_BACK = 40
_TEXT_CHARS = 120


def assertions_between(text: Masked, language: Language, start: int, end: int) -> Iterator[Assertion]:
    """Every assertion of a stretch of code, in order; those within another one are part of it."""
    place = start
    while found := _BEGINNING[language].search(text.code, place, end):
        opening = found.end() - 1
        place = text.closing.get(opening, opening) + 1
        words = _WORD.findall(found.group())
        arguments = text.code[found.end() : place - 1]
        received = arguments
        if language is Language.SCRIPT:
            while link := _CHAIN.match(text.code, place, min(end, place + _STATEMENT_CHARS)):
                words.append(link.group(1))
                place = link.end()
                if link.group(2):
                    place = text.closing.get(link.end() - 1, link.end()) + 1
                    arguments = text.code[link.end() : place - 1]
        yield _assertion(text, language, found.start(), place, words, received, arguments)
    for found in _SHOULD.finditer(text.code, start, end) if language is Language.SCRIPT else ():
        line_end = text.code.find("\n", found.end()) % (end + 1)
        yield _assertion(text, language, found.start(), line_end, ["should"], "", "")


def _assertion(
    text: Masked, language: Language, start: int, end: int, words: list[str], received: str, arguments: str
) -> Assertion:
    code = " ".join(text.code[start:end].split())
    source = " ".join(text.source[start:end].split())
    last = words[-1]
    upper, lower = (_NUMBER if side.search(last) else None for side in (_UPPER, _LOWER))
    if language is Language.RUST:
        upper, lower = _BELOW, _ABOVE
        strength = _rust(last, arguments)
    elif not {"resolves", "rejects"}.isdisjoint(words) and not _is_waited_for(text.code, start):
        source, strength = f"not waited for: {source}", VOID
    else:
        strength = _strength(words, received, arguments)
    return Assertion(
        text=source if len(source) <= _TEXT_CHARS else source[: _TEXT_CHARS - 1] + "…",
        line=text.line_of(start),
        strength=strength,
        shape=_NUMBER.sub("#", re.sub(r"\s+", "", code)),
        upper_bounds=_numbers(upper, arguments),
        lower_bounds=_numbers(lower, arguments),
    )


def _numbers(pattern: re.Pattern[str] | None, code: str) -> tuple[float, ...]:
    return tuple(float(each.replace("_", "")) for each in pattern.findall(code)) if pattern else ()


def _is_waited_for(code: str, place: int) -> bool:
    return _WAITED_FOR.search(code[max(0, place - _LOOK_BACK) : place]) is not None


def _strength(words: list[str], received: str, arguments: str) -> int:
    last = words[-1]
    if words[0] == "expect" and len(words) == 1:
        return VOID  # Nothing is asked of what is expected.
    if _LITERAL.fullmatch(received) and received.strip() == arguments.strip():
        return VOID
    if last in _TRUTHY_WORDS or (last == "toBeNull" and "not" in words):
        return VOID if _LITERAL.fullmatch(received) else TRUTHY
    return PARTLY if last in _PARTLY_WORDS or "not" in words else EXACT


def _rust(macro: str, arguments: str) -> int:
    if not macro.endswith("assert"):
        return PARTLY if macro.endswith("_ne") else EXACT
    condition = arguments.strip()
    if condition.startswith("true"):
        return VOID
    if "||" in condition:
        return TRUTHY
    if "==" in condition:
        return EXACT
    return PARTLY if re.search(r"[<>]|!=|\bmatches!", condition) else TRUTHY
