"""What an agent needs from the outside, as small Protocols; the daemon hands in the real ones.

The agent's tools and loop import nothing of `store`, `workspace` or `sandbox`: all they know of
them stands here. Paths are always relative to the repository, `/`-separated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol

from agentcoord.domain.events import EventKind
from agentcoord.domain.files import ChangeSet
from agentcoord.llm.api import PaidTurn, Progress, SpendRefused, TurnRequest
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a confined command did, for the model to read."""

    exit_code: int
    output: str
    """Head and tail when `truncated`."""
    truncated: bool
    timed_out: bool
    duration_ms: int


KeepOutput = Callable[[str], Awaitable[None]]
"""Makes a part of a running command's output durable."""


async def keep_nothing(_part: str) -> None:
    """For who has nowhere to keep it."""


class Shell(Protocol):
    """Runs commands in the sandbox, at the repository's path, in the private copy."""

    async def run(self, command: str, *, timeout_s: float, keep: KeepOutput) -> CommandResult:
        """Run `command` with bash. Raises SandboxError when there is no working sandbox.

        `keep` is given what a long command prints while it runs, in bounded parts of whole lines.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileText:
    """A text file as the editor sees it."""

    text: str
    sha256: str
    newline: str
    """`\\n` or `\\r\\n`: what the file uses most; `text` itself always has `\\n`."""


class WriteOutcome(StrEnum):
    """How a write to the private copy was allowed."""

    WRITTEN = "written"
    WRITTEN_OPTIMISTICALLY = "written_optimistically"
    """Somebody else holds the file's lock; a merge may be needed at landing."""


class Files(Protocol):
    """The private copy, by safe paths. Every method raises WorkspaceError with words for the model
    when the path leads out, is outside the scope (writes), is no regular file, or is not text."""

    async def read_text(self, path: str) -> FileText:
        """Read a UTF-8 text file of at most 10 MB. FileNotFoundError when there is none."""
        ...

    async def write_text(self, path: str, text: str, *, newline: str = "\n") -> WriteOutcome:
        """Create or replace a file in the scope, taking its lock first (bounded wait)."""
        ...

    async def list_dir(self, path: str) -> Sequence[str]:
        """Names in a folder, folders with a trailing `/`, sorted, `.git` left out."""
        ...

    async def list_files(self) -> Sequence[str]:
        """Every file of the copy that git would track, sorted."""
        ...

    async def changes(self) -> ChangeSet:
        """What differs from the base by now."""
        ...


class Gateway(Protocol):
    """The model behind the governor and the budget: reserves, waits its turn, calls, settles, retries."""

    async def take_turn(self, request: TurnRequest, progress: Progress) -> PaidTurn | SpendRefused:
        """Make one paid call; environment faults are waited out inside, up to the gateway's deadline.

        Raises LlmRetryableError after the deadline, and LlmSpendLimitError, LlmRequestError,
        LlmAuthError as they come.
        """
        ...


class Reporter(Protocol):
    """Where the agent tells what it does: the event log and the worker's row in the dashboard."""

    def event(self, kind: EventKind, **data: object) -> None:
        """Record a fact about this task; never blocks."""
        ...

    def doing(self, words: str) -> None:
        """Say in a few words what the worker is at this moment."""
        ...

    def text(self, piece: str) -> None:
        """Hand on a piece of what the model says while it says it; never blocks.

        The pieces of one turn are bounded; those of a try that broke are followed by the next try's.
        """
        ...


class Questions(Protocol):
    """Questions to the person, each with a default that is assumed until answered."""

    async def ask(self, question: str, default: str) -> None:
        """Store the question; the agent goes on with the default."""
        ...

    async def answers(self) -> Sequence[tuple[str, str]]:
        """Return (question, answer) pairs that came and are not told yet, oldest first."""
        ...

    async def told(self, count: int) -> None:
        """The `count` oldest answers are in the transcript: do not hand them out again.

        What dies before this is called is told a second time, never not at all.
        """
        ...
