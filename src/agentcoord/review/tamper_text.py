"""Tamper rules for tests in other languages, by careful patterns over their lines.

Counts are compared for a whole file, since there is no parser: fewer tests or fewer assertions
than before, or new words that skip. Comments count as taken out.
"""

from __future__ import annotations

import re
from collections import Counter

from agentcoord.review.flags import ChangedFile, Flag, FlagKind, text_of

_TEST = re.compile(
    r"\b(?:it|test|specify)(?:\.each\b.*?)?\s*\(\s*['\"`]"
    r"|^\s*(?:it|specify|scenario)\s+['\"]"
    r"|^\s*func\s+(?:Test|Benchmark|Fuzz)\w+\s*\("
    r"|^\s*#\[(?:\w+::)*test\b"
    r"|^\s*@(?:Test|ParameterizedTest|RepeatedTest)\b"
    r"|^\s*\[(?:Test|Fact|Theory|TestMethod)\b"
    r"|^\s*(?:public\s+)?function\s+test\w+\s*\("
    r"|^\s*def\s+test_\w+"
)
_ASSERTION = re.compile(
    r"\bexpect\s*[({]|\bexpect_\w+\s*\(|\bassert\w*\s*!?\s*[(.]|\bassert\s|\bshould\b|\.to\.\w"
    r"|\bt\.(?:Error|Errorf|Fatal|Fatalf|Fail|FailNow)\s*\(|\brequire\.\w+\s*\(|\bXCTAssert\w*\s*\("
    r"|\b(?:EXPECT|ASSERT|CHECK|REQUIRE)_?\w*\s*\("
)
_SKIP = re.compile(
    r"\b(?:it|test|describe|context|suite)\.(?:skip|todo|only|failing)\b|\bx(?:it|test|describe)\s*\("
    r"|\bf(?:it|describe)\s*\(|\bt\.Skip(?:f|Now)?\s*\(|^\s*#\[ignore\b|^\s*@(?:Disabled|Ignore|EnabledO|EnabledI|EnabledFor)\w*"
    r"|\bassum(?:e|ing)(?:True|False|That|NotNull|NoException)\s*\(|@Test\s*\([^)]*enabled\s*=\s*false"
    r"|\[(?:Ignore|Skip)\b|\bSkip\s*=\s*\"|\bmarkTestSkipped\s*\(|^\s*(?:pending|skip)\b|\bGTEST_SKIP\b"
)
_NEVER = re.compile(
    r"\bif\s*+\(?+\s*+(?:false|0)\s*+(?:\)|&&|$)|\bif\s*+\(\s*+true\s*+\)\s*+\{?+\s*+return\b"
)
"""Switches off what stands behind it, in a file that holds tests."""
_WEAK = re.compile(
    r"\bassert(?:True|False|NotNull|NotSame|InstanceOf|DoesNotThrow|_not_nil|_nothing_raised)\b"
    r"|\bis(?:NotNull|NotEmpty|Present|NotBlank)\s*\(\s*\)|\bbe_(?:truthy|falsey|present)\b|not_to be_nil"
    r"|\bAssert\.(?:IsNotNull|NotNull|IsTrue|True|IsFalse|False)\b|\bXCTAssert(?:True|False|NotNil)?\s*\("
    r"|\b(?:EXPECT|ASSERT)_(?:TRUE|FALSE|NO_THROW|NE)\b|->assert(?:True|False|NotNull|NotEmpty)\b"
)
"""Assertions that nearly anything satisfies."""
_ALLOWED = re.compile(
    r"\b(?:assertEquals|assertArrayEquals)\s*\([^;]*,[^;]*,\s*(?P<delta>\d+(?:\.\d+)?)[dDfF]?\s*\)"
    r"|\b(?:within|offset|be_within|closeTo|EXPECT_NEAR|ASSERT_NEAR|assertEqualsWithDelta)\s*\("
    r"(?:[^;]*,)?\s*(?P<near>\d+(?:\.\d+)?)[dDfF]?\s*\)"
)
"""By how much a value may be another than the expected one."""
_COMMENT = re.compile(r"^\s*(?://|#(?!\[)|\*|/\*|--|;)")


def text_flags(file: ChangedFile) -> list[Flag]:
    """Compare one test file with what it was; a new file cannot take anything away."""
    if file.before is None:
        return []
    before, after = text_of(file.before).splitlines(), text_of(file.after).splitlines()
    flags = []
    for kind, pattern, noun in (
        (FlagKind.TEST_DELETED, _TEST, "tests"),
        (FlagKind.ASSERTION_REMOVED, _ASSERTION, "assertions"),
    ):
        was, now = _lines_with(pattern, before), _lines_with(pattern, after)
        if len(now) < len(was):
            line, gone = _first_gone(was, now)
            words = f"it had {len(was)} {noun} and has {len(now)}; gone: {gone}"
            flags.append(Flag(kind, file.path, line, words))
    for pattern in (_SKIP, _NEVER) if _lines_with(_TEST, before) else (_SKIP,):
        known = Counter(text for _, text in _lines_with(pattern, before))
        for line, text in _lines_with(pattern, after):
            if known[text] > 0:
                known[text] -= 1
            else:
                flags.append(Flag(FlagKind.TEST_SKIPPED, file.path, line, text))
    return flags + _weaker(file.path, _lines_with(_ASSERTION, before), _lines_with(_ASSERTION, after))


def _weaker(path: str, was: list[tuple[int, str]], now: list[tuple[int, str]]) -> list[Flag]:
    """Compare assertions one for one where there are as many or more: hard ones gone, and easy ones there."""
    gone, new = (Counter(text for _, text in each) for each in (was, now))
    gone, new = gone - new, new - gone
    flags = []
    hard = len([text for _, text in now if not _WEAK.search(text)])
    lost = len([text for _, text in was if not _WEAK.search(text)]) - hard
    allowed = sorted(_delta(text) for text in gone.elements())
    for line, text in now:
        if text not in new:
            continue
        if lost > 0 and len(now) >= len(was) and _WEAK.search(text):
            lost -= 1
            flags.append(Flag(FlagKind.ASSERTION_WEAKENED, path, line, f"is now {text}"))
        elif allowed and _delta(text) > allowed[-1]:
            flags.append(Flag(FlagKind.THRESHOLD_LOWERED, path, line, f"is now {text}"))
    return flags


def _delta(text: str) -> float:
    found = _ALLOWED.search(text)
    return float(found["delta"] or found["near"]) if found else 0.0


def _lines_with(pattern: re.Pattern[str], lines: list[str]) -> list[tuple[int, str]]:
    return [
        (number, line.strip()[:120])
        for number, line in enumerate(lines, 1)
        if not _COMMENT.match(line) and pattern.search(line[:2_000])
    ]


def _first_gone(was: list[tuple[int, str]], now: list[tuple[int, str]]) -> tuple[int, str]:
    left = Counter(text for _, text in now)
    for line, text in was:
        if left[text] == 0:
            return line, text
        left[text] -= 1
    return was[-1]
