"""The family of a command that `holder` started: all processes beneath it, whatever session they are in.

Separate from `process_group`, which is what is left where the system has no way to hold on to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from dataclasses import field
from functools import cache, partial
from pathlib import Path
from typing import Self

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox import holder
from agentcoord.sandbox.namespace import has_ended, until_readable
from agentcoord.sandbox.policy import KilledBy, Limits
from agentcoord.sandbox.process import Family, Launch, run_process
from agentcoord.sandbox.process_group import ProcessGroup, is_alive, looked_at
from agentcoord.sandbox.watchdog import descendants
from agentcoord.values import dataclass

_MOST = 10_000
_LOOKS = 100
_KILLS = 2
"""How often it is looked for what is to be killed: each look at thousands of processes takes 0.1 s."""
_LOOK_AGAIN_S = 0.01
_TRIED_S = 10.0
_TRIED_CODE = 7
_TOLD_BYTES_MAX = 1024


@dataclass(slots=True)
class Held:
    """Everything beneath a holder."""

    holder_pid: int
    pidfd: int
    """Of the holder: as long as it lives, its number is nobody else's."""
    _killed: set[int] = field(default_factory=set)

    def ask_to_end(self) -> None:
        """Send TERM to all but the holder."""
        for pid in self._beneath():
            _send(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL to all but the holder, which then ends by itself, and whatever was started meanwhile."""
        for _ in range(_KILLS):
            found = set(self._beneath()) - self._killed
            if not found:
                break
            for pid in found:
                _send(pid, signal.SIGKILL)
            self._killed = self._killed | found
        if not has_ended(self.pidfd):
            _send(self.holder_pid, signal.SIGCONT)  # A command may have stopped it.

    async def gone(self) -> None:
        """Return when the holder is dead, and all that was killed, or after about a second for those."""
        await until_readable(self.pidfd)
        for _ in range(_LOOKS):
            self._killed = await looked_at(partial(_living, self._killed))
            if not self._killed:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.pidfd)

    def _beneath(self) -> list[int]:
        """All of its processes by now; those that are dead and not taken notice of yet as well."""
        return [] if has_ended(self.pidfd) else descendants(self.holder_pid, _MOST)[1:]


class Told:
    """The pipe on which a holder says that it holds, or why not; use it as a context manager."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._read_end)
        os.close(self.write_end)

    def check(self, killed_by: KilledBy, output: str) -> None:
        """Raise SandboxError when the holder, which has ended by now, did not start the command."""
        try:
            told = os.read(self._read_end, _TOLD_BYTES_MAX)
        except BlockingIOError:
            told = b""
        if told == holder.HELD or killed_by not in (KilledBy.NOBODY, KilledBy.SIGNAL):
            return
        why = told.removeprefix(holder.HELD).decode(errors="replace") or output[-_TOLD_BYTES_MAX:].strip()
        raise SandboxError(
            f"The command was not started: {why or 'what was to hold it ended'}.",
            mend="" if told else "restart the daemon if it, or its Python, was installed anew",
        )


async def can_hold(bash: Path, *, clock: Clock) -> bool:
    """Whether this system has what it takes; tried, not assumed."""
    if sys.platform != "linux" or not sys.executable or not _has_pidfds():
        return False
    left_behind = f"sleep 60 & exit {_TRIED_CODE}"
    argv = (str(bash), "-c", left_behind)
    try:
        with Told() as told:
            line, pass_fds = held_command_line(argv, told), (told.write_end,)
            launch = Launch(argv=line, env={}, cwd=Path("/"), pass_fds=pass_fds)
            ended = await run_process(launch, Limits(timeout_s=_TRIED_S), clock=clock, adopt=adopt_held)
            told.check(ended.killed_by, "")
    except (SandboxError, OSError):
        return False
    return ended.exit_code == _TRIED_CODE


def _has_pidfds() -> bool:
    """Whether the kernel, and a container's filter of system calls, let processes be held so."""
    try:
        own = os.pidfd_open(os.getpid())
        try:
            return not has_ended(own)
        finally:
            os.close(own)
    except OSError:
        return False


def held_command_line(argv: tuple[str, ...], told: Told) -> tuple[str, ...]:
    """Return what starts a program, by its whole path, under a holder that inherits `told`."""
    return (sys.executable, "-I", "-S", "-c", _holder_text(), str(os.getpid()), str(told.write_end), *argv)


@cache
def _holder_text() -> str:
    """Read once: the file may go, or become another, when the program is installed anew beneath a daemon."""
    return Path(holder.__file__).read_text(encoding="utf-8")


async def adopt_held(process: Process) -> Family:
    """Return the family of the holder that was started as `process`."""
    try:
        return Held(process.pid, os.pidfd_open(process.pid))
    except OSError:  # It has ended, and all with it.
        return ProcessGroup(process.pid)


def _living(pids: set[int]) -> set[int]:
    return {pid for pid in pids if is_alive(Path(f"/proc/{pid}"))}


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
