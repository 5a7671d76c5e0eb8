"""Prose that its author broke at a margin of his own, for a window of another width. Pure.

Separate from `text`, whose `wrap` keeps every line break: of code, output and lists that is right.
"""

from __future__ import annotations

import re
from typing import Final

_OWN_LINE: Final = re.compile(r"\s|$|[-*+>|#]|\d+[.)]\s|```|~~~")
"""How a line begins that never goes on from the one before: lists, quotes, tables, code."""
_TAKES_NO_MORE: Final = re.compile(r"\s|$|[>|#]|```|~~~")
"""How a line begins that the next one never goes on from."""
_FENCES: Final = ("```", "~~~")
MARGIN: Final = 60
"""Nobody breaks a line earlier than here because it is full."""


def reflowed(text: str) -> str:
    """Return `text` with the lines joined that were broken because they were full.

    A line was full when the next one's first word would have reached beyond `MARGIN`.
    """
    lines: list[str] = []
    last, fenced = "", False
    for line in text.expandtabs(4).split("\n"):
        goes_on = not fenced and not _OWN_LINE.match(line) and not _TAKES_NO_MORE.match(last)
        full = (
            len(last.rstrip()) > MARGIN / 2 and len(last.rstrip()) + 1 + len(line.partition(" ")[0]) > MARGIN
        )
        if goes_on and full:
            lines[-1] = f"{lines[-1].rstrip()} {line}"
        else:
            lines.append(line)
        fenced ^= line.startswith(_FENCES)
        last = "" if fenced else line
    return "\n".join(lines)
