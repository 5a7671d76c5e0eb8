"""What accompanies a daemon without doing its work: who is told of it, and what keeps it going.

The metrics endpoint, notifications, the budget's warnings, the recording of the night, the sleep
inhibitor, the STOP file and the service manager. Each is a loop of its own in the daemon's task group;
none is needed by any other part. Separate from `compose`, which builds the parts that work.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from agentcoord.config.paths import ProjectPaths
from agentcoord.config.place import write_place
from agentcoord.daemon.budget_watch import BudgetWatch
from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.night_recorder import NightRecorder
from agentcoord.daemon.notifications import Notifier, desk_for, ways_to_notify
from agentcoord.daemon.project_lock import add_to_identity
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.service_manager import ServiceManager
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.sleep_inhibitor import SleepInhibitor, inhibiting_command
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.stop_file import StopFile
from agentcoord.daemon.tracing import PROVIDER_NAMES, Tracer
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.ids import TaskId
from agentcoord.errors import WorkspaceError
from agentcoord.llm.api import Provider
from agentcoord.sandbox.abandoned import end_abandoned
from agentcoord.telemetry.otlp_http import Collector, collector_of, wants_content
from agentcoord.telemetry.spans import SpanBook
from agentcoord.workspace.git import run_git

log = structlog.get_logger("daemon")
Loop = Callable[[], Coroutine[Any, Any, None]]


async def companions(
    stack: AsyncExitStack,
    *,
    shop: Workshop,
    fleet: Fleet,
    views: Views,
    state: DaemonState,
    runs: RunBook,
    lag: LoopLag,
    shutdown: Shutdown,
    paths: ProjectPaths,
    env: Mapping[str, str],
) -> tuple[Loop, ...]:
    """Open what the settings ask for on `stack`; return the loops to run beside the workers.

    Raises DaemonError when the metrics endpoint cannot listen, or a way to notify is not installed.
    """
    settings, clock = shop.settings, shop.clock

    async def diff_of(task_id: TaskId) -> str:
        task = await shop.store.queue.get(task_id)
        return await shop.lander.diff(task_id, since_ms=task.queued_at_ms if task else 0)

    recorder = NightRecorder(
        hub=shop.hub,
        board=shop.board,
        views=views,
        runs=runs,
        diff_of=diff_of,
        redactor=shop.redactor,
        clock=clock,
        folder=paths.nights_dir,
    )
    stop_file = StopFile(paths.state_dir, clock, lambda: shutdown.ask(now=False))
    await stop_file.forget_old()
    loops: list[Loop] = [
        stop_file.run,
        BudgetWatch(shop.store, runs, settings.budget, shop.hub, clock).run,
        recorder.run,
        partial(note_place, paths),
        end_abandoned_sandboxes,
    ]
    manager = ServiceManager(env, clock, state.pid)
    if manager.is_there:
        loops.append(manager.run)
    keep_awake = inhibiting_command(env)
    if keep_awake:
        loops.append(SleepInhibitor(shop.board, keep_awake).run)
    ways = ways_to_notify(settings.notify, env)
    if ways:
        desk = desk_for(paths.root.name, settings.notify.events, shop.hub)
        loops.append(Notifier(shop.hub, desk, views.status, ways, shop.redactor.clean, clock).run)
    collector = collector_of(env)
    if isinstance(collector, Collector):
        book = SpanBook(
            paths.root.name,
            provider=PROVIDER_NAMES[Provider(settings.models.provider)],
            with_content=wants_content(env),
            clean=shop.redactor.clean,
        )
        loops.append(
            Tracer(shop.hub, book, collector, clock, current_run=lambda: runs.run, status=views.status).run
        )
    elif collector:
        log.warning("traces_not_sent", why=collector)
    port = settings.metrics.port
    if port:
        from agentcoord.daemon.metrics_server import Gauges, MetricsServer

        server = MetricsServer(shop.hub, Gauges(shop, fleet, views, state, lag), shop.clock)
        port = await stack.enter_async_context(server.serving(port))
        loops.append(server.follow)
    add_to_identity(paths, metrics_port=port)  # Who says nothing of it may listen on any (`cli/starting`).
    return tuple(loops)


async def end_abandoned_sandboxes() -> None:
    """End what a daemon that was killed left of commands that had not begun yet."""
    if ended := await asyncio.to_thread(end_abandoned):
        log.info("abandoned_sandboxes_ended", count=ended)


async def note_place(paths: ProjectPaths) -> None:
    """Write down where the repository is, so that its state is found when it is elsewhere one day."""

    def note() -> None:
        commit = run_git(["rev-parse", "-q", "--verify", "HEAD"], cwd=paths.root, expected=(0, 1))
        write_place(os.fspath(paths.state_dir), os.fspath(paths.root), commit.decode().strip())

    try:
        await asyncio.to_thread(note)
    except (OSError, WorkspaceError) as error:
        log.warning("place_not_noted", error=str(error))
