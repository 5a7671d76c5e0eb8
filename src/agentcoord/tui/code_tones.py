"""Source text as toned spans: Pygments says what a word is, a few tones say how it looks. Pure.

Separate from the diff, which only knows lines. Deliberately absent: colours, and files as a whole: a hunk is
read by itself, so a string that began before it looks like code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

from agentcoord.tui.styled import Span, Tone

MOST_LINES: Final = 2_000
"""Longer texts stay plain: colouring them would be felt."""
MOST_LINE_CHARS: Final = 2_000
_TONES: Final[tuple[tuple[_TokenType, Tone], ...]] = (
    (Token.Comment, Tone.CODE_COMMENT),
    (Token.Literal.String, Tone.CODE_STRING),
    (Token.Literal.Number, Tone.CODE_NUMBER),
    (Token.Keyword, Tone.CODE_KEYWORD),
    (Token.Operator.Word, Tone.CODE_KEYWORD),
    (Token.Name.Function, Tone.CODE_NAME),
    (Token.Name.Class, Tone.CODE_NAME),
    (Token.Name.Tag, Tone.CODE_NAME),
    (Token.Name.Decorator, Tone.CODE_NAME),
    (Token.Generic.Heading, Tone.CODE_NAME),
)


def coloured(path: str, lines: Sequence[str]) -> list[list[Span]]:
    """The lines as spans; their text is exactly what it was."""
    plain = [[Span(line)] for line in lines]
    lexer = _lexer_for(path)
    if lexer is None or len(lines) > MOST_LINES or max(map(len, lines), default=0) > MOST_LINE_CHARS:
        return plain
    found: list[list[Span]] = [[]]
    for token, text in lexer.get_tokens("\n".join(lines)):
        tone = _tone_of(token)
        first, *rest = text.split("\n")
        if first:
            found[-1].append(Span(first, tone))
        found.extend([Span(part, tone)] if part else [] for part in rest)
    # A lexer may drop or normalise characters; then the text counts, and the colours do not.
    for at, spans in enumerate(found[: len(lines)]):
        if "".join(span.text for span in spans) == lines[at]:
            plain[at] = spans
    return plain


def _tone_of(token: _TokenType) -> Tone:
    return next((tone for kind, tone in _TONES if token in kind), Tone.PLAIN)


@lru_cache(maxsize=256)
def _lexer_for(path: str) -> Lexer | None:
    try:
        return get_lexer_for_filename(path, stripnl=False, stripall=False, ensurenl=False)
    except ClassNotFound:
        return None
