"""Running a command where no mounts can be made: what seatbelt, external and unconfined share.

A scrubbed environment, a folder of its own for HOME and TMPDIR, the bounds, and all that it started
dies with it: on Linux by a `holder`; elsewhere its process group, and a process that makes its own
session survives.

There are no mounts here, so the private copy stands at its own path: shared environments are put
on PATH from where they really are, and PYTHONPATH puts the copy's sources before an editable
installation of the user's tree.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.errors import SandboxError
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.compilers import home_links_of
from agentcoord.sandbox.environment import (
    command_environment,
    host_of,
    python_to_alias,
    search_folders,
)
from agentcoord.sandbox.memory import memory_bound_bytes
from agentcoord.sandbox.policy import KilledBy, Limits, Policy, Result
from agentcoord.sandbox.process import Adopt, Ended, Family, Launch, adopt_group, run_process
from agentcoord.sandbox.scratch import scratch_folder
from agentcoord.sandbox.watchdog import Watched, watch_resources

OPEN_FILES = 4096

ArgvFor = Callable[[Path], tuple[str, ...]]


def direct_command_line(bash: Path, command: str, limits: Limits) -> tuple[str, ...]:
    """Return bash, bounded as far as the hard limits allow, that becomes the bash of the command."""
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if files_max < 0 else min(OPEN_FILES, files_max)
    memory_max = resource.getrlimit(resource.RLIMIT_DATA)[1]
    memory = memory_bound_bytes(limits, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    memory = memory if memory_max < 0 else min(memory, memory_max)
    bounds = f"-c 0 -f {limits.file_bytes // 1024} -n {files} -d {memory // 1024}"
    prologue = f'ulimit {bounds} || exit 125; exec "$0" -c "$1"'
    return (str(bash), "-c", prologue, str(bash), command)


async def run_direct(
    policy: Policy,
    limits: Limits,
    argv_for: ArgvFor,
    *,
    clock: Clock,
    on_output: OnOutput | None,
    adopt: Adopt = adopt_group,
    pass_fds: tuple[int, ...] = (),
) -> Result:
    """Run a program in the workspace with a home and a temporary folder that vanish afterwards.

    `argv_for` is given that scratch folder, without symbolic links.
    """
    if not policy.workspace.is_dir():
        raise SandboxError(f"The workspace {policy.workspace} is not there.")
    async with scratch_folder("agentcoord-command-") as folder:
        environment = await asyncio.to_thread(direct_environment, policy, folder)
        ended = await run_process(
            Launch(argv=argv_for(folder), env=environment, cwd=policy.workspace, pass_fds=pass_fds),
            limits,
            clock=clock,
            on_output=on_output,
            adopt=adopt,
            watch=partial(_watch, policy.workspace, limits, clock),
        )
    return direct_result(ended)


def direct_environment(policy: Policy, scratch: Path) -> dict[str, str]:
    """Return the environment for a command that sees the host's paths; fills `scratch`."""
    on_host = host_of(policy)
    folders = tuple(on_host(folder) for folder in search_folders(policy))
    path = [*map(str, folders)]
    alias = python_to_alias(folders, lambda folder: folder)
    home = scratch / "home"
    temporary = scratch / "tmp"
    for folder in (home, temporary):
        folder.mkdir(mode=0o700)
    for name, target in home_links_of(policy.toolchains).items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).symlink_to(target)
    if alias is not None:
        (scratch / "bin").mkdir()
        (scratch / "bin" / "python").symlink_to(alias)
        path.append(str(scratch / "bin"))
    environment = {
        "PYTHONPATH": ":".join(str(policy.workspace / part) for part in ("src", "")),
        **_git_variables(policy),
        **command_environment(policy, path=":".join(path), home=home, temporary=temporary),
    }
    if "VIRTUAL_ENV" in environment:
        environment["VIRTUAL_ENV"] = str(on_host(Path(environment["VIRTUAL_ENV"])))
    return environment


def direct_result(ended: Ended) -> Result:
    """Return the result of a program that ran without bubblewrap's reports."""
    killed_by = ended.killed_by
    if killed_by is KilledBy.NOBODY and 128 < ended.exit_code < 128 + signal.NSIG:
        killed_by = KilledBy.SIGNAL
    return Result(
        exit_code=ended.exit_code,
        output=ended.capture.text(),
        truncated=ended.capture.dropped_bytes > 0,
        dropped_bytes=ended.capture.dropped_bytes,
        killed_by=killed_by,
        duration_ms=ended.duration_ms,
    )


def _git_variables(policy: Policy) -> dict[str, str]:
    if policy.shadow_git is None:
        return {"GIT_CEILING_DIRECTORIES": os.path.realpath(policy.workspace.parent)}
    variables = {"GIT_DIR": str(policy.shadow_git), "GIT_WORK_TREE": str(policy.workspace)}
    if policy.git_objects is not None:
        variables["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(policy.git_objects)
    return variables


async def _watch(workspace: Path, limits: Limits, clock: Clock, family: Family) -> KilledBy:
    del family  # Processes of a group cannot be counted apart from the user's others.
    return await watch_resources(workspace, limits, Watched(), clock=clock)
