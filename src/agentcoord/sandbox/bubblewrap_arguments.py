"""The argument list that makes bubblewrap build the room a command runs in.

Pure: everything it depends on is handed in, so that the list can be read and tested as a whole.
The order matters: a later mount covers an earlier one, so the repository and the toolchains come
after /tmp and the home, in case they lie beneath those.

- The root is a small tmpfs that is made read-only last; so is /dev, whose tmpfs has no size bound.
- So is /proc: bubblewrap protects /proc/sys only where the folder itself looks writable, which to
  root without capabilities it does not, while the files in it (core_pattern!) are.
- Nothing of /home, /root and /run exists unless it is mounted here.
- bubblewrap itself starts with an empty environment: `--clearenv` would leave the daemon's in
  /proc/1/environ. The list goes through `--args FD`, because /proc/1/cmdline shows the real one.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentcoord.sandbox.compilers import home_links_of
from agentcoord.sandbox.environment import ALIASES, HOME
from agentcoord.sandbox.layout import HostLayout
from agentcoord.sandbox.memory import memory_bound_bytes
from agentcoord.sandbox.mount_guard import Mount
from agentcoord.sandbox.policy import Limits, Policy
from agentcoord.sandbox.reachable import is_link
from agentcoord.values import dataclass

ROOT_TMPFS_BYTES = 64 * 1024**2
TMPFS_SHARE = 16
"""Each private tmpfs is at most this part of the machine's memory."""
OBJECTS = Path("/run/objects")
OPEN_FILES = 4096

_NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--hostname",
    "agentcoord",
)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Numbers of the descriptors that bubblewrap inherits."""

    seccomp: int | None
    status: int
    """It writes JSON there: the process id, then the command's exit code."""
    hold: int
    """It waits for a byte from there before it starts the command."""
    etc_files: Mapping[str, int]
    """Name in /etc to what the file shall hold."""


def arguments(
    policy: Policy,
    limits: Limits,
    layout: HostLayout,
    *,
    mounts: Sequence[Mount],
    environment: Mapping[str, str],
    python_alias: Path | None,
    descriptors: Descriptors,
) -> list[str]:
    """Return everything that goes through `--args`; the command itself follows on the real list."""
    fixed = (
        *_NAMESPACES,
        *_system(layout, descriptors),
        *_scratch(limits, layout),
        *_git_objects(policy),
        *_aliases(python_alias),
        *_toolchains(policy),
        *_repository(policy, mounts),
    )
    variables = [word for name, value in environment.items() for word in ("--setenv", name, value)]
    control = ["--json-status-fd", str(descriptors.status), "--block-fd", str(descriptors.hold)]
    if descriptors.seccomp is not None:
        control += ["--seccomp", str(descriptors.seccomp)]
    return [
        *fixed,
        *("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"),
        "--clearenv",
        *variables,
        *("--chdir", str(policy.mount_at)),
        *control,
    ]


def resource_bounds(limits: Limits, layout: HostLayout, *, count_processes: bool) -> dict[int, int]:
    """Return what the kernel shall hold each process of the command to, by the limit's number."""
    # RLIMIT_DATA counts what a process may write to, not what it only reserves: runtimes reserve far more.
    memory = memory_bound_bytes(limits, layout.memory_bytes)
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: _at_most(OPEN_FILES, layout.open_files_max),
        resource.RLIMIT_DATA: _at_most(memory, layout.memory_max_bytes),
    }
    if count_processes:
        bounds[resource.RLIMIT_NPROC] = _at_most(limits.processes, layout.processes_max)
    return bounds


def command_line(command: str, layout: HostLayout) -> list[str]:
    """Return the program that runs inside."""
    return [str(layout.bash), "-c", command]


def starter(program: Path) -> tuple[str, ...]:
    """Return what starts bwrap so that the kernel picks it, not the daemon, when memory runs out."""
    # The shell puts PWD and the like into the environment, hence `env -i`.
    offer = 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec /usr/bin/env -i "$0" "$@"'
    return ("/bin/sh", "-c", offer, str(program))


def tmpfs_bytes(limits: Limits, layout: HostLayout) -> int:
    """Return the size of each private tmpfs on this machine."""
    return min(limits.memory_tmpfs_bytes, layout.memory_bytes // TMPFS_SHARE)


def _system(layout: HostLayout, descriptors: Descriptors) -> list[str]:
    words = ["--size", str(ROOT_TMPFS_BYTES), "--tmpfs", "/"]
    for folder in layout.folders:
        words += ["--ro-bind", str(folder), str(folder)]
    for target, path in layout.links:
        words += ["--symlink", target, path]
    words += ["--dir", "/etc"]
    for shown in layout.etc:
        words += ["--ro-bind-try", str(shown), str(shown)]
    for name, descriptor in descriptors.etc_files.items():
        words += ["--perms", "0644", "--ro-bind-data", str(descriptor), f"/etc/{name}"]
    return [*words, "--proc", "/proc", "--dev", "/dev"]


def _scratch(limits: Limits, layout: HostLayout) -> list[str]:
    size = str(tmpfs_bytes(limits, layout))
    return [
        *("--size", size, "--tmpfs", "/dev/shm"),  # noqa: S108 - inside the sandbox
        *("--perms", "1777", "--size", size, "--tmpfs", "/tmp"),  # noqa: S108 - inside the sandbox
        *("--perms", "0700", "--size", size, "--tmpfs", str(HOME)),
        *("--dir", "/run", "--dir", "/var"),
        *("--symlink", "../tmp", "/var/tmp"),  # noqa: S108 - inside the sandbox
    ]


def _git_objects(policy: Policy) -> list[str]:
    if policy.git_objects is None or policy.shadow_git is None:
        return []
    return ["--ro-bind", os.path.realpath(policy.git_objects), str(OBJECTS)]


def _aliases(python: Path | None) -> list[str]:
    return [] if python is None else ["--symlink", str(python), str(ALIASES / "python")]


def _toolchains(policy: Policy) -> list[str]:
    words: list[str] = []
    for tool in policy.toolchains:
        if tool.is_relative_to(policy.mount_at):
            continue  # Mounted with the repository, behind the guard.
        if is_link(tool):
            words += ["--symlink", str(tool.readlink()), str(tool)]
        else:
            words += ["--ro-bind", str(tool), str(tool)]
    for name, target in home_links_of(policy.toolchains).items():
        words += ["--symlink", str(target), str(HOME / name)]
    return words


def _repository(policy: Policy, mounts: Sequence[Mount]) -> list[str]:
    words = ["--bind", os.path.realpath(policy.workspace), str(policy.mount_at)]
    for mount in mounts:
        words += ["--ro-bind", str(mount.source), str(mount.target)]
    return words


def _at_most(wanted: int, hard_limit: int) -> int:
    return wanted if hard_limit < 0 else min(wanted, hard_limit)
