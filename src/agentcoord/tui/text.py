"""Strings for one line of a terminal: made harmless, measured in cells, cut and padded.

Separate because everything that a model or a repository wrote passes through here before it
reaches the screen: a control character in a task's title must not move the cursor.
Deliberately absent: colour (`styled`), and any wording of states or events.
"""

from __future__ import annotations

import unicodedata

from agentcoord.tui.cells import cell_len, chopped, cut

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from datetime import tzinfo

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that draw nothing, or that change how what follows is drawn."""
_SECOND_MS = 1000
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86_400


def harmless(text: str) -> str:
    """Return `text` without characters that could steer the terminal; tabs become spaces."""
    if text.isprintable():  # Python calls printable what has none of these categories, and only plain spaces.
        return text
    return "".join(
        " " if c in "\t\n\r" else c
        for c in text
        if c in "\t\n\r" or unicodedata.category(c) not in _UNPRINTABLE
    )


def one_line(text: str) -> str:
    """Return `text` on one line: harmless, runs of white space folded into one space."""
    return " ".join(harmless(text).split())


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Cut or pad `text` to exactly `width` cells; a cut ends in an ellipsis."""
    if width <= 0:
        return ""
    cells = cell_len(text)
    if cells > width:
        return cut(text, width - 1) + "…"
    padding = " " * (width - cells)
    return padding + text if right else text + padding


def money(usd: float) -> str:
    """Dollars as people write them: `$0.44`, `$0.003` below a cent, `$1,204` from a thousand."""
    if 0.0005 <= usd < 0.01:
        return f"${usd:.3f}"
    return f"${usd:,.0f}" if usd >= 1000 else f"${usd:.2f}"


def span(ms: int) -> str:
    """How long, short: `0:09`, `12:41`, `1h05`, `2d03h`. Never negative."""
    seconds = max(0, ms) // _SECOND_MS
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S}:{seconds % _MINUTE_S:02}"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S}h{seconds % _HOUR_S // _MINUTE_S:02}"
    return f"{seconds // _DAY_S}d{seconds % _DAY_S // _HOUR_S:02}h"


def spoken_span(ms: int) -> str:
    """How long, in words for a sentence: `12 s`, `4 min`, `2 h 5 min`."""
    seconds = max(0, ms) // _SECOND_MS
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min"
    return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"


def time_of_day(at_ms: int, zone: tzinfo | None) -> str:
    """The wall time of an instant as `HH:MM:SS`, in `zone` or else the machine's zone."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / _SECOND_MS, tz=UTC).astimezone(zone).strftime("%H:%M:%S")


def short_worker(name: str) -> str:
    """A worker's name without what all of them share: `Backend-Engineer-1` is `Backend-1`."""
    return one_line(name).replace("-Engineer", "")


def plural(n: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def wrap(text: str, width: int) -> list[str]:
    """Break `text` into harmless lines of at most `width` cells, between words where possible.

    Line breaks and indentation of the text stay; an empty text is no line.
    """
    lines: list[str] = []
    for raw in text.expandtabs(4).rstrip().split("\n") if text.strip() else ():
        line = harmless(raw).rstrip()
        indent = " " * min(len(line) - len(line.lstrip()), width // 2)
        current = indent
        for word in line.split():
            joined = f"{current} {word}" if current.strip() else current + word
            if cell_len(joined) <= width:
                current = joined
                continue
            if current.strip():
                lines.append(current)
            *full, current = chopped(indent + word, width)
            lines.extend(full)
        lines.append(current.rstrip())
    return lines
