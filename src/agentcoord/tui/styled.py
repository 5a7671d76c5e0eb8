"""Text with a meaning attached: what the pure half of the dashboard hands to its widgets.

A tone says what a piece of text means (good, muted); the theme decides its colour. Separate so
that wording and layout are tested without a terminal. Deliberately absent: any colour.
"""

from __future__ import annotations

from collections import namedtuple
from enum import StrEnum

from agentcoord.tui.cells import cell_len

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import NamedTuple


class Tone(StrEnum):
    """What a piece of text means; each is a component class `tone--<value>` of our widgets."""

    PLAIN = "plain"
    MUTED = "muted"
    STRONG = "strong"
    ACCENT = "accent"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    TITLE = "title"
    """A heading, or the program's name."""
    BADGE = "badge"
    """Must not be overlooked: drawn on a filled background."""
    ADDED = "added"
    """A line that a diff adds."""
    REMOVED = "removed"
    """A line that a diff removes."""
    CODE_KEYWORD = "code-keyword"
    CODE_STRING = "code-string"
    CODE_NUMBER = "code-number"
    CODE_COMMENT = "code-comment"
    CODE_NAME = "code-name"
    """What is defined or called."""


OF_CODE = frozenset(tone for tone in Tone if tone in ("added", "removed") or tone.startswith("code-"))
"""Tones of code and of what changes in it: only `LinesView` draws them."""


class Ground(StrEnum):
    """What lies behind a piece of text; each but the first is a component class `ground--<value>`."""

    NONE = "none"
    ADDED = "added"
    REMOVED = "removed"
    ADDED_WORD = "added-word"
    """What is new within a line that is much as it was."""
    REMOVED_WORD = "removed-word"
    CURSOR = "cursor"


if TYPE_CHECKING:

    class Span(NamedTuple):
        """A run of text in one tone, already harmless."""

        text: str
        tone: Tone = Tone.PLAIN
        ground: Ground = Ground.NONE

else:
    # The same without `typing`.
    Span = namedtuple("Span", ("text", "tone", "ground"), defaults=(Tone.PLAIN, Ground.NONE))  # noqa: PYI024


Line = tuple[Span, ...]
"""One line of a terminal."""


def width_of(line: Line) -> int:
    """How many cells a line takes."""
    return sum(cell_len(span.text) for span in line)


def plain_text(line: Line) -> str:
    """The text of a line without its tones."""
    return "".join(span.text for span in line)
