"""What all task runs share: the built rooms, handed to each run as one frozen record.

Built once in `compose`; nobody adds to it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.config.sections import Settings
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.pause_told import Pausing
from agentcoord.daemon.proving import Prover
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.domain.ids import RunId, TaskId
from agentcoord.llm.gateway import PaidModel
from agentcoord.review.checks import CheckBook
from agentcoord.sandbox.backend import Sandbox
from agentcoord.store.connection import Store
from agentcoord.telemetry.logs import Redactor
from agentcoord.values import dataclass
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything that task runs share."""

    settings: Settings
    repo: Repository
    rules: ScopeRules
    store: Store
    pool: WorkspacePool
    lander: Lander
    prover: Prover
    sandbox: Sandbox
    toolchains: tuple[Path, ...]
    paid_model: Callable[[], PaidModel]
    """The model on the current run's account."""
    model_on: Callable[[RunId], PaidModel]
    """The model on the account of a run of one's own."""
    windows: Mapping[str, int]
    """The context windows that the price list tells, by model, in tokens."""
    hub: EventHub
    board: FleetBoard
    retries: Retries
    clock: Clock
    redactor: Redactor
    check_book: CheckBook
    spare_copies: int
    """How many workers may have a second task, begun while the first is proven."""
    transcripts: Path
    drafts: Path
    drafting: set[TaskId]
    """The accounts of drafts that are being made: no tasks, but their calls are under way all the same."""
    stopping: asyncio.Event
    """Set when the daemon stops: conversations then end at their next complete turn."""
    pausing: Pausing = field(default_factory=Pausing)
