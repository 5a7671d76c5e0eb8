"""The shapes that cross the control socket, and that `--json` prints.

JSON-RPC 2.0, one object a line. These are TypedDicts because the wire is JSON: a view is built
once in the daemon (`daemon/snapshot.py`) and travels unchanged to the dashboard and the scripts.
Money is in US dollars here (people read it), times are milliseconds since the epoch.
Deliberately absent: reading and writing bytes (`codec`), and connecting (`client`).
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

# Handed on, so that whoever needs the shapes finds the words of the protocol beside them.
from agentcoord.wire.protocol import FRAME_BYTES as FRAME_BYTES  # noqa: PLC0414
from agentcoord.wire.protocol import PIECE_CHARS as PIECE_CHARS  # noqa: PLC0414
from agentcoord.wire.protocol import PROTOCOL_VERSION as PROTOCOL_VERSION  # noqa: PLC0414
from agentcoord.wire.protocol import ExitCode as ExitCode  # noqa: PLC0414
from agentcoord.wire.protocol import Method as Method  # noqa: PLC0414
from agentcoord.wire.protocol import Notification as Notification  # noqa: PLC0414
from agentcoord.wire.protocol import RpcCode as RpcCode  # noqa: PLC0414
from agentcoord.wire.protocol import Topic as Topic  # noqa: PLC0414


class ErrorData(TypedDict):
    """`error.data` of every error answer."""

    exit_code: int
    mend: str
    problems: NotRequired[list[str]]


class ProjectView(TypedDict):
    id: str
    root: str
    name: str
    branch: str


class Hello(TypedDict):
    protocol: int
    version: str
    pid: int
    project: ProjectView
    epoch: str


class TokensView(TypedDict):
    input: int
    cache_write: int
    cache_read: int
    output: int


class TaskView(TypedDict):
    """One row of `agentcoord tasks`."""

    id: str
    title: str
    state: str
    priority: int
    tags: list[str]
    needs: list[str]
    writes: list[str]
    worker: str | None
    attempt: int
    turns: int
    cost_usd: float
    budget_usd: float | None
    budget_tokens: int | None
    """As in the plan; null: what the settings say."""
    tokens: TokensView
    files: list[str]
    runs_here: list[str]
    """Of these, the files that run on the user's machine or in their CI: hooks, build files, test set-up."""
    lines_added: int
    lines_removed: int
    review: str
    why: str
    """Why it is not running, or why it ended so."""
    queued_at: int
    started_at: int | None
    ended_at: int | None
    on_need_failed: str
    """`fail`, `skip` or `run`: what becomes of it when a need ends without a result."""
    skipped: bool
    """Cancelled by that rule, and not by a person."""
    dead_need: str | None
    """The need by which it failed or was skipped."""
    setback: str
    """What last sent it back, aside, or ended it; empty when nothing did."""
    setbacks: dict[str, int]
    """How often each kind ever came, the most frequent first."""
    retry_at: int | None
    """When its next try may begin, while it waits for that."""


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


class WorkerView(TypedDict):
    name: str
    role: str
    tags: list[str]
    state: str
    task: str | None
    title: str
    """The task's title; empty when idle."""
    doing: str
    since: int
    """When `state` or `task` last changed."""
    turns: int
    """Of the task it works on."""
    cost_usd: float
    """Of the task it works on."""
    model: str
    proving: str | None
    """Its last task, when that is still being proven beside the one that it works on."""
    proving_doing: str
    """What is done for that task; empty when there is none."""


class SpendView(TypedDict):
    spent_usd: float
    reserved_usd: float
    cap_usd: float | None
    day_spent_usd: float
    day_cap_usd: float | None
    tokens: int
    """Of the run and of all kinds; `tokens` beside this view tells them apart."""
    tokens_cap: int | None
    day_tokens: int
    day_tokens_cap: int | None


class NeedsYou(TypedDict):
    """Something a person should look at."""

    task: str
    kind: str
    """`question`, `parked`, `failed` or `review`."""
    text: str


class StatusView(TypedDict):
    """The header of the dashboard, and `agentcoord status`."""

    state: str
    """`starting`, `running`, `paused`, `draining` or `stopping`."""
    version: str
    pid: int
    started_at: int
    socket: str
    state_dir: str
    project: ProjectView
    run: str
    model_source: str
    """`api.anthropic.com`, a base URL, or `rehearsal (scripted)`; or `none: ` and what to set."""
    scripted: bool
    """Whether the model is the rehearsal server: nothing costs money."""
    sandbox: str
    """`bubblewrap`, `seatbelt`, `external`, `none (unsafe)` or `unavailable: why`."""
    counts: dict[str, int]
    """Tasks by state; every state is there."""
    workers_busy: int
    workers_total: int
    max_parallel: int
    """The most workers that were busy at once in this run."""
    spend: SpendView
    tokens: TokensView
    forecast_usd: float | None
    """Spend at the end with a chance of one half; None while fewer than three tasks have ended."""
    forecast_p90_usd: float | None
    """The same, with a chance of nine in ten."""
    needs_you: list[NeedsYou]
    baseline: str
    """`pending`, `green`, `red: which checks`, or `none`."""
    paused_why: str
    """Why the daemon paused by itself (a full disk, a spend limit); empty when it did not."""
    ended: bool
    """Every task has ended or is parked, and there is at least one task."""
    ready: bool
    """Workers are running."""


class CostRow(TypedDict):
    """What one task, one worker or one model cost in the run."""

    usd: float
    tokens: TokensView


class TaskCost(CostRow):
    id: str


class WorkerCost(CostRow):
    worker: str


class ModelCost(CostRow):
    model: str


class CostsView(TypedDict):
    total_usd: float
    cap_usd: float | None
    reserved_usd: float
    day_usd: float
    day_cap_usd: float | None
    total_tokens: int
    """Of all kinds."""
    tokens_cap: int | None
    day_tokens: int
    day_tokens_cap: int | None
    forecast_usd: float | None
    """Spend at the end of the run with a chance of one half; None while too few tasks have ended."""
    forecast_p90_usd: float | None
    """The same, with a chance of nine in ten."""
    forecast_tasks: int
    """Ended tasks of this run that the forecast rests on."""
    forecast_earlier_tasks: int
    """The same, of earlier runs."""
    tokens: TokensView
    by_task: list[TaskCost]
    by_worker: list[WorkerCost]
    by_model: list[ModelCost]
    scripted: bool


class StatsView(TypedDict):
    run: str
    wall_s: float
    tasks_done: int
    tasks_failed: int
    max_parallel: int
    turns: int
    tool_calls: int
    checks_run: int
    check_s: float
    landings: int
    merges: int
    files: int
    lines_added: int
    lines_removed: int
    lock_waits: int
    rate_limit_waits: int
    events: int
    loop_lag_ms_max: float
    memory_mb: float


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


class LoadView(TypedDict):
    run: str
    added: list[str]
    unchanged: list[str]
    changed: list[str]


class DraftView(TypedDict):
    text: str
    """The plan, in TOML."""
    tasks: int
    estimate_usd: float
    """What the model expects all tasks together to cost."""
    cost_usd: float
    """Of the draft itself."""
    model: str


class CleanupView(TypedDict):
    locks: int
    leases: int
    reservations: int
    workspaces: int
    keys: int
    landings: int
    """Of accepted work that can be undone no more (`undo.keep_days`)."""


class UndoView(TypedDict):
    id: str
    restored: list[str]
    merged: list[str]
    conflicts: list[str]
    patch: str


class SubsetView(TypedDict):
    """A landed task without some of its hunks (`domain.hunks` names them)."""

    id: str
    hunks: list[str]
    state: str
    """`running`, `green`, `red`, or `broken`: it could not be tried."""
    checks: list[CheckView]
    why: str
    files: list[str]
    """Those that change."""


class RejectView(UndoView):
    """With conflicts nothing happened: the task stays as it is."""

    state: str
    """The task's, afterwards."""
    spent_usd: float
    """What it has cost so far; counts against its cap."""
    cap_usd: float | None


class BlamedLineView(TypedDict):
    task: str | None
    """None: no task wrote it."""
    text: str
    """At most 500 characters."""


class BlameView(TypedDict):
    path: str
    lines: list[BlamedLineView]
    next_offset: int | None
    """None at the end."""


class Piece(TypedDict):
    text: str
    next_offset: int | None
    """None at the end."""


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


class Snapshot(TypedDict):
    """Everything a dashboard needs to draw itself from nothing."""

    epoch: str
    seq: int
    status: StatusView
    tasks: list[TaskView]
    workers: list[WorkerView]
    events: list[dict[str, Any]]
    """The newest 200."""


class SubscribeView(TypedDict):
    epoch: str
    seq: int
    mode: str
    """`replay`: the events after `since` follow. `resync`: start from `snapshot`."""
    snapshot: Snapshot | None
