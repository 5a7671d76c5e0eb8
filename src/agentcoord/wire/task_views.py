"""The shapes of what is told of one task: its checks, flags, attempts and locks, and its conversation.

Separate from `messages` because nobody is told of these unasked.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from agentcoord.wire.messages import TaskView


class AttemptView(TypedDict):
    """How one attempt ended, or how a person brought the task back."""

    at: int
    """When."""
    setback: str
    """Its kind, as in `setbacks` of the task."""
    why: str
    """In words."""
    to: str
    """The state that it went to."""
    attempt: int
    """Which, counted from 1."""
    worker: str | None
    """Who had it."""
    model: str | None
    """Who answered it."""
    token: int | None
    """The number of its claim."""


class DeadTaskView(TaskView):
    """One row of `agentcoord tasks --dead`."""

    history: list[AttemptView]
    """How its newest 50 attempts ended, the oldest first."""
    fell: list[str]
    """Tasks that failed or were skipped because of it, directly or through others; at most 500."""


class CheckView(TypedDict):
    name: str
    """As in the settings."""
    command: str
    """What was run."""
    exit_code: int
    """Of the command."""
    ok: bool
    """Whether it is good enough to land."""
    ms: int
    """How long it took."""
    output: str
    """The last 4,000 characters."""
    excused: NotRequired[bool]
    """Red for nothing but tests that were red before the task."""
    tests: NotRequired[TestsView | None]
    """None when the command reports no single tests."""


class TestsView(TypedDict):
    """The tests of one check run against the baseline: numbers, and at most 50 names of each."""

    ran: int
    """How many ran."""
    ran_before: int
    """0 without a baseline."""
    new_failures: list[str]
    """Failed, and were green before."""
    old_failures: list[str]
    """Failed before, too."""
    fixed: list[str]
    """Failed before, and are green now."""
    flaky: list[str]
    """Sometimes red, sometimes green."""
    gone: list[str]
    """Ran before, and now did not."""


class FlagView(TypedDict):
    """A place where a change may make its checks say less."""

    kind: str
    """Of what kind."""
    path: str
    """The file."""
    line: int
    """0: the whole file."""
    words: str
    """What was found, for people."""
    holds: bool
    """Whether it keeps a task from landing under `checks.on_tamper = "hold"`."""


class LockWaitView(TypedDict):
    """One who waits for the lock of a file."""

    task: str
    """Who waits."""
    since: int
    """Since when."""


class LockView(TypedDict):
    path: str
    """The file."""
    task: str
    """Who holds it."""
    since: int
    """Since when."""
    waiters: list[str]
    """First in line first."""
    waits: list[LockWaitView]
    """The same, with since when."""


class QuestionView(TypedDict):
    number: int
    """Its number among the task's questions."""
    question: str
    """What the model wants to know."""
    default: str
    """What it assumes until it is told."""


class TaskDetail(TypedDict):
    """All that is known of one task."""

    task: TaskView
    """Its row."""
    description: str
    """As in the plan."""
    check: str
    """Its own check, as in the plan; empty: none."""
    checks: list[CheckView]
    """Of its newest check run."""
    flags: NotRequired[list[FlagView]]
    """Of its newest green change, the weightiest first."""
    summary: str
    """The model's own, of its newest finished attempt."""
    decisions: list[str]
    """What the model decided on the way, in its words; and what of its work did not land, in ours."""
    questions: list[QuestionView]
    """That wait for an answer."""
    locks: NotRequired[list[LockView]]
    """Of the files that it holds, or waits for."""
    events: list[dict[str, Any]]
    """Its newest 200, each as `event` has it under Listening."""
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
    """Whether a result is a failure."""
    call: str
    """What ties a result to its call; empty for other steps."""


class TranscriptView(TypedDict):
    """A piece of an attempt's conversation."""

    id: str
    """The task."""
    attempt: int
    """0 when nobody has begun it."""
    steps: list[StepView]
    """In order."""
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
