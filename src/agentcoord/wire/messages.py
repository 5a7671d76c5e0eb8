"""The shapes that cross the control socket, and that `--json` prints: what whoever listens is told.

JSON-RPC 2.0, one object a line. These are TypedDicts because the wire is JSON: a view is built
once in the daemon (`daemon/snapshot.py`) and travels unchanged to the dashboard and the scripts.
Money is in US dollars here (people read it), times are milliseconds since the epoch.
Separate are what is told of one task alone (`task_views`) and what answers a single question
(`answers`): to make a TypedDict takes time, and most readers need none of those. Deliberately absent:
reading and writing bytes (`codec`), and connecting (`client`).
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

NO_MODEL = "none: "
"""What `model_source` begins with where there is none; what to set follows."""


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
    """`api.anthropic.com`, a base URL, or `rehearsal (scripted)`; or `NO_MODEL` and what to set."""
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
