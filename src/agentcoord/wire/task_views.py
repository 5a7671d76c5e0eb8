"""The shapes of what is told of one task: its checks, flags, attempts and locks, and its conversation.

Separate from `messages` because nobody is told of these unasked.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from agentcoord.wire.messages import TaskView


class AttemptView(TypedDict):
    """How one attempt ended, or how a person brought the task back."""

    at: int
    setback: str
    why: str
    to: str
    """The state that it went to."""
    attempt: int
    worker: str | None
    model: str | None
    token: int | None


class DeadTaskView(TaskView):
    """One row of `agentcoord tasks --dead`."""

    history: list[AttemptView]
    """How its newest 50 attempts ended, the oldest first."""
    fell: list[str]
    """Tasks that failed or were skipped because of it, directly or through others; at most 500."""


class CheckView(TypedDict):
    name: str
    command: str
    exit_code: int
    ok: bool
    ms: int
    output: str
    """The last 4,000 characters."""
    excused: NotRequired[bool]
    """Red for nothing but tests that were red before the task."""
    tests: NotRequired[TestsView | None]
    """None when the command reports no single tests."""


class TestsView(TypedDict):
    """The tests of one check run against the baseline: numbers, and at most 50 names of each."""

    ran: int
    ran_before: int
    """0 without a baseline."""
    new_failures: list[str]
    old_failures: list[str]
    fixed: list[str]
    flaky: list[str]
    gone: list[str]
    """Ran before, and now did not."""


class FlagView(TypedDict):
    """A place where a change may make its checks say less."""

    kind: str
    path: str
    line: int
    """0: the whole file."""
    words: str
    holds: bool
    """Whether it keeps a task from landing under `checks.on_tamper = "hold"`."""


class LockWaitView(TypedDict):
    """One who waits for the lock of a file."""

    task: str
    since: int


class LockView(TypedDict):
    path: str
    task: str
    since: int
    waiters: list[str]
    """First in line first."""
    waits: list[LockWaitView]
    """The same, with since when."""


class TaskDetail(TypedDict):
    """All that is known of one task."""

    task: TaskView
    description: str
    check: str
    checks: list[CheckView]
    """Of its newest check run."""
    flags: NotRequired[list[FlagView]]
    """Of its newest green change, the weightiest first."""
    summary: str
    decisions: list[str]
    questions: list[dict[str, Any]]
    locks: NotRequired[list[LockView]]
    """Of the files that it holds, or waits for."""
    events: list[dict[str, Any]]
    """Its newest 200 events."""
    history: NotRequired[list[AttemptView]]
    """How its newest 50 attempts ended, the oldest first."""
    model: NotRequired[str]
    """Of its newest attempt, as the ladder is now."""


class StepView(TypedDict):
    """One step of a conversation, as people read it."""

    kind: str
    """`asked`, `turn`, `said`, `thought`, `ran` or `result`."""
    title: str
    """Of a call: the tool and its most telling argument; of a turn: the model and why it ended."""
    text: str
    """At most 8,000 characters."""
    is_error: bool
    call: str
    """What ties a result to its call; empty for other steps."""


class TranscriptView(TypedDict):
    """A piece of an attempt's conversation."""

    id: str
    attempt: int
    """0 when nobody has begun it."""
    steps: list[StepView]
    next_offset: int
    """Where the next piece begins; asking from there later brings what is new."""
    more: bool
    """Whether more is there already."""
    context_tokens: int
    """How much of the window the newest turn of this piece filled; 0: no turn is in it."""
    window_tokens: int
    """How much fits; 0: not known."""
    says: str
    """The end of what the model says, or its command prints, at this moment."""
