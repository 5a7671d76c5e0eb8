"""How fast the night goes, and how well: tokens, dollars, cache, idle workers, waits, from the events. Pure.

Drawn beside the workers as small bar lines, each of the last hour. Events that came before the dashboard was
opened, and are not in its snapshot, are not counted: the drawing then begins later, it is never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.usage import usd
from agentcoord.tui.idle_share import idle_parts
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, money
from agentcoord.values import dataclass
from agentcoord.wire.messages import StatusView, TokensView

SPAN_MS: Final = 3_600_000
"""What the drawing covers: the last hour."""
_BARS: Final = "▁▂▃▄▅▆▇█"
NAME_CELLS: Final = 7
"""Room for a name, where the bars stand beside it."""
VALUE_CELLS: Final = 9
"""Room for the figure behind such bars."""
_MINUTE_MS: Final = 60_000
_KINDS: Final = (
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
)


@dataclass(frozen=True, slots=True)
class Rates:
    """The last hour in equal parts, oldest first."""

    tokens_a_minute: tuple[float, ...]
    usd_an_hour: tuple[float, ...]
    cached: tuple[float | None, ...]
    """Share of the input that the cache gave, 0 to 1; None where no turn ended."""
    idle: tuple[float | None, ...]
    """Share of the workers' time without a task, 0 to 1; None where we know nothing."""
    waits: tuple[float, ...]
    """How often somebody waited for a file's lock."""
    rate_limits: int

    @property
    def usd_last_hour(self) -> float:
        """What the last hour cost."""
        return sum(self.usd_an_hour) / len(self.usd_an_hour) if self.usd_an_hour else 0.0


def rates_of(
    events: Sequence[Mapping[str, Any]], *, now_ms: int, parts: int, short_parts: int, workers: int
) -> Rates:
    """Count the last hour into `parts`, and what has less room into `short_parts`."""
    tokens, spent = [0.0] * parts, [0.0] * parts
    sent, read, waits = ([0.0] * short_parts for _ in range(3))
    limits = 0
    begin = now_ms - SPAN_MS
    for event in events:
        at_ms = int(event.get("at_ms") or 0)
        if not begin < at_ms <= now_ms:
            continue
        kind, passed = event.get("kind"), (at_ms - begin) / SPAN_MS
        short = min(short_parts - 1, int(passed * short_parts))
        waits[short] += kind == EventKind.LOCK_WAITED
        limits += kind == EventKind.RATE_LIMITED
        if kind == EventKind.TASK_TURN:
            part = min(parts - 1, int(passed * parts))
            data = event.get("data") or {}
            usage = data.get("usage") or {}
            tokens[part] += _tokens(usage)
            spent[part] += usd(int(data.get("cost_usd_micros") or 0))
            sent[short] += _tokens(usage) - int(usage.get("output_tokens") or 0)
            read[short] += int(usage.get("cache_read_tokens") or 0)
    return Rates(
        tuple(n * parts * _MINUTE_MS / SPAN_MS for n in tokens),
        tuple(dollars * parts for dollars in spent),
        tuple(r / s if s else None for r, s in zip(read, sent, strict=True)),
        idle_parts(events, begin_ms=begin, now_ms=now_ms, parts=short_parts, workers=workers),
        tuple(waits),
        limits,
    )


def spark(values: Sequence[float | None], *, top: float | None = None) -> str:
    """Values as bars of eight heights; zero is the lowest, `top` (else the largest) the highest."""
    highest = top or max((value for value in values if value is not None), default=0.0)
    if highest <= 0:
        return "".join(" " if value is None else _BARS[0] for value in values)
    return "".join(" " if value is None else _BARS[min(7, round(7 * value / highest))] for value in values)


def rate_lines(rates: Rates, status: StatusView | None, *, width: int) -> tuple[Line, ...]:
    """The panel's lines, each as wide as it may be."""
    if status is None:
        return ()
    newest = max(rates.tokens_a_minute, default=0.0)
    lines = [
        _pair("tokens a minute", _short(newest), width),
        (Span(spark(rates.tokens_a_minute), Tone.ACCENT),),
        _pair("dollars an hour", money(rates.usd_last_hour), width),
        (Span(spark(rates.usd_an_hour), Tone.GOOD),),
        _short_row("cached", spark(rates.cached, top=1.0), Tone.ACCENT, _share(status["tokens"]), width),
        _short_row("idle", spark(rates.idle, top=1.0), Tone.MUTED, _idle(status), width),
        _short_row("locks", spark(rates.waits), Tone.WARN, _waits(rates), width),
    ]
    return tuple(lines)


def _tokens(usage: Mapping[str, Any]) -> int:
    return sum(int(usage.get(kind) or 0) for kind in _KINDS)


def _pair(name: str, value: str, width: int) -> Line:
    room = max(0, width - len(name) - 1)
    return (Span(f"{name} ", Tone.MUTED), Span(fit(value, room, right=True), Tone.STRONG))


def _short_row(name: str, bars: str, tone: Tone, value: str, width: int) -> Line:
    room = max(0, width - NAME_CELLS - len(bars) - 1)
    return (
        Span(f"{name:<{NAME_CELLS}}", Tone.MUTED),
        Span(bars, tone),
        Span(" " + fit(value, room, right=True), Tone.STRONG),
    )


def _waits(rates: Rates) -> str:
    """How often somebody waited for a lock; refusals by the provider only when there were any."""
    locks = str(round(sum(rates.waits)))
    return f"{locks} 429x{rates.rate_limits}" if rates.rate_limits else locks


def _short(n: float) -> str:
    return f"{n / 1000:.1f}k" if n >= 1000 else str(round(n))


def _share(tokens: TokensView) -> str:
    sent = tokens["input"] + tokens["cache_write"] + tokens["cache_read"]
    return f"{round(100 * tokens['cache_read'] / sent)}%" if sent else "-"


def _idle(status: StatusView) -> str:
    total = status["workers_total"]
    return f"{round(100 * (total - status['workers_busy']) / total)}%" if total else "-"
