"""What all task runs share, put together from settings: the copies, the prover, the model by run, the prices.

Separate from `compose`, which says in which order the daemon comes up.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from functools import partial
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.handing_back import tell_ended_by_need
from agentcoord.daemon.model_source import ModelSource
from agentcoord.daemon.patient_ledger import PatientLedger
from agentcoord.daemon.proving import Prover
from agentcoord.daemon.resume_times import keep_waiting
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import RunId
from agentcoord.llm.gateway import PaidModel
from agentcoord.llm.pacing import Governor
from agentcoord.llm.pricing import PriceList
from agentcoord.review.checks import CheckBook
from agentcoord.review.flag_book import FlagBook
from agentcoord.sandbox.backend import Sandbox
from agentcoord.store.connection import Store
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules


def build_workshop(
    settings: Settings,
    paths: ProjectPaths,
    clock: Clock,
    repo: Repository,
    store: Store,
    lander: Lander,
    sandbox: Sandbox,
    toolchains: tuple[Path, ...],
    source: ModelSource,
    prices: PriceList,
    hub: EventHub,
    runs: RunBook,
    redactor: Redactor,
    retries: Retries,
) -> Workshop:
    """Put together what all task runs share."""
    rules = ScopeRules(settings.project.scope, settings.project.protect, settings.project.sight)
    pool = WorkspacePool(
        repo,
        paths.workspaces_dir,
        rules,
        share=settings.project.share,
        size=len(settings.workers) + spare_copies(len(settings.workers)),
        proof_slots=check_slots(settings.checks.parallel, workers=len(settings.workers)),
    )
    book = CheckBook(paths.checks_dir, clock)
    prover = Prover(
        repo=repo,
        pool=pool,
        lander=lander,
        sandbox=sandbox,
        toolchains=toolchains,
        book=book,
        flags=FlagBook(paths.checks_dir / "flags"),
        checks=settings.checks,
        hub=hub,
        redactor=redactor,
    )
    governor = Governor(
        clock=clock,
        on_wait=lambda model, wait_s, why: hub.emit(
            EventKind.RATE_LIMITED, model=model, wait_s=round(wait_s, 2), why=why
        ),
    )

    keep_waiting(governor, hub.recent, clock.now_ms())
    store.queue.spreader.on_ended = partial(tell_ended_by_need, hub)
    of_run: dict[RunId, PaidModel] = {}

    def model_on(run: RunId) -> PaidModel:
        return PaidModel(
            source.model_or_refusal,
            governor=governor,
            ledger=PatientLedger(store.ledger, clock),
            prices=prices,
            clock=clock,
            new_id=lambda: uuid.uuid4().hex,
            run=run,
            day=runs.day,
        )

    def paid_model() -> PaidModel:
        # One a run, for all of its tasks: those who wait for room under a cap hear of each settlement.
        if runs.run not in of_run:
            of_run.clear()
            of_run[runs.run] = model_on(runs.run)
        return of_run[runs.run]

    return Workshop(
        settings=settings,
        repo=repo,
        rules=rules,
        store=store,
        pool=pool,
        lander=lander,
        prover=prover,
        sandbox=sandbox,
        toolchains=toolchains,
        paid_model=paid_model,
        model_on=model_on,
        windows=windows_of(settings, prices),
        hub=hub,
        board=FleetBoard(clock),
        retries=retries,
        clock=clock,
        redactor=redactor,
        check_book=book,
        spare_copies=spare_copies(len(settings.workers)),
        transcripts=paths.transcripts_dir,
        drafts=paths.drafts_dir,
        drafting=set(),
        stopping=asyncio.Event(),
    )


def spare_copies(workers: int) -> int:
    """How many private copies there are beside one a worker: for tasks that begin while the last is proven.

    For half of the workers: more would be on the disk for moments that hardly come.
    """
    return (workers + 1) // 2


def check_slots(wanted: int, *, workers: int, cores: int | None = None) -> int:
    """How many check runs may go on at once: as many as `wanted`, else by the cores of this machine.

    A test suite keeps about two cores busy. More than one a worker would only be copies on the disk.
    """
    if wanted:
        return wanted
    by_cores = (cores or os.cpu_count() or 1) // 2
    return max(2, min(by_cores, workers))


def price_list_of(settings: Settings, root: Path) -> PriceList:
    """The bundled prices and the user's own. Raises LlmPriceError when theirs cannot be read."""
    named = settings.models.price_file
    return PriceList.load(root / named if named else None)


def check_prices(settings: Settings, prices: PriceList) -> None:
    """Refuse, before the night, a model whose price nobody knows. Raises the price list's own error."""
    for rung in settings.models.rungs:
        prices.price(rung.model)


def windows_of(settings: Settings, prices: PriceList) -> dict[str, int]:
    """The context windows of the ladder's models, as far as the price list tells them."""
    told = {rung.model: prices.price(rung.model).context_tokens for rung in settings.models.rungs}
    return {model: tokens for model, tokens in told.items() if tokens is not None}
