"""What accompanies a daemon without doing its work: who is told of it, and what keeps it going.

The metrics endpoint, notifications, the budget's warnings, the sleep inhibitor, the STOP file and
the service manager. Each is a loop of its own in the daemon's task group; none is needed by any
other part. Separate from `compose`, which builds the parts that work.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.chores import LoopLag
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.shutdown import Shutdown
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.workshop import Workshop

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

    Raises DaemonError when the metrics endpoint cannot listen.
    """
    del runs, shutdown, paths, env
    loops: list[Loop] = []
    port = shop.settings.metrics.port
    if port:
        from agentcoord.daemon.metrics_server import Gauges, MetricsServer

        server = MetricsServer(shop.hub, Gauges(shop, fleet, views, state, lag), shop.clock)
        await stack.enter_async_context(server.serving(port))
        loops.append(server.follow)
    return tuple(loops)
