"""Blanks out what is no code: comments, strings and regular expressions, in one pass over the text.

What remains stands where it stood, so that a place in the masked text is the same place in the source.
Separate from the readers of tests, which look for words in code and must not find them in a comment or
a string. Linear in the text: each pattern begins with a sign of its own, takes what it can without ever
giving back, and does not need its end to be there.

Not a parser. A template inside of a template's expression ends the outer one early; brackets that do
not fit together afterwards say so (`brackets`), and nothing is concluded from such a file.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from enum import StrEnum

from agentcoord.values import dataclass

_LINE_COMMENT = r"//[^\n]*+"
_BLOCK_COMMENT = r"/\*(?:[^*]++|\*(?!/))*+(?:\*/)?+"
_DOUBLE = r'"(?:[^"\\\n]++|\\[\s\S])*+"?+'
# Behind a letter it is an apostrophe, in the text of an element.
_SINGLE = r"(?<!\w)'(?:[^'\\\n]++|\\[\s\S])*+'?+"
_TEMPLATE = r"`(?:[^`\\$]++|\\[\s\S]|\$\{[^{}`]*+\}|\$)*+`?+"
_RAW_GO = r"`[^`]*+`?+"
_RUST_RAW = r'(?<!\w)b?r(?P<fence>#*+)"(?:[^"]++|"(?!(?P=fence)))*+(?:"(?P=fence))?+'
_RUST_STRING = r'b?"(?:[^"\\]++|\\[\s\S])*+"?+'
_RUST_CHARACTER = r"b?'(?:\\[^\n][^'\n]{0,10}+|[^'\\\n])'"
_REGEX = re.compile(r"/(?:[^/\\\n\[]++|\\[^\n]|\[(?:[^\]\\\n]++|\\[^\n])*+\])++/[a-z]*+")
_BEFORE_REGEX = frozenset("(,=:[!&|?{};+-*%<>~^")
_WORDS_BEFORE_REGEX = re.compile(r"(?:^|[^\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|do|else)$")
_LOOK_BACK = 40
_PAIRS = {")": "(", "]": "[", "}": "{"}
_BRACKET = re.compile(r"[()\[\]{}]")
_LINE_END = re.compile(r"\n")
_NOT_NEWLINE = re.compile(r"[^\n]")


class Language(StrEnum):
    """Those whose tests are read."""

    SCRIPT = "JavaScript or TypeScript"
    GO = "Go"
    RUST = "Rust"


_TOKENS = {
    Language.SCRIPT: re.compile(
        f"{_LINE_COMMENT}|{_BLOCK_COMMENT}|{_DOUBLE}|{_SINGLE}|{_TEMPLATE}|(?P<slash>/)"
    ),
    Language.GO: re.compile(f"{_LINE_COMMENT}|{_BLOCK_COMMENT}|{_DOUBLE}|{_SINGLE}|{_RAW_GO}"),
    Language.RUST: re.compile(
        f"{_LINE_COMMENT}|{_BLOCK_COMMENT}|{_RUST_RAW}|{_RUST_STRING}|{_RUST_CHARACTER}"
    ),
}


@dataclass(frozen=True, slots=True)
class Masked:
    """A source and the same with nothing but code in it."""

    source: str
    code: str
    """As long as the source; a string is its quotes with blanks between."""
    closing: dict[int, int]
    """Where each bracket is closed."""
    line_ends: list[int]

    def line_of(self, place: int) -> int:
        """1-based."""
        return bisect_left(self.line_ends, place) + 1


def masked(source: str, language: Language) -> Masked | None:
    """Mask a source; None when its brackets do not fit together, and it cannot be read this way."""
    code = _blanked(source, language)
    closing = brackets(code)
    if closing is None:
        return None
    return Masked(source, code, closing, [found.start() for found in _LINE_END.finditer(source)])


def brackets(code: str) -> dict[int, int] | None:
    """Return where each bracket is closed; None when they do not fit together."""
    closing: dict[int, int] = {}
    waiting: list[int] = []
    for found in _BRACKET.finditer(code):
        sign, place = found.group(), found.start()
        if sign not in _PAIRS:
            waiting.append(place)
        elif not waiting or code[waiting[-1]] != _PAIRS[sign]:
            return None
        else:
            closing[waiting.pop()] = place
    return None if waiting else closing


def _blanked(source: str, language: Language) -> str:
    tokens = _TOKENS[language]
    parts: list[str] = []
    place = no_regex_before = 0
    while found := tokens.search(source, place):
        start, end = found.span()
        parts.append(source[place:start])
        if found.lastgroup == "slash":
            regex = None
            if start >= no_regex_before and _may_begin_regex(source, start):
                regex = _REGEX.match(source, start)
                if regex is None:
                    no_regex_before = source.find("\n", start) % (len(source) + 1)
            end = regex.end() if regex else end
        place = end
        parts.append(source[start:end] if end == start + 1 else _blank(source[start:end]))
    return "".join([*parts, source[place:]])


def _blank(text: str) -> str:
    """Blanks, but for line ends and for the quotes of a string."""
    quote = text[0] if text[0] in "\"'`" else " "
    end = quote if text[-1] == quote else " "
    return quote + _NOT_NEWLINE.sub(" ", text[1:-1]) + ("\n" if text[-1] == "\n" else end)


def _may_begin_regex(source: str, place: int) -> bool:
    before = source[max(0, place - _LOOK_BACK) : place].rstrip()[-12:]
    return not before or before[-1] in _BEFORE_REGEX or _WORDS_BEFORE_REGEX.search(before) is not None
