"""`agentcoord` commands that tell the daemon to do something: to a task, to the fleet, to the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.options import Json, TaskName, invocation_of, terminal_of
from agentcoord.tui.rejection import rejected_words
from agentcoord.tui.text import plural
from agentcoord.wire.answers import RejectView, UndoView
from agentcoord.wire.messages import ExitCode, Method
from agentcoord.wire.protocol import SPAWN_MOST

commands = group("")
ctl = group(
    "Steer the running daemon: kill, pause, resume, drain.",
    "agentcoord ctl pause",
    "agentcoord ctl kill Testing-Engineer-2",
)

AnyTaskName = Annotated[str, typer.Argument(metavar="ID", help="The task's id, unless --all is given.")]
AllReviewed = Annotated[bool, typer.Option("--all", help="Every done task that is not reviewed yet.")]
All = Annotated[bool, typer.Option("--all", help="Every one, not only what is stale.")]


def _tell(context: typer.Context, schema: str, as_json: bool, words: str, answer: dict[str, Any]) -> None:
    if as_json:
        terminal_of(context).document(f"agentcoord.{schema}", answer)
    else:
        terminal_of(context).text(words)


@commands.command(epilog=example("agentcoord spawn --role backend-engineer -n 2"))
def spawn(
    context: typer.Context,
    role: Annotated[
        str,
        typer.Option("--role", metavar="ROLE", help="testing-, backend- or platform-engineer, or architect."),
    ],
    count: Annotated[int, typer.Option("-n", min=1, max=SPAWN_MOST, help="How many.")] = 1,
    as_json: Json = False,
) -> None:
    """Add workers to the running fleet."""
    answer = invocation_of(context).ask(Method.SPAWN, role=role, n=count)
    _tell(context, "spawn", as_json, f"started {', '.join(answer['workers'])}", answer)


@commands.command(epilog=example("agentcoord retry unit-tests"))
def retry(context: typer.Context, task_id: TaskName, as_json: Json = False) -> None:
    """Queue a failed, cancelled or parked task again."""
    answer = invocation_of(context).ask(Method.RETRY, id=task_id)
    _tell(context, "retry", as_json, f"{task_id} is {answer['state']}", answer)


@commands.command(epilog=example('agentcoord cancel refactoring --why "not this week"'))
def cancel(
    context: typer.Context,
    task_id: TaskName,
    why: Annotated[str, typer.Option("--why", help="Shown beside the task.")] = "",
    as_json: Json = False,
) -> None:
    """End a task; nothing of it lands."""
    answer = invocation_of(context).ask(Method.CANCEL, id=task_id, why=why)
    _tell(context, "cancel", as_json, f"{task_id} is {answer['state']}", answer)


@commands.command(epilog=example('agentcoord answer pooling "at most eight connections"'))
def answer(
    context: typer.Context,
    task_id: TaskName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to tell the worker.")],
    as_json: Json = False,
) -> None:
    """Answer the question that a task has asked."""
    answer = invocation_of(context).ask(Method.ANSWER, id=task_id, text=text)
    _tell(context, "answer", as_json, f"{task_id} has its answer", answer)


@commands.command(epilog=example("agentcoord land unit-tests"))
def land(context: typer.Context, task_id: TaskName, as_json: Json = False) -> None:
    """Let a flagged change land that waits for you.

    Exactly this change: it is checked again, and nothing is made anew or paid for.
    """
    answer = invocation_of(context).ask(Method.LAND, id=task_id)
    _tell(context, "land", as_json, f"{task_id} is {answer['state']}; it lands if it is green", answer)


@commands.command(epilog=example("agentcoord accept unit-tests", "agentcoord accept --all"))
def accept(
    context: typer.Context, task_id: AnyTaskName = "", everything: AllReviewed = False, as_json: Json = False
) -> None:
    """Mark a done task as reviewed and good. (The commit stays yours.)"""
    _one_or_all(task_id, everything)
    if everything:
        answer = invocation_of(context).ask(Method.ACCEPT, all=True)
        _tell(context, "accept", as_json, f"accepted {', '.join(answer['tasks']) or 'nothing'}", answer)
        return
    answer = invocation_of(context).ask(Method.ACCEPT, id=task_id)
    _tell(context, "accept", as_json, f"{task_id} is {answer['review']}", answer)


@commands.command(epilog=example("agentcoord undo unit-tests", "agentcoord undo --all"))
def undo(
    context: typer.Context,
    task_id: AnyTaskName = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Every task that landed and is not accepted, newest first.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Even if tasks that need it have landed on top of it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take one task's changes back, and only those."""
    _one_or_all(task_id, everything)
    if everything:
        answer = invocation_of(context).ask(Method.UNDO, all=True)
        views = cast("list[UndoView]", answer["tasks"])
        _tell(context, "undo", as_json, "\n".join(map(_undo_words, views)) or "nothing to undo", answer)
    else:
        answer = invocation_of(context).ask(Method.UNDO, id=task_id, yes=yes)
        views = [cast("UndoView", answer)]
        _tell(context, "undo", as_json, _undo_words(views[0]), answer)
    _refuse_conflicts(views, "undone")


@commands.command(epilog=example('agentcoord reject unit-tests --reason "the empty list is not tested"'))
def reject(
    context: typer.Context,
    task_id: TaskName,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What is wrong with it, for the next worker.")
    ],
    despite: Annotated[
        list[str] | None,
        typer.Option(
            "--despite", metavar="ID", help="A task that landed on top of it and stays. Repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Take one task's changes back, and have the same task done again with your reason.

    When tasks that need it have landed on top of it, they are listed and nothing happens until `--despite`
    names each of them.
    """
    answer = invocation_of(context).ask(Method.REJECT, id=task_id, reason=reason, despite=despite or [])
    view = cast("RejectView", answer)
    _tell(context, "reject", as_json, rejected_words(view), answer)
    _refuse_conflicts([view], "rejected")


def _refuse_conflicts(views: Sequence[UndoView], done: str) -> None:
    """Raise CommandError when something could not be taken back."""
    stuck = [view for view in views if view["conflicts"]]
    if stuck:
        names = ", ".join(view["id"] for view in stuck)
        files = [path for view in stuck for path in view["conflicts"]]
        raise CommandError(
            f"{names} cannot be {done}: {plural(len(files), 'file')} changed since",
            exit_code=ExitCode.REFUSED,
            problems=files,
            mend=f"agentcoord diff {stuck[0]['id']} | git apply -R --reject takes out what still fits; "
            "the rest is in .rej files, to settle by hand",
        )


def _one_or_all(task_id: str, everything: bool) -> None:
    if everything == bool(task_id):
        raise CommandError(
            "name one task, or say --all", exit_code=ExitCode.USAGE, mend="agentcoord tasks lists them"
        )


def _undo_words(view: UndoView) -> str:
    parts = []
    if view["restored"]:
        parts.append(f"restored {', '.join(view['restored'])}")
    if view["merged"]:
        parts.append(f"took its lines out of {', '.join(view['merged'])}")
    if view["gone"] and not view["conflicts"]:
        gone = ", ".join(view["gone"])
        parts.append(f"removed or renamed since: {gone} (under another name its lines are still there)")
    if view.get("absent") and not view["conflicts"]:
        absent = ", ".join(view["absent"])
        parts.append(
            f"nothing of it is in {absent} (undo {view['id']} again when it is back, from a stash or so)"
        )
    if view["conflicts"]:
        parts.append("not undone")
    return f"{view['id']}: {'; '.join(parts) or 'nothing to restore'}"


@commands.command(epilog=example("agentcoord cleanup", "agentcoord cleanup --all"))
def cleanup(context: typer.Context, everything: All = False, as_json: Json = False) -> None:
    """Release what ended tasks left behind.

    Locks, leases, reservations and private copies of the dead, and what undoing would take of work that you
    accepted more than `undo.keep_days` ago. `--all` forgets every task of this project, with costs and
    events; what they landed can still be seen and undone by its id.
    """
    _cleanup(context, everything, as_json)


@ctl.command("cleanup", epilog=example("agentcoord ctl cleanup"))
def ctl_cleanup(context: typer.Context, everything: All = False, as_json: Json = False) -> None:
    """As `agentcoord cleanup`."""
    _cleanup(context, everything, as_json)


def _cleanup(context: typer.Context, everything: bool, as_json: bool) -> None:
    answer = invocation_of(context).ask(Method.CLEANUP, all=everything)
    parts = ", ".join(f"{count} {name}" for name, count in answer.items() if count)
    _tell(context, "cleanup", as_json, f"released {parts}" if parts else "nothing to clean up", answer)


@ctl.command(epilog=example("agentcoord ctl kill Backend-Engineer-2", "agentcoord ctl kill --all"))
def kill(
    context: typer.Context,
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="As `agentcoord workers` shows it.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="Every worker.")] = False,
    as_json: Json = False,
) -> None:
    """Stop workers now; their tasks go back to the queue."""
    if everyone == bool(worker):
        raise CommandError(
            "name one worker, or say --all",
            exit_code=ExitCode.USAGE,
            mend="agentcoord workers lists them",
        )
    answer = invocation_of(context).ask(Method.KILL, **({"all": True} if everyone else {"worker": worker}))
    _tell(context, "kill", as_json, f"stopped {', '.join(answer['killed']) or 'nobody'}", answer)


@ctl.command(epilog=example("agentcoord ctl pause"))
def pause(context: typer.Context, as_json: Json = False) -> None:
    """Begin nothing new; what runs goes on."""
    answer = invocation_of(context).ask(Method.PAUSE)
    _tell(context, "pause", as_json, "paused: nothing new begins until agentcoord ctl resume", answer)


@ctl.command(epilog=example("agentcoord ctl resume"))
def resume(context: typer.Context, as_json: Json = False) -> None:
    """Begin tasks again after a pause."""
    answer = invocation_of(context).ask(Method.RESUME)
    _tell(context, "resume", as_json, "resumed", answer)


@ctl.command(epilog=example("agentcoord ctl drain"))
def drain(context: typer.Context, as_json: Json = False) -> None:
    """Begin nothing new, and stop the daemon when the running tasks have ended."""
    answer = invocation_of(context).ask(Method.DRAIN)
    _tell(context, "drain", as_json, "draining: the daemon stops when the running tasks have ended", answer)
