"""Commands confined with bubblewrap: user, process, network, IPC and mount namespaces on Linux.

One command:

1. The workspace's lock is taken and its mount targets are checked (`mount_guard`).
2. bwrap starts with an empty environment and waits until we hold its namespace, and have set the
   resource limits of its first process (`namespace`).
3. The command runs, watched (`process`, `watchdog`). Nothing of it is alive when `run` returns.
4. bwrap reports an exit code only if it started the command. None, and a message of its own: the
   sandbox failed, which is an error and never a result.

bwrap dies with the thread that spawned it (`--die-with-parent`): call `run` on a loop whose thread
lives as long as the daemon does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.abandoned import MEMORY_FILE
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.bubblewrap_arguments import (
    Descriptors,
    arguments,
    command_line,
    resource_bounds,
    starter,
)
from agentcoord.sandbox.environment import (
    ALIASES,
    HOME,
    command_environment,
    host_of,
    python_to_alias,
    search_folders,
    unfit_command,
)
from agentcoord.sandbox.layout import HostLayout
from agentcoord.sandbox.memory import memory_bound_bytes
from agentcoord.sandbox.mends import mend_for
from agentcoord.sandbox.mount_guard import Mount, check_targets, read_only_mounts
from agentcoord.sandbox.namespace import Namespace, Status, adopt_namespace
from agentcoord.sandbox.policy import KilledBy, Limits, Policy, ProbeReport, Result
from agentcoord.sandbox.probe import probe_bubblewrap
from agentcoord.sandbox.process import Ended, Family, Launch, run_process
from agentcoord.sandbox.seccomp import open_filter
from agentcoord.sandbox.syscalls import Machine
from agentcoord.sandbox.watchdog import Watched, descendants, kernel_counts_processes, watch_resources

_TEMPORARY = Path("/tmp")  # noqa: S108 - inside the sandbox


class Bubblewrap:
    """The backend for Linux."""

    name = "bubblewrap"
    confined = True

    def __init__(self, program: Path, layout: HostLayout, *, clock: Clock, machine: Machine | None) -> None:
        """`machine` is whose system calls are filtered; None where we know no table."""
        self._program = program
        self._layout = layout
        self._clock = clock
        self._machine = machine
        self._kernel_counts = kernel_counts_processes()
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def probe(self) -> ProbeReport:
        """Run commands that try to get out, and find out whether bwrap follows links."""
        return await probe_bubblewrap(self, self._program, self._clock, has_filter=self._machine is not None)

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash; a second one in the same workspace waits its turn."""
        refusal = unfit_command(command)
        if refusal:
            return Result(exit_code=126, output=refusal)
        lock = self._locks.setdefault(policy.workspace, asyncio.Lock())
        async with lock:
            mounts = await asyncio.to_thread(read_only_mounts, policy)
            await asyncio.to_thread(check_targets, policy.workspace, policy.mount_at, mounts)
            return await self._run_alone(command, policy, limits, mounts, on_output)

    async def _run_alone(
        self,
        command: str,
        policy: Policy,
        limits: Limits,
        mounts: tuple[Mount, ...],
        on_output: OnOutput | None,
    ) -> Result:
        with contextlib.ExitStack() as stack:
            status = stack.enter_context(Status())
            hold_read, hold_write = os.pipe()
            stack.callback(os.close, hold_read)
            stack.callback(os.close, hold_write)
            etc_files = {
                name: _memory_file(stack, text) for name, text in etc_file_texts(self._layout).items()
            }
            seccomp = _filter_file(stack, self._machine) if self._machine else None
            descriptors = Descriptors(seccomp, status.write_end, hold_read, etc_files)
            words = self._words(policy, limits, mounts, descriptors)
            args = _memory_file(stack, "\0".join(words) + "\0")
            inherited = [args, status.write_end, hold_read, *etc_files.values()]
            if seccomp is not None:
                inherited.append(seccomp)
            bounds = resource_bounds(limits, self._layout, count_processes=self._kernel_counts)
            ended = await run_process(
                Launch(
                    argv=(
                        *starter(self._program),
                        "--args",
                        str(args),
                        "--",
                        *command_line(command, self._layout),
                    ),
                    env={},
                    cwd=Path("/"),
                    pass_fds=tuple(inherited),
                ),
                limits,
                clock=self._clock,
                on_output=on_output,
                adopt=partial(adopt_namespace, status=status, hold=hold_write, bounds=bounds),
                watch=partial(self._watch, policy.workspace, limits),
            )
            return _result(ended, status.exit_code())

    def _words(
        self, policy: Policy, limits: Limits, mounts: tuple[Mount, ...], descriptors: Descriptors
    ) -> list[str]:
        folders = search_folders(policy)
        alias = python_to_alias(folders, host_of(policy))
        path = [*map(str, folders), *([str(ALIASES)] if alias else [])]
        environment = command_environment(policy, path=":".join(path), home=HOME, temporary=_TEMPORARY)
        return arguments(
            policy,
            limits,
            self._layout,
            mounts=mounts,
            environment=environment,
            python_alias=alias,
            descriptors=descriptors,
        )

    async def _watch(self, workspace: Path, limits: Limits, family: Family) -> KilledBy:
        watched = Watched()
        if isinstance(family, Namespace):
            watched = Watched(
                family=partial(descendants, family.first_pid),
                counts_processes=not self._kernel_counts,
                memory_bytes=memory_bound_bytes(limits, self._layout.memory_bytes),
            )
        return await watch_resources(workspace, limits, watched, clock=self._clock)


def etc_file_texts(layout: HostLayout) -> dict[str, str]:
    """Return the files of /etc that are made up: one user, one group, no names but localhost."""
    user, group = layout.user_id, layout.group_id
    name = "root" if user == 0 else "agent"
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" if user != 65534 else ""
    nogroup = "nogroup:x:65534:\n" if group != 65534 else ""
    return {
        "passwd": f"{name}:x:{user}:{group}:{name}:{HOME}:{layout.bash}\n{nobody}",
        "group": f"{name}:x:{group}:\n{nogroup}",
        "hosts": "127.0.0.1 localhost agentcoord\n::1 localhost agentcoord\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
    }


def _result(ended: Ended, reported: int | None) -> Result:
    """Tell a command's end from a sandbox that failed; raises SandboxError for the latter."""
    output = ended.capture.text()
    killed_by = ended.killed_by
    if reported is None and killed_by is KilledBy.NOBODY:
        said = next((line for line in output.splitlines() if line.startswith("bwrap: ")), "")
        if said or ended.exit_code < 128:
            reason = said.removeprefix("bwrap: ") or f"bubblewrap ended with {ended.exit_code}"
            raise SandboxError(f"The sandbox could not be set up: {reason}.", mend=mend_for(output))
    exit_code = 128 + signal.SIGKILL if reported is None else reported
    if killed_by is KilledBy.NOBODY and 128 < exit_code < 128 + signal.NSIG:
        killed_by = KilledBy.SIGNAL
    return Result(
        exit_code=exit_code,
        output=output,
        truncated=ended.capture.dropped_bytes > 0,
        dropped_bytes=ended.capture.dropped_bytes,
        killed_by=killed_by,
        duration_ms=ended.duration_ms,
    )


def _memory_file(stack: contextlib.ExitStack, text: str) -> int:
    """Return a descriptor at the start of a file in memory that holds `text`."""
    descriptor = os.memfd_create(MEMORY_FILE)
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(os.fsencode(text))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _filter_file(stack: contextlib.ExitStack, machine: Machine) -> int:
    descriptor = open_filter(machine)
    stack.callback(os.close, descriptor)
    return descriptor
