"""How fast the night goes: tokens a minute and dollars an hour, from the events of turns. Pure.

Drawn beside the workers as small bar lines. Events that came before the dashboard was opened, and
are not in its snapshot, are not counted: the drawing then begins later, it is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.domain.usage import usd
from agentcoord.tui.styled import Line, Span, Tone
from agentcoord.tui.text import fit, money
from agentcoord.values import dataclass
from agentcoord.wire.messages import StatusView, TokensView

SPAN_MS: Final = 3_600_000
"""What the drawing covers: the last hour."""
_BARS: Final = "▁▂▃▄▅▆▇█"
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
    lock_waits: int
    rate_limits: int

    @property
    def usd_last_hour(self) -> float:
        """What the last hour cost."""
        return sum(self.usd_an_hour) / len(self.usd_an_hour) if self.usd_an_hour else 0.0


def rates_of(events: Iterable[Mapping[str, Any]], *, now_ms: int, parts: int) -> Rates:
    """Count the turns of the last hour into `parts`."""
    tokens, spent = [0.0] * parts, [0.0] * parts
    waits = limits = 0
    begin, part_ms = now_ms - SPAN_MS, SPAN_MS / parts
    for event in events:
        at_ms = int(event.get("at_ms") or 0)
        if not begin < at_ms <= now_ms:
            continue
        kind = event.get("kind")
        waits += kind == EventKind.LOCK_WAITED
        limits += kind == EventKind.RATE_LIMITED
        if kind == EventKind.TASK_TURN:
            part = min(parts - 1, int((at_ms - begin) / part_ms))
            data = event.get("data") or {}
            tokens[part] += _tokens(data.get("usage") or {})
            spent[part] += usd(int(data.get("cost_usd_micros") or 0))
    return Rates(
        tuple(n * _MINUTE_MS / part_ms for n in tokens),
        tuple(dollars * SPAN_MS / part_ms for dollars in spent),
        waits,
        limits,
    )


def spark(values: Sequence[float]) -> str:
    """Values as bars of eight heights; zero is the lowest."""
    top = max(values, default=0.0)
    if top <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(7, round(7 * value / top))] for value in values)


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
        _pair("cached", _share(status["tokens"]), width),
        _pair("idle", _idle(status), width),
        _pair("waits: locks, rate", f"{rates.lock_waits}, {rates.rate_limits}", width),
    ]
    return tuple(lines)


def _tokens(usage: Mapping[str, Any]) -> int:
    return sum(int(usage.get(kind) or 0) for kind in _KINDS)


def _pair(name: str, value: str, width: int) -> Line:
    room = max(0, width - len(name) - 1)
    return (Span(f"{name} ", Tone.MUTED), Span(fit(value, room, right=True), Tone.STRONG))


def _short(n: float) -> str:
    return f"{n / 1000:.1f}k" if n >= 1000 else str(round(n))


def _share(tokens: TokensView) -> str:
    sent = tokens["input"] + tokens["cache_write"] + tokens["cache_read"]
    return f"{round(100 * tokens['cache_read'] / sent)}%" if sent else "-"


def _idle(status: StatusView) -> str:
    total = status["workers_total"]
    return f"{round(100 * (total - status['workers_busy']) / total)}%" if total else "-"
