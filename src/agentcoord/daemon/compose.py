"""The one place where everything is built: from settings and paths to a running daemon.

Order matters and is the theory of operation here. The caller holds the project's lock, and has begun
what other processes do (`head_start`), Redis among it. First the store; the landing journal is recovered
before anything reads the tree; what a dead daemon held is taken back; the socket answers; then the workers
begin. It comes down in the opposite order, through one exit stack. Deliberately absent: policy of any kind.
"""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from structlog.contextvars import bind_contextvars

from agentcoord.config.namespace import namespace_of
from agentcoord.config.secret_variables import secrets_of
from agentcoord.daemon.baseline import BaselineKeeper
from agentcoord.daemon.chores import Chores
from agentcoord.daemon.companions import companions
from agentcoord.daemon.connection import Desk
from agentcoord.daemon.control import ControlServer
from agentcoord.daemon.equipping import build_workshop, check_prices, price_list_of
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.head_start import HeadStart
from agentcoord.daemon.health_watch import HealthWatch, silence_allowed_s
from agentcoord.daemon.memory_keeper import MemoryKeeper, restore_at_start
from agentcoord.daemon.model_source import THREE_WAYS, open_model
from agentcoord.daemon.project_lock import touch_identity
from agentcoord.daemon.reconciling import reconcile
from agentcoord.daemon.requests import Requests
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.running import Daemon
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.subset_proofs import SubsetProofs
from agentcoord.daemon.wanted_since import WantedSince
from agentcoord.domain.events import EventKind
from agentcoord.domain.states import SETTLED_STATES
from agentcoord.store.connection import Store, unix_url
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.landing import Lander

STARTED_AGAIN_MS = 60_000
"""A start takes seconds."""


@asynccontextmanager
async def composed(begun: HeadStart) -> AsyncIterator[Daemon]:
    """Build the daemon on what was begun; the control socket answers inside the block.

    Raises ConfigError, WorkspaceError, DaemonError or StoreError in words when a part cannot be had.
    """
    settings, paths, env, clock = begun.settings, begun.paths, begun.env, begun.clock
    prices = await asyncio.to_thread(price_list_of, settings, paths.root)
    check_prices(settings, prices)
    redactor = Redactor(secrets_of(env))
    url = settings.redis.url or unix_url(os.fspath(paths.redis_socket))
    namespace = await asyncio.to_thread(namespace_of, paths)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store.open(url, namespace, clock=clock, lease_ms=int(settings.redis.lease_s * 1000))
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
        bind_contextvars(run=runs)  # Of whatever the daemon's tasks log from here on.
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
        wanted = WantedSince(paths.wanted_file, env, clock)
        since_ms = await asyncio.to_thread(wanted.begin, begun.args, settings.budget.deadline)
        come = f"the deadline {settings.budget.deadline} has come{_since_words(since_ms, clock.now_ms())}"
        chores = Chores(
            shop,
            fleet,
            lease_s=settings.redis.lease_s,
            on_deadline=lambda: drain(fleet, state, why=come),
            since_ms=since_ms,
        )
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
            stop=lambda now, restarting: shutdown.ask(now=now, restarting=restarting),
            drain=lambda: drain(fleet, state),
            on_load=baseline.want,
            subsets=subsets,
            forgetting=keeper.forgetting,
        )
        work_waits = any(task.state not in SETTLED_STATES for task in await store.queue.all())
        if work_waits:
            baseline.want()
        server = ControlServer(Desk(requests, views, hub, store.events, shop.board, clock))
        await stack.enter_async_context(
            server.serving(paths.socket, unreachable=partial(touch_identity, paths))
        )
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
            (counter.follow, health.run, wanted.run, *beside),
            wanted.forget,
            source.warm_up,
            work_waits,
        )


def _since_words(since_ms: int, now_ms: int) -> str:
    """Since when a daemon is wanted that was started again: else its end after minutes is a riddle."""
    if now_ms - since_ms < STARTED_AGAIN_MS:
        return ""
    since = datetime.datetime.fromtimestamp(since_ms / 1000, datetime.UTC).astimezone()
    return f" (started again; wanted since {since:%Y-%m-%d %H:%M})"


def drain(fleet: Fleet, state: DaemonState, *, why: str = "") -> None:
    """Claim nothing more; the daemon stops when the running tasks have ended. `why`: when nobody asked."""
    if not state.is_ending:
        state.state = "draining"
        state.stopping_why = state.stopping_why or why
    fleet.drain()
