"""A server process of the daemon's own that is started again when it dies or hangs, and given up in words.

Separate because the embedded Valkey and the rehearsal server live by the same rule: they end with the
daemon, and their death is told. Whether one hangs is known where it can be asked for a word. Deliberately
absent: how each is started, and when it is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import structlog

from agentcoord.daemon.to_its_end import to_its_end
from agentcoord.errors import DaemonError

STOP_TIMEOUT_S = 10.0
DEATHS_MOST = 5
DEATHS_WITHIN_S = 60.0
"""So many deaths within this time, and the daemon gives up."""

HUNG_LOOK_EVERY_S = 10.0
SILENCES_MOST = 6
"""So many looks in a row without an answer, and a server counts as hung. A disk may stall it for seconds."""

log = structlog.get_logger("server")


@contextlib.asynccontextmanager
async def kept_server(
    start: Callable[[], Awaitable[Process]],
    *,
    name: str,
    last_words: Callable[[], str],
    mend: str,
    tell: Callable[[str], None],
    answers: Callable[[], Awaitable[bool]] | None = None,
    why_unreached: Callable[[], Awaitable[str]] | None = None,
    look_every_s: float = HUNG_LOOK_EVERY_S,
) -> AsyncIterator[None]:
    """Start a server, keep it alive inside the block, stop it at the end.

    `start` returns it ready or raises DaemonError; `last_words` is the end of its log; `tell` hears that
    it died and was started again; `answers` asks it for a word, within a time of its own; one that nobody
    reaches any more, for a reason in words that `why_unreached` returns, is started again in order. Raises
    DaemonError, and out of the block when it keeps dying.
    """
    servers = [await start()]
    body_error: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(
                _keep(start, servers, name, last_words, mend, tell, answers, why_unreached, look_every_s),
                name=name,
            )
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below, outside of the group,
                body_error = error  # which would wrap it in an ExceptionGroup.
            keeping.cancel()
    finally:
        await to_its_end(stop(servers[-1]))
    if body_error is not None:
        raise body_error


async def _keep(
    start: Callable[[], Awaitable[Process]],
    servers: list[Process],
    name: str,
    last_words: Callable[[], str],
    mend: str,
    tell: Callable[[str], None],
    answers: Callable[[], Awaitable[bool]] | None,
    why_unreached: Callable[[], Awaitable[str]] | None,
    look_every_s: float,
) -> None:
    """Start the server again whenever it ends; the newest one is the last of `servers`."""
    deaths: list[float] = []
    loop = asyncio.get_running_loop()
    while True:
        how = await _end_of(servers[-1], answers, why_unreached, look_every_s)
        words = f"{name} {how}: {await asyncio.to_thread(last_words)}"
        while servers[-1].returncode is not None:
            log.warning("server_ended", name=name, words=words)
            deaths = [at for at in deaths if loop.time() - at < DEATHS_WITHIN_S] + [loop.time()]
            if len(deaths) >= DEATHS_MOST:
                raise DaemonError(f"{len(deaths)} times within {DEATHS_WITHIN_S:.0f} s {words}", mend=mend)
            try:
                servers[:] = [await start()]
            except DaemonError as error:  # It died again before it was ready.
                words = error.message
        log.info("server_restarted", name=name, pid=servers[-1].pid)
        tell(f"{words}; it was started again")


async def _end_of(
    process: Process,
    answers: Callable[[], Awaitable[bool]] | None,
    why_unreached: Callable[[], Awaitable[str]] | None,
    look_every_s: float,
) -> str:
    """Wait for the end of a process, and see to that of one that hangs; say how it came."""
    silences = 0
    while silences < SILENCES_MOST:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if answers is None else look_every_s):
                return f"ended ({await process.wait()})"
        if why_unreached is not None and (why := await why_unreached()):
            await stop(process)
            return f"was ended, as {why}"
        silences = 0 if answers is None or await answers() else silences + 1
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    return f"hung and was ended, having answered none of {silences} questions"


async def stop(process: Process) -> None:
    """End a process: asked first, then forced."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def log_tail(log_file: Path) -> str:
    """The last lines of a server's log, in one. Blocking."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return " | ".join(lines[-3:])
