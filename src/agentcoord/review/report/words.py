"""Numbers as people say them, in every form of the report alike. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

_SECOND_MS = 1000
_MINUTE_S = 60
_HOUR_S = 3600


def money(usd: float) -> str:
    """Dollars as people write them: `$0.44`, `$0.003` below a cent, `$1,204` from a thousand."""
    if 0.0005 <= usd < 0.01:
        return f"${usd:.3f}"
    return f"${usd:,.0f}" if usd >= 1000 else f"${usd:.2f}"


def duration(ms: int) -> str:
    """How long, in words: `12 s`, `4 min`, `2 h 05 min`. Never negative."""
    seconds = round(max(0, ms) / _SECOND_MS)
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < 10 * _MINUTE_S:
        minutes, rest = divmod(seconds, _MINUTE_S)
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    if seconds < _HOUR_S:
        return f"{round(seconds / _MINUTE_S)} min"
    minutes = round(seconds / _MINUTE_S)
    return f"{minutes // 60} h {minutes % 60:02} min"


def clock_time(at_ms: int, zone: tzinfo | None, *, seconds: bool = False) -> str:
    """The wall time of an instant, in `zone` or else the machine's zone."""
    pattern = "%H:%M:%S" if seconds else "%H:%M"
    return datetime.fromtimestamp(at_ms / _SECOND_MS, tz=UTC).astimezone(zone).strftime(pattern)


def day(at_ms: int, zone: tzinfo | None) -> str:
    """The date of an instant: `Sunday, 22 November 2026`."""
    at = datetime.fromtimestamp(at_ms / _SECOND_MS, tz=UTC).astimezone(zone)
    return f"{at:%A}, {at.day} {at:%B %Y}"


def count(n: int, noun: str) -> str:
    """`1 file`, `3 files`, `2 retries`."""
    if n == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{n:,} {plural}"


def compact(n: int) -> str:
    """A number of tokens, short: `940`, `12.3k`, `1.2M`."""
    if n < 1000:
        return str(n)
    if n < 1_000_000:
        return f"{n / 1000:.1f}k" if n < 100_000 else f"{n / 1000:.0f}k"
    return f"{n / 1_000_000:.1f}M"


def share(part: float, whole: float) -> str:
    """A percentage without decimals; `0%` of nothing."""
    return f"{round(100 * part / whole) if whole else 0}%"
