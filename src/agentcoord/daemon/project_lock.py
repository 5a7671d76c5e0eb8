"""Who is the daemon of a project: `flock` on its lock file decides, and on another beside its socket between
those that keep their state in different folders; a process id alone is only told, and trusted together with
when the process began (`process_life`).

Separate from `service`, because who starts a daemon asks too, and should not have to import one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agentcoord import __version__
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.root_rule import root_allowed
from agentcoord.daemon.process_life import Life, life_in, life_of, said_in
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import (
    AnotherListensError,
    ConnectionLostError,
    DaemonAlreadyRunningError,
    DaemonError,
    DaemonNotRunningError,
    NoAnswerError,
    RpcError,
    WireError,
)
from agentcoord.values import dataclass
from agentcoord.wire.call import call_once
from agentcoord.wire.protocol import Method

NEIGHBOUR_ANSWER_S: Final = 5.0
"""How long who listens on the socket may take to say who it is."""


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
    with _held(paths.lock_file) as ours:
        if not ours:
            other = read_identity(paths)
            who = f"pid {other['pid']}" if "pid" in other else "another process"
            raise DaemonAlreadyRunningError(
                f"a daemon runs for {paths.root} already ({who})",
                mend="agentcoordd status shows it, agentcoordd stop ends it",
            )
        with _held_if_it_can_be(paths.socket_lock_file) as alone:
            refuse_neighbour(paths)
            if not alone:
                raise DaemonAlreadyRunningError(
                    f"a daemon is being started for {paths.root}; its state is in another folder than "
                    f"{paths.state_dir}",
                    mend="agentcoordd status shows it when it is ready; agentcoordd stop ends it",
                )
            yield


def refuse_neighbour(paths: ProjectPaths, answer_s: float = NEIGHBOUR_ANSWER_S) -> None:
    """Ask whether somebody listens on the project's socket: only a dead daemon's may be removed.

    The project's lock lies in the state folder and the socket in the runtime folder; who was started with
    another `XDG_STATE_HOME` holds another lock. Raises DaemonAlreadyRunningError when there is such a one,
    and AnotherListensError when it is another user's.
    """
    try:
        status = call_once(paths.socket, Method.STATUS, timeout_s=answer_s)
    except DaemonNotRunningError:
        return
    except (NoAnswerError, ConnectionLostError, RpcError):
        status = {}
    except AnotherListensError:
        raise
    except WireError:
        return  # It cannot be reached at all: binding says why.
    who = f"pid {status['pid']}" if "pid" in status else "a process that does not say which"
    where = status.get("state_dir", "another folder")
    raise DaemonAlreadyRunningError(
        f"a daemon runs for {paths.root} already ({who}); its state is in {where}, not in {paths.state_dir}",
        mend="agentcoordd stop ends it; or set XDG_STATE_HOME as it was when that one was started",
    )


@contextlib.contextmanager
def _held(lock_file: Path) -> Iterator[bool]:
    """Try to hold a lock for as long as the block runs; tells whether we do."""
    descriptor = _opened(lock_file)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _held_if_it_can_be(lock_file: Path) -> Iterator[bool]:
    """The same with a file that is gone afterwards, in a folder that may be missing or unfit: binding the
    socket says why then.
    """
    descriptor, ours = None, True
    with contextlib.suppress(OSError):
        descriptor, ours = _opened_and_taken(lock_file)
    try:
        yield ours
    finally:
        if descriptor is not None:
            if ours:
                with contextlib.suppress(OSError):
                    lock_file.unlink()
            os.close(descriptor)


def _opened_and_taken(lock_file: Path) -> tuple[int, bool]:
    """Open a lock and try to take it; not one that its holder has removed since."""
    while True:
        descriptor = _opened(lock_file)
        ours = _taken(descriptor)
        if not ours or _is_at(lock_file, descriptor):
            return descriptor, ours
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _opened(lock_file: Path) -> int:
    return os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


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
    return said_in(paths.identity_file)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a project's lock."""

    daemon: Life
    supervisor: Life | None
    """What would start it again."""


def holder_of(paths: ProjectPaths) -> Holder | None:
    """The daemon that wrote down who it is, if it still lives; None when that cannot be said for sure."""
    said = read_identity(paths)
    daemon = life_in(said)
    if daemon is None:
        return None
    supervisor = said.get("supervisor")
    return Holder(daemon, life_in(supervisor) if isinstance(supervisor, dict) else None)


def has_lost_its_supervisor(paths: ProjectPaths, pid: int) -> bool:
    """Whether this daemon was begun by one that would start it again, and that is there no more.

    From where the daemon itself is not seen (a container that shares its socket) no more is its supervisor.
    """
    said = read_identity(paths)
    supervisor = said.get("supervisor")
    seen = said.get("pid") == pid and life_in(said) is not None
    return seen and isinstance(supervisor, dict) and life_in(supervisor) is None


@contextlib.contextmanager
def identity(paths: ProjectPaths, *, supervised: bool = False) -> Iterator[None]:
    """Say who this daemon is, for as long as the block runs; `supervised`: by the process that began it."""
    said = {
        **life_of(os.getpid()).said(),
        "supervisor": life_of(os.getppid()).said() if supervised else None,
        "version": __version__,
        "socket": os.fspath(paths.socket),
        "root": os.fspath(paths.root),
    }
    _write_identity(paths, said)
    try:
        yield
    finally:
        paths.identity_file.unlink(missing_ok=True)


def add_to_identity(paths: ProjectPaths, **said: str | int) -> None:
    """Say more of this daemon than who it is."""
    told = read_identity(paths)
    if told:
        _write_identity(paths, {**told, **said})


def touch_identity(paths: ProjectPaths) -> None:
    """Let a supervisor that cannot ask this daemon see that it lives."""
    with contextlib.suppress(OSError):
        os.utime(paths.identity_file)


def _write_identity(paths: ProjectPaths, said: Mapping[str, Any]) -> None:
    """Write the file whole or not at all: that it is there tells the next start that this daemon died."""
    temporary = paths.identity_file.with_suffix(".new")
    try:
        temporary.write_text(json.dumps(said), encoding="utf-8")
        temporary.replace(paths.identity_file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
