"""What every screen is handed: the model, the way to ask, the clock. Built once by the app."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo

from agentcoord.clock import Clock
from agentcoord.tui.feed import FeedSource
from agentcoord.tui.model import DashboardModel


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
