"""Who is the daemon of a project: `flock` on its lock file decides; a process id is never trusted, only told.

Separate from `service`, because who starts a daemon asks too, and should not have to import one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from agentcoord import __version__
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.root_rule import root_allowed
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import DaemonAlreadyRunningError, DaemonError


def refuse_root(args: StartArgs, env: Mapping[str, str]) -> None:
    """Raises DaemonError when this is root and nobody said that it may be."""
    if os.geteuid() == 0 and not root_allowed(env, flag=args.allow_root):
        raise DaemonError(
            "this is root; workers' commands would run with root's reach",
            mend="run as an ordinary user, or say --allow-root (or AGENTCOORD_ALLOW_ROOT=1)",
        )


@contextlib.contextmanager
def lock_of(paths: ProjectPaths) -> Iterator[None]:
    """Hold the project's lock. Raises DaemonAlreadyRunningError when somebody else does."""
    descriptor = os.open(paths.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            other = read_identity(paths)
            who = f"pid {other['pid']}" if "pid" in other else "another process"
            raise DaemonAlreadyRunningError(
                f"a daemon runs for {paths.root} already ({who})",
                mend="agentcoordd status shows it, agentcoordd stop ends it",
            )
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Take the lock; a daemon that is dying at this moment gets half a second to be gone."""
    for pause_s in (0.05,) * 10 + (0.0,):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(pause_s)
    return False


def read_identity(paths: ProjectPaths) -> dict[str, Any]:
    """What the newest daemon said of itself; empty when it said nothing readable."""
    try:
        found = json.loads(paths.identity_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def identity(paths: ProjectPaths) -> Iterator[None]:
    """Say who this daemon is, for as long as the block runs."""
    said = {
        "pid": os.getpid(),
        "version": __version__,
        "socket": os.fspath(paths.socket),
        "root": os.fspath(paths.root),
    }
    paths.identity_file.write_text(json.dumps(said), encoding="utf-8")
    try:
        yield
    finally:
        paths.identity_file.unlink(missing_ok=True)
