"""`agentcoord dashboard --replay`: which nights were recorded, as a page or as a document."""

from __future__ import annotations

from datetime import UTC, datetime

from agentcoord.cli.invocation import Invocation
from agentcoord.cli.render import Column, cell, table
from agentcoord.domain.states import TaskState
from agentcoord.tui.styled import Tone
from agentcoord.tui.text import money, spoken_span
from agentcoord.wire.night_file import NightSummary, nights_in
from agentcoord.wire.protocol import ExitCode


def list_nights(invocation: Invocation, *, as_json: bool) -> int:
    """Print the recordings, the newest first; exits 0 even when there are none."""
    nights = nights_in(invocation.paths().nights_dir)
    terminal = invocation.terminal
    if as_json:
        terminal.document("agentcoord.nights", {"nights": [_document(night) for night in nights]})
    elif not nights:
        terminal.say("no run was recorded yet")
    else:
        columns = [
            Column("RUN"),
            Column("BEGAN", elastic=True),
            Column("TOOK", right=True),
            Column("LANDED", right=True),
            Column("FAILED", right=True),
            Column("OTHERS", right=True),
            Column("COST", right=True),
        ]
        rows = [
            (
                cell(night.run, Tone.STRONG),
                cell(_moment(night.begin_ms)),
                cell(spoken_span(night.end_ms - night.begin_ms)),
                cell(night.counts.get(TaskState.DONE, 0), Tone.GOOD),
                cell(_failed(night), Tone.BAD if _failed(night) else Tone.MUTED),
                cell(_others(night), Tone.MUTED),
                cell(money(night.spent_usd)),
            )
            for night in nights
        ]
        terminal.lines(table(columns, rows, width=terminal.width))
    return ExitCode.OK


def _document(night: NightSummary) -> dict[str, object]:
    return {
        "run": night.run,
        "began_at": night.begin_ms,
        "ended_at": night.end_ms,
        "counts": dict(night.counts),
        "spent_usd": night.spent_usd,
        "bytes": night.size_bytes,
        "path": str(night.path),
    }


def _failed(night: NightSummary) -> int:
    return night.counts.get(TaskState.FAILED, 0)


def _others(night: NightSummary) -> int:
    return sum(night.counts.values()) - night.counts.get(TaskState.DONE, 0) - _failed(night)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone().strftime("%a %Y-%m-%d %H:%M:%S")
