"""Makes sure that every mount target inside a workspace is a plain folder before a command runs.

bubblewrap follows symbolic links when it creates mount targets (CVE-2026-87766, all versions up to
0.11): a command that replaces a target's parent by a link into `/oldroot` has the next command's
set-up write on the host. So each component of each target is opened without following links, from
the workspace down, before every run. What is missing is created that way; what is not what it
should be refuses the run.

This relies on nothing else of the same workspace running meanwhile: the backend holds a lock.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import Policy
from agentcoord.sandbox.reachable import exists, is_folder
from agentcoord.values import dataclass

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Mount:
    """Something of the host that is shown read-only inside."""

    source: Path
    """On the host, without symbolic links."""
    target: Path
    """Inside."""
    is_folder: bool


def read_only_mounts(policy: Policy) -> tuple[Mount, ...]:
    """Return what is shown read-only inside the workspace, parents first.

    Toolchains that lie inside the repository are among them. Raises SandboxError when a source is
    gone or a target is not below the repository's path.
    """
    wanted = dict(policy.read_only)
    for tool in policy.toolchains:
        if tool.is_relative_to(policy.mount_at):
            wanted.setdefault(tool, tool)
    if policy.shadow_git is not None:
        wanted[policy.shadow_git] = policy.mount_at / ".git"
    mounts: list[Mount] = []
    for source, target in sorted(wanted.items(), key=lambda pair: pair[1].parts):
        _refuse_odd_target(policy, target)
        real = Path(os.path.realpath(source))
        if not exists(real):
            raise SandboxError(
                f"{source} is to be shown to commands, but it is not there.",
                mend="put it back, or take it out of project.share in agentcoord.toml",
            )
        if any(_already_shown(real, target, mount) for mount in mounts):
            continue
        mounts.append(Mount(real, target, is_folder(real)))
    return tuple(mounts)


def check_targets(workspace: Path, mount_at: Path, mounts: Sequence[Mount]) -> None:
    """Open every target without following links; create missing ones; raise SandboxError otherwise."""
    try:
        root = os.open(workspace, _FOLDER)
    except OSError as error:
        raise SandboxError(f"The workspace {workspace} cannot be opened: {error.strerror}.") from error
    try:
        device = os.fstat(root).st_dev
        for mount in mounts:
            relative = mount.target.relative_to(mount_at)
            try:
                _check_target(root, relative.parts, device=device, is_folder=mount.is_folder)
            except OSError as error:
                raise SandboxError(
                    f"{relative} in the workspace is not the plain {'folder' if mount.is_folder else 'file'} "
                    f"it has to be ({error.strerror}); a command may have replaced it.",
                    mend="retry the task: it gets a fresh workspace",
                ) from error
    finally:
        os.close(root)


def _check_target(root: int, parts: Sequence[str], *, device: int, is_folder: bool) -> None:
    folder = os.dup(root)
    try:
        for part in parts if is_folder else parts[:-1]:
            below = _open_folder(part, folder)
            os.close(folder)
            folder = below
            # A mount that somebody left inside the workspace is as wrong as a link.
            if os.fstat(folder).st_dev != device:
                raise OSError(errno.EXDEV, "another file system is mounted there")
        if not is_folder:
            _check_file(parts[-1], folder)
    finally:
        os.close(folder)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)


def _check_file(name: str, parent: int) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
    finally:
        os.close(descriptor)


def _refuse_odd_target(policy: Policy, target: Path) -> None:
    below = target.is_relative_to(policy.mount_at) and target != policy.mount_at
    if not below or ".." in target.parts:
        raise SandboxError(f"{target} cannot be shown to commands: it is not below {policy.mount_at}.")


def _already_shown(source: Path, target: Path, outer: Mount) -> bool:
    if not target.is_relative_to(outer.target):
        return False
    if source == outer.source / target.relative_to(outer.target):
        return True
    raise SandboxError(f"{target} cannot be shown to commands: {outer.target} is shown there already.")
