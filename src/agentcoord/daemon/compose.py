"""The one place where everything is built: from settings and paths to a running daemon.

Order matters and is the theory of operation here. The caller holds the project's lock, and has begun
what other processes do (`head_start`), Redis among it. First the store; the landing journal is recovered
before anything reads the tree; what a dead daemon held is taken back; the socket answers; then the workers
begin. It comes down in the opposite order, through one exit stack. Deliberately absent: policy of any kind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from agentcoord.clock import Clock
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.secret_variables import secrets_of
from agentcoord.config.sections import Settings
from agentcoord.daemon.baseline import BaselineKeeper
from agentcoord.daemon.chores import Chores
from agentcoord.daemon.companions import Loop, companions
from agentcoord.daemon.connection import Desk
from agentcoord.daemon.control import ControlServer
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.handing_back import tell_ended_by_need
from agentcoord.daemon.head_start import HeadStart
from agentcoord.daemon.health_watch import HealthWatch, silence_allowed_s
from agentcoord.daemon.memory_keeper import MemoryKeeper, restore_at_start
from agentcoord.daemon.model_source import THREE_WAYS, ModelSource, open_model
from agentcoord.daemon.patient_ledger import PatientLedger
from agentcoord.daemon.proving import Prover
from agentcoord.daemon.rejections import finish_rejections
from agentcoord.daemon.requests import Requests
from agentcoord.daemon.resume_times import keep_waiting
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.subset_proofs import SubsetProofs
from agentcoord.daemon.trimming import finish_trims
from agentcoord.daemon.worker_row import FleetBoard
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import FencingToken, RunId
from agentcoord.domain.states import SETTLED_STATES, TaskState
from agentcoord.domain.task import Claim
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import WorkspaceError
from agentcoord.llm.gateway import PaidModel
from agentcoord.llm.pacing import Governor
from agentcoord.llm.pricing import PriceList
from agentcoord.review.checks import CheckBook
from agentcoord.review.flag_book import FlagBook
from agentcoord.sandbox.backend import Sandbox
from agentcoord.store.connection import Store, unix_url
from agentcoord.telemetry.logs import Redactor
from agentcoord.values import dataclass
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.pool import WorkspacePool
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.scope import ScopeRules

FLUSH_TIMEOUT_S = 5.0
"""How long a stopping daemon waits for its last events to be stored."""

WARM_UP_AFTER_S = 1.0

log = structlog.get_logger("daemon")


@dataclass(frozen=True, slots=True)
class Daemon:
    """The parts that the main loop drives."""

    shop: Workshop
    fleet: Fleet
    chores: Chores
    baseline: BaselineKeeper
    keeper: MemoryKeeper
    subsets: SubsetProofs
    state: DaemonState
    shutdown: Shutdown
    has_model: bool
    companions: tuple[Loop, ...]
    warm_up_model: Loop | None = None
    work_waits: bool = False
    """Whether tasks that are not settled were there at the start."""

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Work until a stop is asked for; returns when every worker has handed its task back."""
        async with asyncio.TaskGroup() as group:
            regular = group.create_task(self._regular(), name="regular")
            fleet = group.create_task(self.fleet.run(self._workers()), name="fleet")
            self.state.state, self.state.ready = "running", True
            self.shop.hub.emit(EventKind.DAEMON_STARTED, pid=self.state.pid, sandbox=self.state.sandbox)
            on_ready()
            now = await self.shutdown.asked()
            self.state.state = "stopping"
            self.shop.hub.emit(EventKind.DAEMON_STOPPING, now=now)
            stopping = group.create_task(self.fleet.stop(now=now), name="stop")
            if not now:
                group.create_task(self._hurry(stopping), name="hurry")
            await stopping
            self.shutdown.ask(now=True)  # Frees `_hurry`.
            await fleet
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await self.shop.hub.flushed()
            except TimeoutError:  # The store is away; the tasks' states do not hang on it.
                log.warning("last_events_lost")
            regular.cancel()

    def _workers(self) -> tuple[WorkerSpec, ...]:
        return self.shop.settings.workers if self.has_model else ()

    async def _regular(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.shop.hub.run(), name="hub")
            group.create_task(self.baseline.run(), name="baseline")
            group.create_task(self._warm(), name="warm")
            group.create_task(self.keeper.run(), name="memory")
            group.create_task(self.subsets.run(), name="subsets")
            self.chores.start(group)
            for loop in self.companions:
                group.create_task(self._accompanied(loop), name="companion")

    async def _accompanied(self, loop: Loop) -> None:
        """Run a companion; that it failed is told, and no reason to end the night."""
        try:
            await loop()
        except Exception as error:
            log.error("companion_failed", exc_info=error)
            self.shop.hub.emit(EventKind.ERROR, where="companion", error=f"{type(error).__name__}: {error}")

    async def _warm(self) -> None:
        """Do ahead of need what the first tasks would wait for: the private copies, and the model's SDK.

        Side by side: the SDK's import takes seconds, on a busy machine ten and more, and the first turn of a
        task that waited for this daemon needs it as early as its copy.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._warm_copies(), name="copies")
            group.create_task(self._warm_model(), name="model")
        # What is there by now stays. The collector would look through all of it again and again, a tenth
        # of a second each time with the SDK in memory, in which nothing else runs.
        gc.collect()
        gc.freeze()

    async def _warm_copies(self) -> None:
        """A task that needs a copy says what is wrong with it."""
        try:
            await self.shop.pool.warm()
        except (WorkspaceError, OSError) as error:
            self.shop.hub.emit(EventKind.ERROR, where="private copies", error=str(error))

    async def _warm_model(self) -> None:
        if self.warm_up_model is None:
            return
        if not self.work_waits:
            # A daemon that is stopped right away need not wait for the import to end.
            await self.shop.clock.sleep(WARM_UP_AFTER_S)
        await self._accompanied(self.warm_up_model)

    async def _hurry(self, stopping: asyncio.Task[None]) -> None:
        """A second request to stop cuts the workers off."""
        await self.shutdown.asked_now()
        if not stopping.done():
            await self.fleet.stop(now=True)


@asynccontextmanager
async def composed(begun: HeadStart) -> AsyncIterator[Daemon]:
    """Build the daemon on what was begun; the control socket answers inside the block.

    Raises ConfigError, WorkspaceError, DaemonError or StoreError in words when a part cannot be had.
    """
    settings, paths, env, clock = begun.settings, begun.paths, begun.env, begun.clock
    price_file = paths.root / settings.models.price_file if settings.models.price_file else None
    prices = await asyncio.to_thread(PriceList.load, price_file)
    check_prices(settings, prices)
    redactor = Redactor(secrets_of(env))
    url = settings.redis.url or unix_url(os.fspath(paths.redis_socket))
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store.open(url, paths.project_id, clock=clock, lease_ms=int(settings.redis.lease_s * 1000))
        )
        repo = await begun.repository
        lander = Lander(repo, paths.journal_dir, clock=clock)
        put_back = await restore_at_start(store, lander, paths.kept_file)
        retries = Retries.of(settings)
        await reconcile(store, lander, retries)
        if await store.queue.all():
            await store.memory.begin()
        hub = EventHub(store.events, clock)
        await hub.load_recent()

        def tell_of_server(words: str) -> None:
            hub.emit(EventKind.ERROR, where="store", error=words)

        begun.tell_of_server.append(tell_of_server)
        if put_back:
            tell_of_server(put_back)
        sandbox, in_words = await begun.sandbox
        source = await stack.enter_async_context(
            open_model(settings, begun.args, env, hub, paths.log_file.with_name("rehearsal.log"))
        )
        runs = RunBook(store, clock)
        await runs.open()
        toolchains = await begun.toolchains
        shop = build_workshop(
            settings,
            paths,
            clock,
            repo,
            store,
            lander,
            sandbox,
            toolchains,
            source,
            prices,
            hub,
            runs,
            redactor,
            retries,
        )
        fleet = Fleet(
            shop, clock, no_workers_because="" if source.model else f"there is no model: {THREE_WAYS}"
        )
        shutdown = Shutdown()
        chores = Chores(shop, fleet, lease_s=settings.redis.lease_s, on_deadline=lambda: drain(fleet, state))
        state = DaemonState(
            pid=os.getpid(),
            started_at_ms=clock.now_ms(),
            model_source=source.words,
            scripted=source.scripted,
            sandbox=in_words,
        )
        fleet.on_drained = lambda: shutdown.ask(now=False)
        baseline = BaselineKeeper(shop, runs)
        keeper = MemoryKeeper(
            store,
            hub,
            runs,
            lander,
            paths.kept_file,
            let_go=fleet.let_go_of_all,
            between_landings=shop.prover.between_landings,
            restored=shop.board.touch,
        )
        subsets = SubsetProofs(shop)
        counter = RunCounter(hub, store.events, clock)
        views = Views(shop, paths, state, runs, chores.lag, counter)
        requests = Requests(
            shop=shop,
            fleet=fleet,
            views=views,
            runs=runs,
            pid=state.pid,
            stop=lambda now: shutdown.ask(now=now),
            drain=lambda: drain(fleet, state),
            on_load=baseline.want,
            subsets=subsets,
            forgetting=keeper.forgetting,
        )
        work_waits = any(task.state not in SETTLED_STATES for task in await store.queue.all())
        if work_waits:
            baseline.want()
        server = ControlServer(Desk(requests, views, hub, store.events, shop.board, clock))
        await stack.enter_async_context(server.serving(paths.socket))
        beside = await companions(
            stack,
            shop=shop,
            fleet=fleet,
            views=views,
            state=state,
            runs=runs,
            lag=chores.lag,
            shutdown=shutdown,
            paths=paths,
            env=env,
        )
        checks = settings.checks
        health = HealthWatch(
            shop.board,
            hub,
            clock,
            silence_s=silence_allowed_s(checks.timeout_s, len(checks.commands)),
            give_up=fleet.give_up,
        )
        has_model = source.model is not None
        yield Daemon(
            shop,
            fleet,
            chores,
            baseline,
            keeper,
            subsets,
            state,
            shutdown,
            has_model,
            (counter.follow, health.run, *beside),
            source.warm_up,
            work_waits,
        )


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
        stopping=asyncio.Event(),
    )


async def reconcile(store: Store, lander: Lander, retries: Retries) -> None:
    """Bring store and tree together after whatever ended the last daemon."""
    landed = await lander.recover()
    history = await lander.history()
    await store.raise_fence(max((record.token for record in history), default=FencingToken(0)))
    standing = {record.task: record for record in history if record.undone_at_ms is None}
    for task in await store.queue.all():
        record = standing.get(task.id) if task.state is TaskState.LANDING else None
        if record is not None and task.token == record.token and record.stands(since_ms=task.queued_at_ms):
            await store.queue.complete(Claim(task, record.token, 0), record.files)
    requeued = await store.queue.release_all_leases(
        why="the daemon was restarted", decide=retries.decide, model_of=retries.model_of
    )
    rejected = await finish_rejections(store, lander)
    trimmed = await finish_trims(store, lander)
    returned = await store.ledger.reconcile(())
    await store.cleanup(everything=False)
    log.info(
        "reconciled",
        landed=list(landed),
        requeued=list(requeued),
        rejected=list(rejected),
        trimmed=list(trimmed),
        reservations=len(returned),
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


def check_prices(settings: Settings, prices: PriceList) -> None:
    """Refuse, before the night, a model whose price nobody knows. Raises the price list's own error."""
    for rung in settings.models.rungs:
        prices.price(rung.model)


def windows_of(settings: Settings, prices: PriceList) -> dict[str, int]:
    """The context windows of the ladder's models, as far as the price list tells them."""
    told = {rung.model: prices.price(rung.model).context_tokens for rung in settings.models.rungs}
    return {model: tokens for model, tokens in told.items() if tokens is not None}


def drain(fleet: Fleet, state: DaemonState) -> None:
    """Claim nothing more; the daemon stops when the running tasks have ended."""
    if state.state != "stopping":
        state.state = "draining"
    fleet.drain()
