"""Runs one program to its end: bounded output, a deadline, and nothing left alive.

Separate from the backends, which decide what is run and who its relatives are. A `Family` is all
the processes that a command may have started: a process group where there is no confinement, a
process-id namespace under bubblewrap.

Whatever happens (end, deadline, watchdog, cancellation) the family is killed before `run_process`
returns or raises; when it is cancelled, KILL is sent without awaiting anything first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.capture import HeadTail
from agentcoord.sandbox.policy import KilledBy, Limits
from agentcoord.sandbox.process_group import ProcessGroup
from agentcoord.values import dataclass

_READ_BYTES = 64 * 1024
_REAP_S = 10.0
"""Killed processes that are still there after this are stuck in the kernel."""
_DRAIN_S = 2.0
"""How long to read on when the program has ended but something still holds its output open."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start."""

    argv: tuple[str | bytes, ...]
    env: Mapping[str, str]
    """The whole environment; nothing of the daemon's is added."""
    cwd: Path
    pass_fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went."""

    exit_code: int
    """Of the program that was started, or 128 + signal."""
    capture: HeadTail
    killed_by: KilledBy
    duration_ms: int


class Family(Protocol):
    """Every process that a command may have started."""

    def ask_to_end(self) -> None:
        """Send TERM to those that can tidy up."""
        ...

    def kill(self) -> None:
        """Send KILL to all; harmless when they are gone."""
        ...

    async def gone(self) -> None:
        """Return when none is alive; the caller bounds the wait."""
        ...

    def close(self) -> None:
        """Let go of what was held to watch them."""
        ...


Adopt = Callable[[Process], Awaitable[Family]]
Watch = Callable[[Family], Awaitable[KilledBy]]


async def adopt_group(process: Process) -> Family:
    """Return the process group that `run_process` starts every program in."""
    return ProcessGroup(process.pid)


@dataclass(slots=True)
class _Verdict:
    killed_by: KilledBy = field(default=KilledBy.NOBODY)


async def run_process(
    launch: Launch,
    limits: Limits,
    *,
    clock: Clock,
    on_output: OnOutput | None = None,
    adopt: Adopt = adopt_group,
    watch: Watch | None = None,
) -> Ended:
    """Run `launch` within `limits` and return how it ended.

    `watch` is awaited beside the program; when it returns, the family is killed for that reason.
    Raises SandboxError when the program cannot be started.
    """
    started = clock.monotonic()
    capture = HeadTail(limits.output_bytes)
    verdict = _Verdict()
    async with _output_pipe() as (reader, write_end):
        process = await _spawn(launch, write_end)
        family: Family = ProcessGroup(process.pid)
        try:
            family = await adopt(process)
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(_pump(reader, capture, on_output))
                watcher = tasks.create_task(_watch(watch, family, verdict)) if watch else None
                await _wait_within(process, family, limits, verdict)
                if watcher is not None:
                    watcher.cancel()
                await _all_dead(process, family)
                await _drain(pump)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            family.kill()
            if process.returncode is None:
                ProcessGroup(process.pid).kill()
            try:
                await _all_dead(process, family)
            finally:
                family.close()
    assert process.returncode is not None, "the program was awaited"
    exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    duration_ms = round((clock.monotonic() - started) * 1000)
    return Ended(exit_code, capture, verdict.killed_by, duration_ms)


@contextlib.asynccontextmanager
async def _output_pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Make a pipe of our own: with asyncio's, waiting for the program would also wait for its
    children to close their output. The caller closes the write end."""
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(read_end, "rb", buffering=0)
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    except BaseException:
        pipe.close()
        os.close(write_end)
        raise
    try:
        yield reader, write_end
    finally:
        transport.close()


async def _spawn(launch: Launch, write_end: int) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *launch.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            env=dict(launch.env),
            cwd=launch.cwd,
            pass_fds=launch.pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxError(f"{launch.argv[0]!s} could not be started: {error.strerror}.") from error
    finally:
        os.close(write_end)


async def _pump(reader: asyncio.StreamReader, capture: HeadTail, on_output: OnOutput | None) -> None:
    while chunk := await reader.read(_READ_BYTES):
        capture.write(chunk)
        if on_output is not None:
            on_output(chunk)


async def _watch(watch: Watch, family: Family, verdict: _Verdict) -> None:
    verdict.killed_by = await watch(family)
    family.kill()


async def _wait_within(process: Process, family: Family, limits: Limits, verdict: _Verdict) -> None:
    """Wait for the end; at the deadline ask, then kill."""
    try:
        async with asyncio.timeout(limits.timeout_s):
            await process.wait()
        return
    except TimeoutError:
        verdict.killed_by = KilledBy.TIMEOUT
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limits.grace_s):
            family.ask_to_end()
            await process.wait()


async def _all_dead(process: Process, family: Family) -> None:
    """Kill what is left and wait until it is gone, so that no late write can follow."""
    try:
        async with asyncio.timeout(_REAP_S):
            family.kill()
            await process.wait()
            await family.gone()
    except TimeoutError as error:
        raise SandboxError(
            f"Process {process.pid} does not die, not even of KILL: it hangs in the kernel.",
            mend="look at the disk that the workspace is on",
        ) from error


async def _drain(pump: asyncio.Task[None]) -> None:
    """Read what is still in the pipe; an escaped process that holds it open is not waited for."""
    done, _ = await asyncio.wait({pump}, timeout=_DRAIN_S)
    if not done:
        pump.cancel()
