"""What the report knows: one night as frozen values, in the terms of the person who reads it.

Separate from the wire, whose views this room does not know, and from every form of the report,
which only reads these. Money is in US dollars, times are milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from agentcoord.domain.ids import run_began_ms
from agentcoord.review.report.reading_order import Flag
from agentcoord.values import dataclass


class Outcome(StrEnum):
    """What became of a task."""

    LANDED = "landed"
    """In the tree, and nobody judged it yet."""
    ACCEPTED = "accepted"
    UNDONE = "undone"
    PARKED = "parked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OPEN = "open"
    """The night is not over for it."""


STANDING = frozenset({Outcome.LANDED, Outcome.ACCEPTED})
"""Outcomes whose changes are in the tree now."""


class FailureClass(StrEnum):
    """What kind of thing went wrong."""

    CHECKS = "checks stayed red"
    STUCK = "no progress"
    BUDGET = "budget"
    NEEDED = "a task it needs failed"
    MODEL = "model or its server"
    MACHINE = "machine"
    CONFLICT = "conflict with your edits"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind; the kinds do not overlap."""

    input: int = 0
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All that was sent, cached or not."""
        return self.input + self.cache_write + self.cache_read


@dataclass(frozen=True, slots=True)
class Check:
    """One command of a task's newest check run."""

    name: str
    command: str
    exit_code: int
    ok: bool
    ms: int
    output: str
    excused: bool = False
    """Red for nothing but tests that were red before the task."""
    tests: str = ""
    """What single tests it ran, in words; empty where it reports none."""

    @property
    def proves(self) -> bool:
        """Whether it speaks for the change."""
        return self.ok or self.excused


@dataclass(frozen=True, slots=True)
class Question:
    """An open question of a worker."""

    question: str
    default: str
    """What the worker goes on with."""


@dataclass(frozen=True, slots=True)
class TaskStory:
    """One task: what was asked, what it brought, what it took."""

    id: str
    title: str
    outcome: Outcome
    state: str
    why: str
    priority: int
    tags: tuple[str, ...]
    needs: tuple[str, ...]
    writes: tuple[str, ...]
    """Globs of the files that it was expected to write; empty when the plan names none."""
    worker: str
    attempt: int
    turns: int
    cost_usd: float
    budget_usd: float | None
    tokens: Tokens
    files: tuple[str, ...]
    runs_here: tuple[str, ...]
    """Of these, the files that run on the user's machine or in their CI."""
    lines_added: int
    lines_removed: int
    started_at_ms: int | None
    ended_at_ms: int | None
    models: tuple[str, ...] = ()
    """In the order of their first turn; empty when the events are no longer kept."""
    merged: tuple[str, ...] = ()
    """Files where its change was merged with another's."""
    description: str = ""
    summary: str = ""
    """What the worker says it did; counts for nothing else."""
    decisions: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    questions: tuple[Question, ...] = ()
    flags: tuple[Flag, ...] | None = None
    """What the daemon saw in its newest change; None: it did not look."""
    held: bool = False
    """Whether it waits, proven, for a person to let its flags pass."""
    diff: str = ""
    """As it landed; may be cut, see `diff_cut`."""
    diff_cut: bool = False

    @property
    def wall_ms(self) -> int | None:
        """From the first claim to the end; None while one of them is missing."""
        if self.started_at_ms is None or self.ended_at_ms is None:
            return None
        return self.ended_at_ms - self.started_at_ms

    @property
    def red_checks(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.proves)


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person: a question or a parked task."""

    task: str
    kind: str
    text: str
    command: str
    """What to type."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed."""

    task: str
    kind: FailureClass
    why: str
    """The daemon's sentence."""
    cause: str
    """The first line of the output that says what went wrong; empty without output."""
    lines: tuple[str, ...]
    """Twenty lines of the red check's output, with the cause among them."""
    check: str
    """The name of that check; empty when none was red."""


class Doing(StrEnum):
    """What a worker did in a stretch of time."""

    WORKING = "working"
    CHECKING = "checking"
    WAITING = "waiting"


class StretchEnd(StrEnum):
    """How a stretch of work on one task ended."""

    LANDED = "landed"
    PARKED = "parked"
    FAILED = "failed"
    REQUEUED = "requeued"
    CANCELLED = "cancelled"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stretch that was not plain work."""

    doing: Doing
    from_ms: int
    to_ms: int
    what: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One worker on one task without a break."""

    task: str
    from_ms: int
    to_ms: int
    end: StretchEnd
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker's night."""

    worker: str
    stretches: tuple[Stretch, ...]
    cost_usd: float
    busy_ms: int
    """In a task, or two; waiting included."""
    waiting_ms: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """All workers from the first claim to the end."""

    from_ms: int
    to_ms: int
    lanes: tuple[Lane, ...]
    rate_limits: tuple[int, ...] = ()
    """When the model's server asked us to slow down."""

    @property
    def busy_ms(self) -> int:
        return sum(lane.busy_ms for lane in self.lanes)

    @property
    def idle_ms(self) -> int:
        return sum(lane.idle_ms for lane in self.lanes)

    @property
    def waiting_ms(self) -> int:
        return sum(lane.waiting_ms for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Reading:
    """One landed task in the order of review."""

    task: str
    score: int
    flags: tuple[str, ...]
    """Why it comes so early, the weightiest first; empty: nothing stands out."""


@dataclass(frozen=True, slots=True)
class ModelSpend:
    """What one model took."""

    model: str
    usd: float
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Night:
    """Everything that the report tells."""

    project: str
    branch: str
    root: str
    run: str
    version: str
    made_at_ms: int
    ended: bool
    scripted: bool
    model_source: str
    sandbox: str
    unconfined: bool
    """Commands ran without a sandbox, now or after an earlier start whose events are still there."""
    baseline: str
    total_usd: float
    cap_usd: float | None
    tokens: Tokens
    wall_ms: int
    max_parallel: int
    tool_calls: int
    checks_run: int
    events_complete: bool
    """Whether every event of the night was still there to be read."""
    tasks: tuple[TaskStory, ...]
    needs: tuple[Need, ...] = ()
    failures: tuple[Failure, ...] = ()
    timeline: Timeline | None = None
    """None when nothing was claimed."""
    reading_order: tuple[Reading, ...] = ()
    by_model: tuple[ModelSpend, ...] = field(default=())

    def with_outcome(self, *outcomes: Outcome) -> tuple[TaskStory, ...]:
        """The tasks that ended so, in the order of the plan."""
        return tuple(task for task in self.tasks if task.outcome in outcomes)

    @property
    def landed(self) -> tuple[TaskStory, ...]:
        """Tasks whose changes are in the tree."""
        return self.with_outcome(*STANDING)

    @property
    def runs_here(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The files in the tree that run on the user's machine or in their CI, and which tasks wrote each."""
        tasks: dict[str, tuple[str, ...]] = {}
        for task in self.landed:
            for path in task.runs_here:
                tasks[path] = (*tasks.get(path, ()), task.id)
        return tuple(sorted(tasks.items()))

    @property
    def failed_usd(self) -> float:
        """Dollars spent on tasks that failed or were cancelled in this run."""
        failed = self.with_outcome(Outcome.FAILED, Outcome.CANCELLED)
        spent = sum(task.cost_usd for task in failed if self._ended_in_this_run(task))
        return min(spent, self.total_usd)  # A task that was taken up again has cost something before, too.

    @property
    def usd_per_landed(self) -> float | None:
        """All that this run spent, for each task that landed in it; None when none did."""
        landed = self.with_outcome(Outcome.LANDED, Outcome.ACCEPTED, Outcome.UNDONE)
        count = sum(map(self._ended_in_this_run, landed))
        return self.total_usd / count if count else None

    def _ended_in_this_run(self, task: TaskStory) -> bool:
        """Whether its cost is in `total_usd`, as of no earlier run; of any once the clock was set back."""
        began_ms, ended_ms = run_began_ms(self.run), task.ended_at_ms
        return ended_ms is None or ended_ms >= began_ms or self.made_at_ms < began_ms
