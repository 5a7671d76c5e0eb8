"""What `doctor` looks at in a project: repository, settings, model, Redis, daemon, state, disk.

What `--fix` may do here touches the state and runtime folders alone, which are ours, and only while the
project's lock is held: so no daemon can be using them. The repository is never written.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agentcoord.cli.findings import Finding, Repair, Verdict
from agentcoord.cli.former_place import alike_state, moved_words
from agentcoord.cli.invocation import Invocation
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.errors import AgentCoordError, DaemonNotRunningError
from agentcoord.llm.api import Provider
from agentcoord.wire.call import call_once, check_socket_path
from agentcoord.wire.protocol import Method

FREE_BYTES: Final = 1024**3
"""Private copies, the undo journal and logs want about this much."""
FREE_FILES: Final = 50_000
_OPEN_TO_OTHERS: Final = 0o077
_LIST_S: Final = 30.0


def repository(root: Path) -> Finding:
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        mend = "mount it so that it can be written, or work on a clone that is elsewhere"
        return Finding("repository", Verdict.FAIL, f"{root} is on a read-only disk", mend)
    if not os.access(root, os.W_OK):
        mend = f"sudo chown -R $USER {shlex.quote(os.fspath(root))}"
        return Finding("repository", Verdict.FAIL, f"{root} cannot be written", mend)
    return Finding("repository", Verdict.OK, str(root))


def config(settings: Settings, paths: ProjectPaths) -> Finding:
    """Whether there are settings, and whether their scope names any file that git knows."""
    from agentcoord.workspace.scope import ScopeRules

    if not paths.config_file.exists():
        return Finding(
            "config", Verdict.WARN, "no agentcoord.toml: defaults apply, no checks", "agentcoord init"
        )
    project = settings.project
    words = f"scope {', '.join(project.scope)}"
    tracked = _tracked(paths.root)
    rules = ScopeRules(project.scope, project.protect, project.sight)
    if tracked and not any(rules.allows(path) for path in tracked):
        return Finding(
            "config",
            Verdict.WARN,
            f"{words}: names none of the {len(tracked)} files that git tracks",
            "name what workers may change in project.scope of agentcoord.toml",
        )
    return Finding("config", Verdict.OK, words)


def _tracked(root: Path) -> list[str]:
    """The files that git tracks; none where git cannot tell."""
    done = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIST_S,
        check=False,
    )
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else []


def model(settings: Settings, invocation: Invocation) -> Finding:
    env = invocation.env
    if settings.models.provider != Provider.ANTHROPIC:
        return Finding("model", Verdict.OK, f"{settings.models.provider}, signed in as its own tools are")
    if url := settings.models.base_url or env.get("ANTHROPIC_BASE_URL"):
        return Finding("model", Verdict.OK, f"server {url}")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if env.get(name):
            return Finding("model", Verdict.OK, f"api.anthropic.com with {name}; --online tries it")
    return Finding(
        "model",
        Verdict.FAIL,
        "neither an API key nor a base URL is set",
        "export ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for another server, or try agentcoord demo",
    )


def online(settings: Settings, invocation: Invocation) -> Finding:
    """Ask the model's server for one word."""
    from agentcoord.cli.online_check import ask_for_a_word

    return Finding("online", Verdict.OK, ask_for_a_word(settings, invocation.env))


def key_file_of(env: Mapping[str, str]) -> Finding:
    """The file with the key for an installed service, which nobody else should read."""
    from agentcoord.daemon.service_units import key_file

    path = key_file({**env, "HOME": env.get("HOME") or str(Path("~").expanduser())})
    if not path.exists():
        return Finding("key file", Verdict.OK, f"none (an installed service would read {path})")
    if path.stat().st_mode & _OPEN_TO_OTHERS:
        return Finding(
            "key file",
            Verdict.WARN,
            f"others may read {path}",
            f"chmod 600 {shlex.quote(str(path))}",
            Repair(f"let nobody else read {path}", lambda: path.chmod(0o600)),
        )
    return Finding("key file", Verdict.OK, f"{path}, yours alone")


def redis(settings: Settings) -> Finding:
    """The server that a start would use; one of your own must answer."""
    if settings.redis.url:
        import asyncio

        from agentcoord.store.looking import version_of_server

        version = asyncio.run(version_of_server(settings.redis.url))
        return Finding("redis", Verdict.OK, f"{version} at {_without_password(settings.redis.url)}")
    from agentcoord.daemon.redis_server import find_server

    server = find_server()
    done = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10.0, check=False)
    if done.returncode != 0:
        raise AgentCoordError(
            f"{server} does not run here: {done.stderr.strip()[-200:] or f'exit code {done.returncode}'}",
            mend="install valkey or redis-server, or set redis.url in agentcoord.toml",
        )
    version = next((word for word in done.stdout.split() if word.startswith("v=")), "v=?")[2:]
    return Finding("redis", Verdict.OK, f"embedded, {version}: {server}")


def daemon(paths: ProjectPaths) -> Finding:
    """Whether a daemon answers and is looked after as it was, and whether a dead one left its socket."""
    check_socket_path(paths.socket)
    try:
        status = call_once(paths.socket, Method.STATUS, {}, 5.0)
    except DaemonNotRunningError:
        if not os.path.lexists(paths.socket):
            return Finding("daemon", Verdict.OK, f"not running; its socket will be {paths.socket}")
        return Finding(
            "daemon",
            Verdict.WARN,
            f"not running, and a dead one left {paths.socket}",
            "agentcoordd start, which removes it",
            Repair(f"remove {paths.socket}", lambda: _under_lock(paths, paths.socket.unlink)),
        )
    from agentcoord.daemon.project_lock import has_lost_its_supervisor

    words = f"{status['state']}, pid {status['pid']}, socket {paths.socket}"
    if has_lost_its_supervisor(paths, status["pid"]):
        lost = "its supervisor is gone, so nothing starts it again if it dies"
        return Finding("daemon", Verdict.WARN, f"{words}; {lost}", "agentcoordd restart")
    return Finding("daemon", Verdict.OK, words)


def leftovers(paths: ProjectPaths) -> Finding:
    """What a daemon that died left running or lying: its Redis, a request to stop."""
    from agentcoord.daemon.redis_server import end_leftover, is_listening
    from agentcoord.daemon.stop_file import NAME

    if _is_held(paths):
        return Finding("leftovers", Verdict.OK, "none: a daemon looks after what is there")
    if is_listening(paths.redis_socket):
        import asyncio

        return Finding(
            "leftovers",
            Verdict.WARN,
            f"a Redis whose daemon died still runs ({paths.redis_socket})",
            "agentcoordd start, which ends it",
            Repair(
                "end the Redis that a dead daemon left running",
                lambda: _under_lock(paths, lambda: asyncio.run(end_leftover(paths.redis_socket))),
            ),
        )
    lying = [path for path in (paths.redis_socket, paths.state_dir / NAME) if os.path.lexists(path)]
    if lying:
        names = ", ".join(map(str, lying))
        return Finding(
            "leftovers",
            Verdict.WARN,
            f"left by a daemon that died: {names}",
            "agentcoordd start, which removes it",
            Repair(f"remove {names}", lambda: _under_lock(paths, lambda: _unlink(lying))),
        )
    if paths.identity_file.exists():
        return Finding("leftovers", Verdict.OK, "the last daemon died; the next start goes on from there")
    return Finding("leftovers", Verdict.OK, "none")


def state(paths: ProjectPaths) -> Finding:
    """Our own folders: there, ours, writable, and nobody else's to read."""
    if paths.state_dir.resolve().is_relative_to(paths.root):
        return Finding(
            "state",
            Verdict.FAIL,
            f"{paths.state_dir} is inside the repository",
            "set XDG_STATE_HOME to a folder outside the repository",
        )
    there = [folder for folder in (paths.state_dir, paths.runtime_dir) if folder.is_dir()]
    if paths.state_dir.is_dir():
        there += [entry for entry in paths.state_dir.iterdir() if entry.is_dir() and not entry.is_symlink()]
    foreign = [folder for folder in there if folder.stat().st_uid != os.geteuid()]
    if foreign:
        return Finding(
            "state",
            Verdict.FAIL,
            f"{foreign[0]} belongs to another user",
            f"sudo chown -R $USER {shlex.join(map(str, foreign))}",
        )
    wrong = [folder for folder in there if stat.S_IMODE(folder.stat().st_mode) != 0o700]
    if wrong:
        unwritable = any(folder.stat().st_mode & 0o700 != 0o700 for folder in wrong)
        return Finding(
            "state",
            Verdict.FAIL if unwritable else Verdict.WARN,
            f"{'not fully yours' if unwritable else 'open to others'}: {', '.join(map(str, wrong))}",
            f"chmod 700 {shlex.join(map(str, wrong))}",
            Repair(f"make {', '.join(map(str, wrong))} yours alone (0700)", lambda: _make_private(wrong)),
        )
    needed = (paths.state_dir, paths.runtime_dir)
    if closed := [above for folder in needed if not os.access(above := _nearest(folder), os.W_OK | os.X_OK)]:
        return Finding(
            "state",
            Verdict.FAIL,
            f"nothing can be written below {closed[0]}: it is not yours, or its disk is read-only",
            "give it back to your user, or set XDG_STATE_HOME and XDG_RUNTIME_DIR to folders of yours",
        )
    if moved := moved_words(paths):
        return Finding("state", Verdict.WARN, moved, "agentcoord adopt")
    whose = "yours alone" if paths.state_dir.is_dir() else "made at the first start"
    words = f"{paths.state_dir}, {whose}"
    if alike := alike_state(paths):
        words += (
            f"; a repository with the same commits was at {alike}; "
            f"if this is it, moved: agentcoord adopt {shlex.quote(alike)}"
        )
    return Finding("state", Verdict.OK, words)


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def disk(paths: ProjectPaths) -> Finding:
    there = next(folder for folder in (paths.state_dir, *paths.state_dir.parents) if folder.exists())
    free, room = shutil.disk_usage(there).free, os.statvfs(there)
    words = f"{free / 1024**3:.1f} GB free for {paths.state_dir}"
    larger = "free some space, or set XDG_STATE_HOME to a larger disk"
    if free < FREE_BYTES:
        return Finding("disk", Verdict.WARN, words, larger)
    if room.f_files and room.f_favail < FREE_FILES:  # Some file systems count none.
        return Finding("disk", Verdict.WARN, f"{words}, but only for {room.f_favail:,} more files", larger)
    return Finding("disk", Verdict.OK, words)


@contextmanager
def _lock(paths: ProjectPaths) -> Iterator[None]:
    from agentcoord.daemon.project_lock import lock_of

    with lock_of(paths):
        yield


def _under_lock(paths: ProjectPaths, act: Callable[[], object]) -> None:
    """Act while no daemon can be there. Raises DaemonAlreadyRunningError when one is."""
    if not paths.state_dir.is_dir():  # Then there is no lock to hold, and never was a daemon.
        act()
        return
    with _lock(paths):
        act()


def _is_held(paths: ProjectPaths) -> bool:
    from agentcoord.cli.lock_look import holds_lock

    return holds_lock(paths.lock_file)


def _unlink(lying: list[Path]) -> None:
    for path in lying:
        path.unlink(missing_ok=True)


def _make_private(folders: list[Path]) -> None:
    for folder in folders:
        folder.chmod(0o700)


def _without_password(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest
