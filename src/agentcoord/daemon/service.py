"""The daemon as a process: what is around the event loop, from taking the lock to the last word.

In the background it reports through a pipe that it is ready, or why not, to who started it
(`background_start`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agentcoord.clock import Clock, SystemClock
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.secret_variables import secrets_of
from agentcoord.daemon.head_start import head_start
from agentcoord.daemon.loop_watch import (
    STOP_MOST_S,
    STUCK_EXIT_CODE,
    StopTimer,
    end_the_process,
    watched_loop,
)
from agentcoord.daemon.memory_heaps import keep_memory_together
from agentcoord.daemon.project_lock import identity, lock_of, refuse_root
from agentcoord.daemon.service_manager import ServiceManager
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.told_to_stop import is_service, note_told_to_stop
from agentcoord.errors import AgentCoordError, DaemonError
from agentcoord.telemetry.logs import logging_to
from agentcoord.wire.protocol import ExitCode

THREADS = 32
"""For blocking work: copies of six workers must not hold up what a command wants to read."""
MANAGER_MARGIN_S = 60.0
"""How much longer a service manager lets a stop hang than we do."""
_PR_SET_DUMPABLE = 4

log = structlog.get_logger("daemon")


def run_foreground(
    root: Path,
    *,
    args: StartArgs,
    env: Mapping[str, str],
    ready_fd: int | None = None,
    clock: Clock | None = None,
) -> int:
    """Be the daemon until it is stopped, by the machine's clock unless given another; returns the exit code.

    Raises the same errors as `start_background`, told through `ready_fd` too when there is one.
    """
    starter = _Starter(ready_fd)
    say_where_it_stands_on_signals()
    try:
        paths = ProjectPaths.of(root, env)
        refuse_root(args, env)
        paths.make()
        clock = clock or SystemClock()
        if args.since_ms is None:
            args = replace(args, since_ms=clock.now_ms())
        with (
            lock_of(paths),
            logging_to(paths.log_file, secrets=secrets_of(env), terminal=ready_fd is None),
            identity(paths, supervised=args.supervised),
        ):
            paths.given_up_file.unlink(missing_ok=True)
            paths.told_to_stop_file.unlink(missing_ok=True)
            with _stop_timer(env) as stop_timer:
                _serve_in_words(paths, args, env, starter, stop_timer, clock)
    except AgentCoordError as error:
        starter.tell({"error": error.message, "mend": error.mend, "kind": type(error).__name__})
        raise
    except OSError as error:
        refused = DaemonError(
            f"the system refused: {error}", mend="free some disk space, and look at the folder"
        )
        starter.tell({"error": refused.message, "mend": refused.mend, "kind": type(refused).__name__})
        raise refused from error
    return 0


@contextlib.contextmanager
def _stop_timer(env: Mapping[str, str]) -> Iterator[StopTimer]:
    """What ends the process when a stop takes too long, until the block ends.

    What fails in a service that was told to stop is no error outside: its manager would start it again.
    """
    service = is_service(env)
    timer = StopTimer(end=partial(end_the_process, ExitCode.OK if service else STUCK_EXIT_CODE))
    try:
        yield timer
    except Exception:
        if not (service and timer.started):
            raise
    finally:
        timer.cancel()


def _serve_in_words(
    paths: ProjectPaths,
    args: StartArgs,
    env: Mapping[str, str],
    starter: _Starter,
    stop_timer: StopTimer,
    clock: Clock,
) -> None:
    """Serve; what ends it is logged, and leaves as the one error that a person can act on, if it is one."""
    try:
        forbid_reading_our_memory()
        keep_memory_together()
        asyncio.run(_serve(paths, args, env, starter, stop_timer, clock))
    except AgentCoordError as error:
        log.error("daemon_cannot_go_on", error=error.message, mend=error.mend)
        raise
    except BaseExceptionGroup as group:
        expected, rest = group.split((AgentCoordError, OSError))
        if expected is None or rest is not None:
            log.critical("daemon_died", exc_info=True)
            raise
        cause = _first_leaf(expected)
        log.error("daemon_cannot_go_on", error=str(cause), exc_info=True)
        raise cause from group
    except BaseException:
        log.critical("daemon_died", exc_info=True)
        raise


def _first_leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _serve(
    paths: ProjectPaths,
    args: StartArgs,
    env: Mapping[str, str],
    starter: _Starter,
    stop_timer: StopTimer,
    clock: Clock,
) -> None:
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="work")
    asyncio.get_running_loop().set_default_executor(threads)
    gc.disable()  # What is imported becomes no garbage, and looking through it takes tenths of a second.
    with watched_loop():
        async with head_start(paths, args, env, clock) as begun:
            from agentcoord.daemon.compose import composed  # By now it is there.

            gc.freeze()
            gc.enable()
            async with composed(begun) as daemon:
                daemon.shutdown.on_ask = partial(
                    _told_to_stop, paths, stop_timer, ServiceManager(env, clock, os.getpid())
                )
                with daemon.shutdown.on_signals():
                    await daemon.run(lambda: starter.tell({"ready": True}))
    log.info("daemon_stopped")


def _told_to_stop(paths: ProjectPaths, stop_timer: StopTimer, manager: ServiceManager) -> None:
    """Begin to count, once, and leave word. The manager's watchdog would take a stop that hangs for a daemon
    that does, and start it again: the timer ends it before that.
    """
    if not stop_timer.started:
        stop_timer.start()
        manager.be_patient(STOP_MOST_S + MANAGER_MARGIN_S)
        note_told_to_stop(paths.told_to_stop_file)


class _Starter:
    """The process that started this one, which waits for one line; without one, nobody is told."""

    def __init__(self, ready_fd: int | None) -> None:
        self._ready_fd = ready_fd

    def tell(self, word: dict[str, Any]) -> None:
        """Say one line, once: afterwards the descriptor's number may be somebody else's."""
        ready_fd, self._ready_fd = self._ready_fd, None
        if ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(ready_fd, json.dumps(word).encode() + b"\n")
            os.close(ready_fd)


def say_where_it_stands_on_signals() -> None:
    """Have SIGQUIT print every thread's stack to standard error, and a fatal signal too."""
    faulthandler.enable()
    faulthandler.register(signal.SIGQUIT, all_threads=True)


def forbid_reading_our_memory() -> None:
    """Keep other processes of this user from our memory and environment, where the API key is.

    Linux only; elsewhere the system's own rules stand. See prctl(2), PR_SET_DUMPABLE.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
