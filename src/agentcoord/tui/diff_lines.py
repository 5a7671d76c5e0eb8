"""A unified diff as toned lines, and where its files begin. Pure.

Hunks are read by the line counts of their `@@` headers, so that a removed line which itself
begins with `-- ` is not mistaken for the header of the next file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import harmless

TAB_CELLS: Final = 4
_HUNK: Final = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_FILE_HEADERS: Final = ("diff ", "--- ", "+++ ")


def diff_lines(text: str) -> list[Line]:
    """Return one toned line for each line of a unified diff."""
    lines: list[Line] = []
    old_left = new_left = 0
    for raw in text.removesuffix("\n").split("\n") if text else ():
        tone = Tone.MUTED
        if (old_left > 0 or new_left > 0) and raw[:1] in _HUNK_MARKS:
            tone = _TONES.get(raw[:1], Tone.PLAIN)
            old_left -= tone in (Tone.PLAIN, Tone.REMOVED)
            new_left -= tone in (Tone.PLAIN, Tone.ADDED)
        else:
            old_left = new_left = 0
            if hunk := _HUNK.match(raw):
                tone = Tone.ACCENT
                old_left, new_left = (int(count) if count is not None else 1 for count in hunk.groups())
            elif raw.startswith(_FILE_HEADERS):
                tone = Tone.TITLE
        lines.append((Span(harmless(raw.expandtabs(TAB_CELLS)), tone),))
    return lines


def file_starts(lines: Sequence[Line]) -> list[int]:
    """Return the line numbers at which a file's part begins."""
    titles = [(i, line[0].text) for i, line in enumerate(lines) if line[0].tone is Tone.TITLE]
    starts = [i for i, text in titles if text.startswith("diff ")]
    return starts or [i for i, text in titles if text.startswith("--- ")]


_HUNK_MARKS: Final = ("", " ", "+", "-", "\\")
"""How a line within a hunk may begin; anything else ends the hunk, whatever its header said."""
_TONES: Final = {"+": Tone.ADDED, "-": Tone.REMOVED, "\\": Tone.MUTED}
