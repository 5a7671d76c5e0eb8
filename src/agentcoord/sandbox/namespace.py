"""The hold on a command that bubblewrap starts: its process-id namespace, and what bwrap reports.

Separate from the backend because it is the part where order matters: bwrap is made to wait until a
pidfd on the namespace's first process is open. The kernel kills the namespace together with that
process and reports it dead only after all the others, so the pidfd is a hold on everything the
command will ever start, daemons included.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping
from typing import Self

from agentcoord.errors import SandboxError
from agentcoord.sandbox.process import Family
from agentcoord.sandbox.process_group import ProcessGroup
from agentcoord.values import dataclass

_SETUP_S = 20.0
_STATUS_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Namespace:
    """The family of a confined command: all processes of its process-id namespace."""

    first_pid: int
    """The namespace's first process, as the host numbers it; also its group's number."""
    pidfd: int

    def ask_to_end(self) -> None:
        """Send TERM to the command's group; the namespace's first process ignores it."""
        if not has_ended(self.pidfd):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.first_pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the first process, and with it the namespace."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def gone(self) -> None:
        """Return when the whole namespace is dead."""
        await until_readable(self.pidfd)

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.pidfd)


class Status:
    """The pipe on which bwrap reports, one JSON document a line; use it as a context manager.

    `{"child-pid": N}` comes when the namespace exists, `{"exit-code": N}` only if the command was
    really started.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._text = b""
        self._write_end_is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close_write_end()
        os.close(self._read_end)

    def close_write_end(self) -> None:
        """Let go of our copy, so that bwrap's end is the end."""
        if self._write_end_is_open:
            self._write_end_is_open = False
            os.close(self.write_end)

    async def first_pid(self) -> int | None:
        """Wait for the namespace; None when bwrap ended without making one."""
        while True:
            await until_readable(self._read_end)
            more = self._take()
            pid = self._number("child-pid")
            if pid is not None or not more:
                return pid

    def exit_code(self) -> int | None:
        """Return the command's exit code; call it when bwrap has ended."""
        self._take()
        return self._number("exit-code")

    def _take(self) -> bool:
        """Read what is there; False at the end."""
        try:
            piece = os.read(self._read_end, _STATUS_BYTES_MAX)
        except BlockingIOError:
            return True
        self._text += piece
        return bool(piece)

    def _number(self, key: str) -> int | None:
        for line in self._text.split(b"\n")[:-1]:
            document = json.loads(line)
            if key in document:
                return int(document[key])
        return None


async def adopt_namespace(
    process: Process, *, status: Status, hold: int, bounds: Mapping[int, int]
) -> Family:
    """Take hold of the namespace, bound it, then let the command start by a byte through `hold`.

    `bounds` are resource limits, which all that the first process starts inherits. They are set from here,
    because a shell inside that sets them and then becomes the command's shell costs milliseconds; and not
    before, because the number of processes is counted apart only within the namespace.

    When bwrap failed before that, its process group is returned; its message says why.
    """
    status.close_write_end()
    try:
        async with asyncio.timeout(_SETUP_S):
            first_pid = await status.first_pid()
    except TimeoutError as error:
        raise SandboxError(f"bubblewrap was not ready after {_SETUP_S:.0f} s.") from error
    if first_pid is None:
        return ProcessGroup(process.pid)
    try:
        family = Namespace(first_pid, os.pidfd_open(first_pid))
    except ProcessLookupError:
        return ProcessGroup(process.pid)
    try:
        for number, most in bounds.items():
            resource.prlimit(first_pid, number, (most, most))
    except ProcessLookupError:
        return family  # It ended by itself, which bwrap tells.
    except (OSError, ValueError) as error:
        family.kill()
        family.close()
        raise SandboxError(f"The command could not be bounded: {error}.") from error
    with contextlib.suppress(BrokenPipeError):
        os.write(hold, b"x")
    return family


def has_ended(pidfd: int) -> bool:
    """Whether a process is dead, by its pidfd."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    return False


async def until_readable(descriptor: int) -> None:
    """Return when a descriptor can be read; a pidfd, when its process is dead."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
