"""Where a person wants to go: messages from screens to the app, which alone opens screens."""

from __future__ import annotations

from textual.message import Message

from agentcoord.values import dataclass


@dataclass
class TaskWanted(Message):
    """Show one task in full."""

    task_id: str


@dataclass
class DiffWanted(Message):
    """Show what one task changed."""

    task_id: str


@dataclass
class WorkerWanted(Message):
    """Watch one worker."""

    name: str


@dataclass
class ReviewWanted(Message):
    """Walk through what landed."""

    task_id: str | None = None
    """Where to begin; None: with the riskiest."""


@dataclass
class LogWanted(Message):
    """Show the daemon's log."""

    about: str = ""
    """A task or a worker, of which alone; empty: all of it."""


@dataclass
class MomentWanted(Message):
    """Go to a moment of a replay."""

    words: str


@dataclass
class SpeedWanted(Message):
    """Play a replay so many times as fast as it was."""

    times: str
