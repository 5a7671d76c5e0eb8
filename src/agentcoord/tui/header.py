"""The two header lines: connection, project, workers, counts, what needs a person, money. Pure.

Each line has a left and a right group of pieces with ranks; where the terminal is narrow the
least important pieces go, so that nothing is cut in the middle of a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from agentcoord.domain.states import TaskState
from agentcoord.tui.actions import urgent
from agentcoord.tui.glyphs import LIVE, NEEDS_YOU, TROUBLE
from agentcoord.tui.link import Link, Mode
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.styled import Line, Span, Tone, width_of
from agentcoord.tui.text import fit, money, one_line, spoken_span
from agentcoord.wire.messages import SpendView, StatusView

BAR_CELLS: Final = 10
_SEPARATOR: Final = Span("  ")
_MARGIN: Final = Span(" ")


class Piece(NamedTuple):
    """Part of a header line; the highest rank is dropped first, 0 never."""

    rank: int
    line: Line


def header_lines(model: DashboardModel, project_name: str, *, width: int, now_ms: int) -> tuple[Line, Line]:
    """Both lines, each exactly `width` cells wide."""
    status = model.status
    name = one_line(project_name)
    if status is not None:
        name = one_line(f"{status['project']['name']}@{status['project']['branch']}")
    first_left = [Piece(1, (Span("AgentCoord", Tone.TITLE),)), Piece(0, (Span(name, Tone.STRONG),))]
    first_left.append(Piece(0, link_line(model, now_ms=now_ms)))
    if status is None:
        return _join(first_left, [], width), _join([Piece(0, (_waiting_for(model),))], [], width)
    if model.live:
        first_left.append(Piece(0, (_run_state(status["state"]),)))
    right = [Piece(2, (Span(one_line(status["model_source"]), Tone.MUTED),))]
    if status["scripted"]:
        right = [Piece(0, (Span(" scripted model ", Tone.BADGE),))]
    return (
        _join(first_left, right, width),
        _join(_count_pieces(model, status), _money_pieces(status), width),
    )


def link_line(model: DashboardModel, *, now_ms: int) -> Line:
    """How we stand with the daemon: `● live`, or how stale the view is and when we try again."""
    view = model.link
    if model.mode is Mode.REPLAY:
        return (Span(" replay ", Tone.BADGE),)
    if view.link is Link.LIVE and model.mode is Mode.READ_ONLY:
        return (Span(f"{LIVE} live", Tone.GOOD), Span("  read-only", Tone.WARN))
    if view.link is Link.LIVE:
        return (Span(f"{LIVE} live", Tone.GOOD),)
    retry = "trying again"
    if view.retry_at_ms is not None:
        retry = f"next try in {spoken_span(max(0, view.retry_at_ms - now_ms) + 999)}"
    if view.link is Link.CONNECTING:
        return (Span(f"{TROUBLE} not connected", Tone.WARN), Span(f"  {retry}", Tone.MUTED))
    stale = spoken_span(now_ms - view.since_ms)
    return (Span(f"{TROUBLE} stale for {stale}", Tone.WARN), Span(f"  {retry}", Tone.MUTED))


def spend_bar(spend: SpendView, cells: int = BAR_CELLS) -> Line:
    """Spent and reserved money against the cap, as a bar; empty without a cap."""
    cap = spend["cap_usd"]
    if not cap:
        return ()
    spent = min(cells, round(cells * spend["spent_usd"] / cap))
    reserved = min(cells - spent, round(cells * spend["reserved_usd"] / cap))
    tone = spend_tone(spend)
    return (
        Span("█" * spent, tone),
        Span("▒" * reserved, tone),
        Span("░" * (cells - spent - reserved), Tone.MUTED),
    )


def spend_tone(spend: SpendView) -> Tone:
    """Good below 70 % of the cap, bad from 95 %."""
    cap = spend["cap_usd"]
    share = spend["spent_usd"] / cap if cap else 0.0
    if share >= 0.95:
        return Tone.BAD
    return Tone.WARN if share >= 0.7 else Tone.GOOD


def _waiting_for(model: DashboardModel) -> Span:
    reason = one_line(model.link.reason) or "asking the daemon for its state"
    return Span(reason, Tone.MUTED)


def _run_state(state: str) -> Span:
    tone = Tone.PLAIN if state == "running" else Tone.WARN
    return Span(one_line(state), tone)


def _count_pieces(model: DashboardModel, status: StatusView) -> list[Piece]:
    counts = status["counts"]
    busy, total = status["workers_busy"], status["workers_total"]
    waiting = counts.get(TaskState.QUEUED, 0) + counts.get(TaskState.BLOCKED, 0)
    done, failed = counts.get(TaskState.DONE, 0), counts.get(TaskState.FAILED, 0)
    needs = len(urgent(model.needs_you))
    reviews = len(model.needs_you) - needs
    pieces = [
        Piece(0, (Span(f"{busy}/{total}", Tone.STRONG), Span(" busy", Tone.MUTED))),
        Piece(2, (Span(str(waiting), Tone.STRONG), Span(" to do", Tone.MUTED))),
        Piece(0, (Span(f"✔{done}", Tone.GOOD if done else Tone.MUTED),)),
        Piece(0, (Span(f"✗{failed}", Tone.BAD if failed else Tone.MUTED),)),
    ]
    verb = "needs" if needs == 1 else "need"
    text = f"{NEEDS_YOU}{needs} {verb} you"
    pieces.append(Piece(0, (Span(text, Tone.WARN if needs else Tone.MUTED),)))
    if reviews:
        pieces.append(Piece(3, (Span(str(reviews), Tone.STRONG), Span(" to review", Tone.MUTED))))
    if status["baseline"].startswith("red"):
        pieces.append(Piece(3, (Span(f"{TROUBLE} baseline {one_line(status['baseline'])}", Tone.WARN),)))
    elif status["baseline"] == "pending":
        pieces.append(Piece(5, (Span("baseline pending", Tone.MUTED),)))
    return pieces


def _money_pieces(status: StatusView) -> list[Piece]:
    spend = status["spend"]
    cap = spend["cap_usd"]
    spent = Span(money(spend["spent_usd"]), spend_tone(spend) if cap else Tone.STRONG)
    if not cap:
        pieces = [Piece(0, (spent,)), Piece(3, (Span("no cap", Tone.MUTED),))]
    else:
        share = round(100 * spend["spent_usd"] / cap)
        pieces = [
            Piece(0, (spent, Span(f"/{money(cap)}", Tone.MUTED))),
            Piece(1, spend_bar(spend)),
            Piece(2, (Span(f"{share}%", spend_tone(spend)),)),
        ]
    tokens, tokens_cap = spend["tokens"], spend["tokens_cap"]
    if tokens_cap:
        tone = Tone.WARN if tokens >= 0.8 * tokens_cap else Tone.MUTED
        pieces.append(Piece(3, (Span(f"{100 * tokens // tokens_cap}% of tokens", tone),)))
    p50, p90 = status["forecast_usd"], status["forecast_p90_usd"]
    if p50 is not None and p90 is not None:
        over = cap is not None and p90 > cap
        text = f"{money(p50)} to {money(p90)} at the end"
        pieces.append(Piece(4, (Span(text, Tone.WARN if over else Tone.MUTED),)))
    return pieces


def _join(left: Sequence[Piece], right: Sequence[Piece], width: int) -> Line:
    """Set both groups into one line of `width` cells, dropping pieces by rank until they fit."""
    pieces = [(piece, False) for piece in left] + [(piece, True) for piece in right]
    while True:
        left_line = _spaced([piece.line for piece, is_right in pieces if not is_right])
        right_line = _spaced([piece.line for piece, is_right in pieces if is_right])
        room = width - width_of(left_line) - width_of(right_line) - 2
        worst = max(pieces, key=lambda entry: entry[0].rank, default=None)
        if room >= 1 or worst is None or worst[0].rank == 0:
            break
        pieces.remove(worst)
    return _cut((_MARGIN, *left_line, Span(" " * max(1, room)), *right_line, _MARGIN), width)


def _spaced(lines: Sequence[Line]) -> Line:
    spans: list[Span] = []
    for line in lines:
        if line:
            spans.extend((_SEPARATOR, *line) if spans else line)
    return tuple(spans)


def _cut(line: Line, width: int) -> Line:
    """Cut a line that is still too wide; the last piece that shows ends in an ellipsis."""
    spans: list[Span] = []
    left = width
    for span in line:
        if left <= 0:
            break
        taken = width_of((span,))
        spans.append(span if taken <= left else Span(fit(span.text, left), span.tone))
        left -= min(taken, left)
    if left > 0:
        spans.append(Span(" " * left))
    return tuple(spans)
