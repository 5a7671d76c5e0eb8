"""What the daemon waits for in other processes, begun before the rest of it is imported.

Importing what the daemon is made of takes longer than everything else until it is ready. The server,
the sandbox's probe and git need none of it: they work in the meantime, on the other core. So this module
imports little, and `compose`, which builds all else, is imported in a thread beside it.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import field
from pathlib import Path

import structlog

from agentcoord.clock import Clock
from agentcoord.config.load import load_settings
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.daemon.redis_server import embedded_server
from agentcoord.daemon.start_args import StartArgs
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.choose import tried_sandbox
from agentcoord.sandbox.policy import ProbeReport
from agentcoord.sandbox.toolchain import toolchain_prefixes
from agentcoord.values import dataclass
from agentcoord.workspace.repository import Repository

BUILDER = "agentcoord.daemon.compose"

log = structlog.get_logger("daemon")


@dataclass(frozen=True, slots=True)
class HeadStart:
    """What has been begun; whoever awaits a part hears of its failure."""

    paths: ProjectPaths
    args: StartArgs
    env: Mapping[str, str]
    settings: Settings
    clock: Clock
    repository: asyncio.Task[Repository]
    sandbox: asyncio.Task[tuple[Sandbox, str]]
    """The sandbox, and what `status` says of it."""
    toolchains: asyncio.Task[tuple[Path, ...]]
    tell_of_server: list[Callable[[str], None]] = field(default_factory=list)
    """Who hears that the embedded server died and what became of it: nobody, while the daemon is built."""


@asynccontextmanager
async def head_start(
    paths: ProjectPaths, args: StartArgs, env: Mapping[str, str], clock: Clock
) -> AsyncIterator[HeadStart]:
    """Begin everything, and yield when the server answers and the daemon's builder is imported.

    The embedded server, if the settings name no other, runs until the block ends. Raises ConfigError or
    DaemonError in words.
    """
    settings = load_settings(paths.root, env, args.flags)
    async with AsyncExitStack() as stack:
        early = await stack.enter_async_context(asyncio.TaskGroup())
        begun = HeadStart(
            paths,
            args,
            env,
            settings,
            clock,
            early.create_task(Repository.open(paths.root), name="repository"),
            early.create_task(scouted_sandbox(args, clock), name="sandbox"),
            early.create_task(
                asyncio.to_thread(toolchain_prefixes, paths.root, settings.project.share), name="toolchains"
            ),
        )
        importing = early.create_task(asyncio.to_thread(importlib.import_module, BUILDER), name="imports")

        def tell(words: str) -> None:
            for hear in begun.tell_of_server:
                hear(words)

        if not settings.redis.url:
            valkey_log = paths.log_file.with_name("valkey.log")
            await stack.enter_async_context(
                embedded_server(paths.redis_dir, paths.redis_socket, valkey_log, tell=tell)
            )
        await importing
        yield begun


async def scouted_sandbox(args: StartArgs, clock: Clock) -> tuple[Sandbox, str]:
    """Choose the sandbox, and say what `status` says of it."""
    sandbox, report = await tried_sandbox(
        unsafe=args.unsafe_no_sandbox, external=args.external_sandbox, clock=clock
    )
    tell = log.info if report.ok and sandbox.confined else log.warning
    tell(
        "sandbox_chosen",
        sandbox=sandbox.name,
        confined=sandbox.confined,
        features=list(report.features),
        reasons=list(report.reasons),
    )
    return sandbox, sandbox_words(sandbox, report)


def sandbox_words(sandbox: Sandbox, report: ProbeReport) -> str:
    """What `status` says of the sandbox."""
    if report.ok:
        return sandbox.name if sandbox.confined else "none (unsafe)"
    return f"unavailable: {'; '.join(report.reasons)}"
