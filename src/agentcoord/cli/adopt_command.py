"""`agentcoord adopt`: takes along the state of a repository that was moved or renamed.

No daemon of either place may run, and both locks are held meanwhile. What is moved is one folder, by one
rename: everything in it is named relative to the repository. The embedded server's data alone stays out:
its keys bear the former place's id, and the next start puts tasks, settings and money back from `kept.jsonl`.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.former_place import former_state
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.options import Json, invocation_of
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.place import has_left, holds_work, write_place
from agentcoord.domain.ids import project_id_of
from agentcoord.errors import DaemonAlreadyRunningError
from agentcoord.wire.protocol import ExitCode

commands = group("")


@commands.command(epilog=example("agentcoord adopt", "agentcoord adopt ~/src/its-former-name"))
def adopt(
    context: typer.Context,
    former: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where the repository was, if it is not found.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take tasks, journal and transcripts along after the repository was moved.

    They lie in a folder that is named after the repository's path. Refused while a daemon of either
    place runs, while something is at the former place, and where this place has tasks of its own.
    """
    invocation = invocation_of(context)
    paths = invocation.paths()
    old = _former(paths, former)
    if not has_left(os.fspath(old.root), os.fspath(paths.root)):
        raise CommandError(
            f"{old.root} is still there: its state belongs to it",
            exit_code=ExitCode.REFUSED,
            mend="move it away first; a copy has tasks of its own",
        )
    if holds_work(os.fspath(paths.state_dir)):
        raise CommandError(
            f"this place has tasks of its own in {paths.state_dir}; two states cannot be joined",
            exit_code=ExitCode.REFUSED,
            mend=f"if those of {old.root} count more: agentcoordd stop, then move that folder elsewhere",
        )
    aside = _take_along(paths, old)
    if as_json:
        document = {
            "root": str(old.root),
            "state_dir": str(paths.state_dir),
            "set_aside": None if aside is None else str(aside),
        }
        invocation.terminal.document("agentcoord.adopt", document)
        return
    invocation.terminal.text(f"the state of {old.root} is in {paths.state_dir} now: agentcoordd start")
    if aside is not None:
        invocation.terminal.say(f"what this place had, no task and nothing to undo, is in {aside}")
    unit = f"agentcoord-{old.project_id}.service"
    home = Path(invocation.env.get("XDG_CONFIG_HOME") or Path(invocation.env.get("HOME", "/")) / ".config")
    if (file := home / "systemd" / "user" / unit).exists():
        invocation.terminal.say(
            f"an installed service still starts at the former place: systemctl --user disable --now {unit}; "
            f"rm {shlex.quote(str(file))}; agentcoordd install-service --now"
        )


def _former(paths: ProjectPaths, named: Path | None) -> ProjectPaths:
    """The places that belonged to the repository when it was elsewhere. Raises CommandError: none known."""
    if named is None:
        found = former_state(paths)
        if found is None:
            raise CommandError(
                "no state of this repository at a former place is known",
                exit_code=ExitCode.NOT_FOUND,
                mend="agentcoord adopt DIR, with the path that it had",
            )
        return _places_at(paths, found[1])
    # Its last part is not followed: nothing is there, or a link that leads to the place of today. What is
    # above it may have been reached by a link then, too.
    plain = os.path.abspath(named.expanduser())  # noqa: PTH100
    above, name = os.path.split(plain)
    places = [_places_at(paths, root) for root in (plain, os.path.join(os.path.realpath(above), name))]  # noqa: PTH118
    for old in places:
        if holds_work(os.fspath(old.state_dir)):
            return old
    empty = places[0].state_dir
    raise CommandError(
        f"there is no state of a repository at {plain}: {empty} has no task, and nothing to undo",
        exit_code=ExitCode.NOT_FOUND,
        mend=f"ls {shlex.quote(str(empty.parent))} shows the folders that there are",
    )


def _places_at(paths: ProjectPaths, root: str) -> ProjectPaths:
    project = project_id_of(root)
    return ProjectPaths(Path(root), project, paths.state_dir.with_name(project), paths.runtime_dir)


def _take_along(paths: ProjectPaths, old: ProjectPaths) -> Path | None:
    """Move the folder; return where what this place had is now, if it had any.

    Raises DaemonAlreadyRunningError, CommandError or OSError; then the old folder is as it was.
    """
    from agentcoord.daemon.project_lock import lock_of
    from agentcoord.daemon.redis_server import end_leftover, is_listening

    with ExitStack() as locks:
        aside = None
        if paths.state_dir.exists():
            locks.enter_context(lock_of(paths))
            aside = _unused(paths.state_dir)
        locks.enter_context(_lock_of_former(old))
        if is_listening(old.redis_socket):
            asyncio.run(end_leftover(old.redis_socket))
        if aside is not None:
            paths.state_dir.rename(aside)
            (aside / paths.identity_file.name).unlink(missing_ok=True)
        # A daemon that was started since has made a folder, which a rename puts nothing in place of.
        old.state_dir.rename(paths.state_dir)
        write_place(os.fspath(paths.state_dir), os.fspath(paths.root), "")
        if paths.kept_file.exists():
            shutil.rmtree(paths.redis_dir, ignore_errors=True)
    return aside


@contextmanager
def _lock_of_former(old: ProjectPaths) -> Iterator[None]:
    """Hold the lock of the former place, whose daemon no command reaches any more."""
    from agentcoord.daemon.project_lock import holder_of, lock_of

    try:
        with lock_of(old):
            yield
    except DaemonAlreadyRunningError as error:
        holder = holder_of(old)
        ends_it = "agentcoordd status --all lists it" if holder is None else f"kill {holder.daemon.pid}"
        raise CommandError(error.message, exit_code=ExitCode.REFUSED, mend=ends_it) from error


def _unused(folder: Path) -> Path:
    """A name beside the folder that nobody has."""
    number = 1
    while os.path.lexists(name := folder.with_name(f"{folder.name}.aside-{number}")):
        number += 1
    return name
