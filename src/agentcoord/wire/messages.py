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
from agentcoord.wire.protocol import NO_MODEL as NO_MODEL  # noqa: PLC0414
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
    """What our command would exit with."""
    mend: str
    """What helps; may be empty."""
    problems: NotRequired[list[str]]
    """Of a plan: one each, with its line number. Of other refusals: what is in the way, one each."""


class ProjectView(TypedDict):
    id: str
    """Made of the root; names its state folder and socket, and its keys unless they were adopted."""
    root: str
    """The repository's folder."""
    name: str
    """The name of that folder."""
    branch: str
    """The branch that is checked out; empty when there is none."""


class Hello(TypedDict):
    protocol: int
    """The version of the protocol to use from now on."""
    version: str
    """The program's."""
    pid: int
    """The daemon's process."""
    project: ProjectView
    """What it works on."""
    epoch: str
    """Names the log of events that `seq` counts in; another after the log was begun anew."""


class TokensView(TypedDict):
    input: int
    """Read at the full price."""
    cache_write: int
    """Read and written to the provider's cache."""
    cache_read: int
    """Read from that cache."""
    output: int
    """Written by the model."""


class TaskView(TypedDict):
    """One row of `agentcoord tasks`."""

    id: str
    """Its name in the plan."""
    title: str
    """As in the plan."""
    state: str
    """`blocked`, `queued`, `running`, `checking`, `landing`, `done`, `parked`, `failed` or `cancelled`."""
    priority: int
    """From 1 (idle) to 5 (critical), which goes first."""
    tags: list[str]
    """What a worker must have to take it."""
    needs: list[str]
    """Tasks that must be done before it."""
    writes: list[str]
    """Files and patterns that it says it will write."""
    worker: str | None
    """Who has it, or had it last; null when nobody ever did."""
    attempt: int
    """How often it was begun."""
    turns: int
    """Of the model, in all attempts."""
    cost_usd: float
    """In all attempts."""
    budget_usd: float | None
    """Its cap as in the plan; null: what the settings say."""
    budget_tokens: int | None
    """As in the plan; null: what the settings say."""
    tokens: TokensView
    """Used in all attempts."""
    files: list[str]
    """Files that it changed; at most 2,000."""
    runs_here: list[str]
    """Of these, the files that run on the user's machine or in their CI: hooks, build files, test set-up."""
    lines_added: int
    """By what it landed."""
    lines_removed: int
    """By what it landed."""
    review: str
    """`unreviewed`, `accepted` or `undone`."""
    why: str
    """Why it is not running, or why it ended so."""
    queued_at: int
    """When it was put in line, the last time."""
    started_at: int | None
    """When its first attempt began."""
    ended_at: int | None
    """When it ended."""
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
    """Unique among the workers."""
    role: str
    """As in the settings."""
    tags: list[str]
    """It takes tasks that ask for none but these."""
    state: str
    """`starting`, `idle`, `working`, `waiting`, `paused`, `crashed` or `stopped`."""
    task: str | None
    """What it works on; null when idle."""
    title: str
    """The task's title; empty when idle."""
    doing: str
    """What it does at this moment, in words."""
    since: int
    """When `state` or `task` last changed."""
    turns: int
    """Of the task it works on."""
    cost_usd: float
    """Of the task it works on."""
    model: str
    """That answers it; empty when idle."""
    proving: str | None
    """Its last task, when that is still being proven beside the one that it works on."""
    proving_doing: str
    """What is done for that task; empty when there is none."""


class SpendView(TypedDict):
    spent_usd: float
    """Of the run."""
    reserved_usd: float
    """The worst case of the calls that are under way."""
    cap_usd: float | None
    """Of the run; null: none."""
    day_spent_usd: float
    """Today, in all runs."""
    day_cap_usd: float | None
    """Of a day; null: none."""
    tokens: int
    """Of the run and of all kinds; `tokens` beside this view tells them apart."""
    tokens_cap: int | None
    """Of the run; null: none."""
    day_tokens: int
    """Today, in all runs, of all kinds."""
    day_tokens_cap: int | None
    """Of a day; null: none."""


class NeedsYou(TypedDict):
    """Something a person should look at."""

    task: str
    """Which task."""
    kind: str
    """`question`, `parked`, `failed` or `review`."""
    text: str
    """The question, the reason, or the task's title."""


class StatusView(TypedDict):
    """The header of the dashboard, and `agentcoord status`."""

    state: str
    """`starting`, `running`, `paused`, `draining`, `stopping` or `restarting`."""
    version: str
    """The program's."""
    pid: int
    """The daemon's process."""
    started_at: int
    """When the daemon started."""
    socket: str
    """Where it listens."""
    state_dir: str
    """Where its logs and state lie."""
    project: ProjectView
    """What it works on."""
    run: str
    """Names the current run; empty before the first."""
    model_source: str
    """`api.anthropic.com`, a base URL, or `rehearsal (scripted)`; or `NO_MODEL` and what to set."""
    scripted: bool
    """Whether the model is the rehearsal server: nothing costs money."""
    sandbox: str
    """`bubblewrap`, `seatbelt`, `external`, `none (unsafe)` or `unavailable: why`."""
    counts: dict[str, int]
    """Tasks by state; every state is there."""
    workers_busy: int
    """How many have a task."""
    workers_total: int
    """How many there are."""
    max_parallel: int
    """The most workers that were busy at once in this run."""
    spend: SpendView
    """Money and tokens against their caps."""
    tokens: TokensView
    """Of the run, by kind."""
    forecast_usd: float | None
    """Spend at the end with a chance of one half; None while fewer than three tasks have ended."""
    forecast_p90_usd: float | None
    """The same, with a chance of nine in ten."""
    needs_you: list[NeedsYou]
    """The most pressing first."""
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
    """Names the log that `seq` counts in."""
    seq: int
    """Up to this event it tells everything."""
    status: StatusView
    """As `status` answers."""
    tasks: list[TaskView]
    """As many as fit one line; ask `tasks` for the rest."""
    workers: list[WorkerView]
    """All of them."""
    events: list[dict[str, Any]]
    """The newest 200, each as `event` has it under Listening."""


class SubscribeView(TypedDict):
    epoch: str
    """Names the log that `seq` counts in."""
    seq: int
    """The events that follow begin after this one."""
    mode: str
    """`replay`: the events after `since` follow. `resync`: start from `snapshot`."""
    snapshot: Snapshot | None
    """Null with `replay`."""
