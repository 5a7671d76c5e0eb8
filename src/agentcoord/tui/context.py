"""What every screen is handed: the model, the way to ask, the clock. Built once by the app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from agentcoord.clock import Clock
from agentcoord.tui.feed import FeedSource
from agentcoord.tui.model import DashboardModel
from agentcoord.tui.styled import Span
from agentcoord.values import dataclass

if TYPE_CHECKING:  # A live dashboard never reads a recording.
    from agentcoord.tui.replay.player import Player
    from agentcoord.wire.night_file import NightFile


@dataclass(frozen=True, slots=True)
class Replay:
    """A past night that is played."""

    night: NightFile
    player: Player
    marks: Sequence[tuple[int, Span, int]]
    """What the scrubber marks."""


@dataclass(frozen=True, slots=True)
class Context:
    """The dashboard's collaborators."""

    model: DashboardModel
    source: FeedSource
    clock: Clock
    project_name: str
    """Shown until the daemon told the project's name."""
    zone: tzinfo | None = None
    """For times of day; None: the machine's."""
    command_history: list[str] = field(default_factory=list)
    """Lines that were entered after `:`, oldest first."""
    log_file: Path | None = None
    """The daemon's own log; None where there is none to read."""
    replay: Replay | None = None
