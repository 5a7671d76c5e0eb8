"""`agentcoord adopt`: takes along the state of a repository that was moved or renamed.

No daemon of either place may run, and both locks are held meanwhile. What is moved is one folder, by one
rename: everything in it is named relative to the repository. Keys in Redis keep the name that they have
(`config.namespace`), in the embedded server and in one of the user's own; nothing of them is touched.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.former_place import alike_state, former_state
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import Json, invocation_of
from agentcoord.config.namespace import NAME as NAMESPACE
from agentcoord.config.namespace import keep_namespace, write_unused
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.place import NAME as PLACE
from agentcoord.config.place import (
    has_commit,
    holds_work,
    is_same_folder,
    may_be_away,
    may_hold_work,
    read_place,
    stands,
    write_place,
)
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
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Even if the disk of the former place may be away."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Take tasks, journal and transcripts along after the repository was moved.

    They lie in a folder that is named after the repository's path. Refused while a daemon of either
    place runs, while something is at the former place, where this place has tasks of its own, and for the
    state of another repository.
    """
    invocation = invocation_of(context)
    paths = invocation.paths()
    old = _former(paths, former)
    if stands(os.fspath(old.root), os.fspath(paths.root)):
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
    said = read_place(os.fspath(old.state_dir))
    if said is None or not is_same_folder(said, os.fspath(paths.root)):
        _refuse_another(paths, old, said, yes=yes)
    aside = _take_along(paths, old, "" if said is None else said["commit"])
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
    _say_what_still_starts(invocation, old)


def _refuse_another(
    paths: ProjectPaths, old: ProjectPaths, said: Mapping[str, Any] | None, *, yes: bool
) -> None:
    """Raise CommandError for the state of another repository, or one that may still be at its place."""
    if said is not None and said["commit"] and not has_commit(os.fspath(paths.root), said["commit"]):
        place = shlex.quote(os.fspath(old.state_dir / PLACE))
        raise CommandError(
            f"the repository at {old.root} had the commit {said['commit'][:12]}, which git does not find in "
            f"{paths.root}: that is another repository's state",
            exit_code=ExitCode.REFUSED,
            mend=f"if it is the same, and its history was written anew since: rm {place}, and once more",
        )
    if not yes and may_be_away(os.fspath(old.root), said):
        raise CommandError(
            f"whether the repository is still at {old.root} cannot be seen: its disk may only be away",
            exit_code=ExitCode.REFUSED,
            mend="mount it and look; if it was moved: the same command with --yes",
        )


def _say_what_still_starts(invocation: Invocation, old: ProjectPaths) -> None:
    """Name the service that was installed at the former place."""
    from agentcoord.daemon.service_units import launchd_place, systemd_place

    env = {"HOME": "/", **invocation.env}
    ways = (
        (systemd_place, "systemctl --user disable --now "),
        (launchd_place, "launchctl bootout gui/$UID/"),
    )
    for place, ends_it in ways:
        name, file = place(old, env)
        if file.exists():
            invocation.terminal.say(
                f"an installed service still starts at the former place: {ends_it}{name}; "
                f"rm {shlex.quote(os.fspath(file))}; agentcoordd install-service --now"
            )


def _former(paths: ProjectPaths, named: Path | None) -> ProjectPaths:
    """The places that belonged to the repository when it was elsewhere. Raises CommandError: none known."""
    if named is None:
        # Every daemon leaves data of its server, also one that never had a task.
        found = former_state(paths, holds_work) or former_state(paths, may_hold_work)
        if found is None:
            alike = alike_state(paths)
            perhaps = f" ({shlex.quote(alike)}? one with the same commits was there)" if alike else ""
            raise CommandError(
                "no state of this repository at a former place is known",
                exit_code=ExitCode.NOT_FOUND,
                mend=f"agentcoord adopt DIR, with the path that it had{perhaps}",
            )
        return _places_at(paths, found[1])
    # Its last part is not followed: nothing is there, or a link that leads to the place of today. What is
    # above it may have been reached by a link then, too.
    plain = os.path.abspath(named.expanduser())  # noqa: PTH100
    above, name = os.path.split(plain)
    places = [_places_at(paths, root) for root in (plain, os.path.join(os.path.realpath(above), name))]  # noqa: PTH118
    for old in places:
        if may_hold_work(os.fspath(old.state_dir)):
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


def _take_along(paths: ProjectPaths, old: ProjectPaths, commit: str) -> Path | None:
    """Move the folder; return where what this place had is now, if it had any.

    Raises DaemonAlreadyRunningError, ConfigError, CommandError or OSError; then the old folder is as it was.
    """
    from agentcoord.daemon.project_lock import lock_of
    from agentcoord.daemon.redis_server import end_leftover, is_listening

    left = old.state_dir.with_name(f"{old.state_dir.name}.left")
    with ExitStack() as locks:
        aside = None
        if paths.state_dir.exists():
            locks.enter_context(lock_of(paths))
            aside = _unused(paths.state_dir)
        locks.enter_context(_lock_of_former(old))
        if is_listening(old.redis_socket):
            asyncio.run(end_leftover(old.redis_socket))
        keep_namespace(old)
        left.mkdir(mode=0o700, exist_ok=True)
        write_unused(left, old.project_id)
        if aside is not None:
            paths.state_dir.rename(aside)
            (aside / paths.identity_file.name).unlink(missing_ok=True)
        # A daemon that was started since has made a folder, which a rename puts nothing in place of.
        old.state_dir.rename(paths.state_dir)
        write_place(os.fspath(paths.state_dir), os.fspath(paths.root), commit)
        left.rename(old.state_dir)
        if aside is not None and {each.name for each in aside.iterdir()} <= {NAMESPACE, paths.lock_file.name}:
            shutil.rmtree(aside)  # As the repository left it when it went from here.
            return None
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
