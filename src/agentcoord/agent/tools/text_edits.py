"""Views and edits of a text as pure functions: numbering, exact replacement, insertion, and hints.

Separate from the editor tool, which does the reading and writing. Texts have `\\n` line ends only.
"""

from __future__ import annotations

from agentcoord.agent.tools.contract import RESULT_CHARS
from agentcoord.values import dataclass

LINE_CHARS = 2_000
"""A longer line is cut in a view."""
_CONTEXT_LINES = 4
"""Shown around an edit."""
_MOST_LINES_NAMED = 20


@dataclass(frozen=True, slots=True)
class Edited:
    """An edit that worked: the new text and where it differs."""

    text: str
    first_line: int
    """1-based."""
    line_count: int
    """Lines of the new text that the edit wrote."""


@dataclass(frozen=True, slots=True)
class NotEdited:
    """An edit that did not: nothing changed, and why."""

    why: str
    no_match: bool = False
    """The old text does not occur at all."""


def split_lines(text: str) -> list[str]:
    """Split at `\\n` alone; a final newline makes no extra line."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def numbered_view(text: str, first: int = 1, last: int = -1, *, chars: int = RESULT_CHARS) -> str:
    """Return lines `first` to `last` (1-based, -1: the end) as `cat -n` shows them.

    Cut at a line's end when longer than `chars`, saying which lines are left.
    """
    lines = split_lines(text)
    stop = len(lines) if last == -1 else min(last, len(lines))
    shown: list[str] = []
    used = 0
    for number in range(first, stop + 1):
        row = f"{number:6d}\t{_shortened(lines[number - 1])}"
        if shown and used + len(row) + 1 > chars:
            shown.append(
                f"[cut: lines {number} to {stop} of {len(lines)} are not shown; "
                f"view them with view_range [{number}, {stop}]]"
            )
            break
        shown.append(row)
        used += len(row) + 1
    return "\n".join(shown)


def replace_once(text: str, old: str, new: str) -> Edited | NotEdited:
    """Replace `old`, which must occur exactly once; overlapping occurrences count apart."""
    starts = _occurrences(text, old)
    if not starts:
        return NotEdited("old_str does not occur in the file." + _near_miss(text, old), no_match=True)
    if len(starts) > 1:
        named = ", ".join(str(line_number(text, start)) for start in starts[:_MOST_LINES_NAMED])
        is_more = len(starts) > _MOST_LINES_NAMED
        times = f"more than {_MOST_LINES_NAMED} times" if is_more else f"{len(starts)} times"
        return NotEdited(
            f"old_str occurs {times}, at lines {named}{', ...' if is_more else ''}; it must occur exactly "
            "once. Take more of the lines around the one you mean."
        )
    start = starts[0]
    edited = text[:start] + new + text[start + len(old) :]
    return Edited(edited, line_number(text, start), new.count("\n") + 1)


def insert_after(text: str, line: int, inserted: str) -> Edited | NotEdited:
    """Insert whole lines after line `line`; 0 inserts before the first.

    The inserted text always ends in a newline, except at the end of a file that has none there.
    """
    lines = split_lines(text)
    if not 0 <= line <= len(lines):
        return NotEdited(
            f"insert_line {line} is outside the file: it has {_lines(len(lines))}, so 0 to {len(lines)}."
        )
    offset = sum(len(row) + 1 for row in lines[:line])
    before, after = text[:offset], text[offset:]
    lacks_newline = bool(text) and not text.endswith("\n")
    if line == len(lines) and lacks_newline:
        return Edited(text + "\n" + inserted, line + 1, len(split_lines(inserted)))
    if not inserted.endswith("\n"):
        inserted += "\n"
    return Edited(before + inserted + after, line + 1, len(split_lines(inserted)))


def excerpt(edited: Edited) -> str:
    """Return the numbered lines of an edit with a few around them."""
    total = len(split_lines(edited.text))
    if total == 0:
        return "(the file is empty now)"
    first = max(1, min(edited.first_line, total) - _CONTEXT_LINES)
    last = min(total, edited.first_line + edited.line_count - 1 + _CONTEXT_LINES)
    return numbered_view(edited.text, first, last, chars=6_000)


def line_number(text: str, offset: int) -> int:
    """Return the 1-based line that the character at `offset` is on."""
    return text.count("\n", 0, offset) + 1


def _occurrences(text: str, old: str) -> list[int]:
    """Return where `old` begins, overlaps included; at most one more than are ever named."""
    starts: list[int] = []
    start = text.find(old)
    while start != -1 and len(starts) <= _MOST_LINES_NAMED:
        starts.append(start)
        start = text.find(old, start + 1)
    return starts


def _near_miss(text: str, old: str) -> str:
    """Say why `old` may have missed: other white space, or the line numbers of a view."""
    wanted = [" ".join(row.split()) for row in split_lines(old.strip("\n"))]
    if not any(wanted):
        return ""
    have = [" ".join(row.split()) for row in split_lines(text)]
    found = _first_run(have, wanted)
    if found is not None:
        rows = "\n".join(split_lines(text)[found : found + min(len(wanted), 10)])
        return (
            f" The same words with other white space stand at line {found + 1}; the file has exactly:\n{rows}"
        )
    without_numbers = [row.partition(" ")[2] if row.partition(" ")[0].isdigit() else row for row in wanted]
    if without_numbers != wanted and _first_run(have, without_numbers) is not None:
        return " It seems to hold the line numbers of a view: leave them out."
    return ""


def _first_run(have: list[str], wanted: list[str]) -> int | None:
    """Return the index at which the lines `wanted` stand in `have`, one after the other."""
    for start in range(len(have) - len(wanted) + 1):
        if have[start] == wanted[0] and have[start : start + len(wanted)] == wanted:
            return start
    return None


def _shortened(line: str) -> str:
    if len(line) <= LINE_CHARS:
        return line
    return f"{line[:LINE_CHARS]} [cut: this line has {len(line)} characters]"


def _lines(count: int) -> str:
    return f"{count} line{'s' if count != 1 else ''}"
