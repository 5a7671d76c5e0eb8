"""Ending a daemon that does not answer: its process, by signals, after it was told apart from any other.

Separate from `starting`, which asks the daemon in words: nothing here needs it to be well. The daemon's
supervisor is told first, or else it would start the next one; where only that is there, it is ended alone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.lock_look import holds_lock, wait_until
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.project_lock import holder_of
from agentcoord.daemon.supervisor_note import supervisor_of
from agentcoord.wire.protocol import ExitCode


def end_process(paths: ProjectPaths, say: Callable[[str], None], *, grace_s: float) -> None:
    """End the process that holds the project's lock, and its supervisor; `say` what is done.

    Raises CommandError (exit 6) when it is not known for sure which process that is, or it stays.
    """
    if not holds_lock(paths.lock_file):
        return
    holder = holder_of(paths)
    if holder is None:
        raise CommandError(
            f"some process holds {paths.lock_file} and does not answer, and which one is not known for sure",
            exit_code=ExitCode.TIMEOUT,
            mend=f"see with `fuser {paths.lock_file}` or `lsof {paths.lock_file}` whose it is, and end that",
        )
    pid = holder.daemon.pid
    say(f"the daemon does not answer: its process, pid {pid}, is told to end (SIGTERM)")
    if holder.supervisor is not None:
        holder.supervisor.send(signal.SIGTERM)
    holder.daemon.send(signal.SIGTERM)
    if wait_until(lambda: not holds_lock(paths.lock_file), grace_s):
        return
    say(f"it has not ended within {grace_s:g} s: pid {pid} is killed (SIGKILL)")
    _forget_that_it_was_wanted(paths)
    holder.daemon.send(signal.SIGKILL)
    if not wait_until(lambda: not holds_lock(paths.lock_file), grace_s):
        raise CommandError(
            f"the daemon's process, pid {pid}, is still there {grace_s:g} s after it was killed",
            exit_code=ExitCode.TIMEOUT,
            mend="the system holds it (a disk or network drive that hangs?); it ends when that is over",
        )


def end_supervisor(paths: ProjectPaths, say: Callable[[str], None], timeout_s: float) -> bool:
    """End the supervisor that waits to start the next daemon; returns whether there was one.

    Raises CommandError (exit 6) when it stays.
    """
    supervisor = supervisor_of(paths)
    if supervisor is None or not supervisor.send(signal.SIGTERM):
        return False
    say(f"no daemon is running; its supervisor (pid {supervisor.pid}), about to start one again, is ended")
    if not wait_until(lambda: not supervisor.lasts, timeout_s):
        raise CommandError(
            f"the supervisor, pid {supervisor.pid}, has not ended within {timeout_s:.0f} s",
            exit_code=ExitCode.TIMEOUT,
            mend=f"kill -9 {supervisor.pid}, then agentcoordd stop once more",
        )
    _forget_that_it_was_wanted(paths)
    return True


def _forget_that_it_was_wanted(paths: ProjectPaths) -> None:
    """A service that is started next must not take this one's deadline for its own."""
    with suppress(OSError):
        paths.wanted_file.unlink(missing_ok=True)


def pid_in_words(paths: ProjectPaths) -> str:
    """` (pid N)` of the daemon that holds the lock, for an error's words; empty when that is not sure."""
    holder = holder_of(paths)
    return "" if holder is None or not holds_lock(paths.lock_file) else f" (pid {holder.daemon.pid})"
