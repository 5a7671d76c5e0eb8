"""`agentcoord` commands that show something: tasks, workers, money, locks, events, diffs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, cast

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.fast import watch
from agentcoord.cli.follow import HISTORY_EVENTS, Follower, newest_events
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.night_list import list_nights
from agentcoord.cli.options import Json, JsonLines, TaskName, finish, invocation_of, terminal_of
from agentcoord.cli.progress import event_line
from agentcoord.cli.reading import COSTS, DEAD_TASKS, LOCKS, STATS, STATUS, TASKS, WORKERS, Reading, answer
from agentcoord.cli.review_pages import blame_page, path_inside
from agentcoord.cli.task_page import NEWEST_EVENTS, task_page
from agentcoord.cli.terminal import Terminal
from agentcoord.clock import SystemClock
from agentcoord.wire.answers import BlamedLineView, BlameView
from agentcoord.wire.messages import ExitCode, Method, StatusView
from agentcoord.wire.night_file import night_called
from agentcoord.wire.task_views import TaskDetail

commands = group("")


def _read(context: typer.Context, reading: Reading, as_json: bool) -> None:
    finish(answer(reading, invocation_of(context), as_json=as_json))


@commands.command(epilog=example("agentcoord status", "agentcoord status --json | jq .needs_you"))
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show where the run stands, and what needs you."""
    _read(context, STATUS, as_json)


@commands.command(
    epilog=example("agentcoord tasks", "agentcoord tasks --dead --json | jq '.tasks[].history'")
)
def tasks(
    context: typer.Context,
    dead: Annotated[
        bool, typer.Option("--dead", help="Those that failed, with how each attempt ended; newest first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the tasks: state, cost, why not running.

    What stands under --dead has used up its attempts: agentcoord retry ID brings it back.
    """
    _read(context, DEAD_TASKS if dead else TASKS, as_json)


@commands.command(epilog=example("agentcoord workers"))
def workers(context: typer.Context, as_json: Json = False) -> None:
    """List the workers and what each is doing."""
    _read(context, WORKERS, as_json)


@commands.command(epilog=example("agentcoord costs", "agentcoord costs --json | jq .total_usd"))
def costs(context: typer.Context, as_json: Json = False) -> None:
    """Show what was spent, by model and by task."""
    _read(context, COSTS, as_json)


@commands.command(epilog=example("agentcoord stats"))
def stats(context: typer.Context, as_json: Json = False) -> None:
    """Show what this run did: throughput, turns, checks, landings, waits, success."""
    _read(context, STATS, as_json)


@commands.command(epilog=example("agentcoord locks"))
def locks(context: typer.Context, as_json: Json = False) -> None:
    """List the files that tasks hold, and who waits for them."""
    _read(context, LOCKS, as_json)


@commands.command(epilog=example("agentcoord task unit-tests"))
def task(context: typer.Context, task_id: TaskName, as_json: Json = False) -> None:
    """Show all that is known of one task."""
    detail = invocation_of(context).ask(Method.TASK, id=task_id)
    if as_json:
        terminal_of(context).document("agentcoord.task", detail)
        return
    events = [event_line(event, None) for event in detail["events"][-NEWEST_EVENTS:]]
    terminal_of(context).lines(task_page(cast("TaskDetail", detail), events))


@commands.command(
    epilog=example("agentcoord diff unit-tests", "agentcoord diff unit-tests | git apply --check -R")
)
def diff(context: typer.Context, task_id: TaskName, as_json: Json = False) -> None:
    """Print what one task changed, as a unified diff.

    Which of its files run on your machine or in your CI is said first, on standard error. Into a file or a
    pipe goes a patch that `git apply` takes, with what binary files hold (up to 8 MB in all).
    """
    from agentcoord.tui.diff_lines import diff_lines
    from agentcoord.tui.review_text import runs_here_lines

    invocation, terminal = invocation_of(context), terminal_of(context)
    whole = not terminal.width and not as_json
    pieces: list[str] = []
    offset: int | None = 0
    while offset is not None:
        piece = invocation.ask(Method.DIFF, id=task_id, offset=offset, **({"whole": True} if whole else {}))
        pieces.append(piece["text"])
        offset = piece["next_offset"]
    patch, runs_here = "".join(pieces), [str(path) for path in piece.get("runs_here") or ()]
    if as_json:
        terminal.document("agentcoord.diff", {"id": task_id, "runs_here": runs_here, "patch": patch})
        return
    if not patch:
        terminal.say(f"{task_id} has changed nothing")
        return
    for line in runs_here_lines(runs_here):
        terminal.say(*line)
    if whole and not piece.get("whole"):
        why = "it is too large" if "whole" in piece else "the daemon is older than this program: restart it"
        terminal.say(f"This is a diff to read, and may be no patch to apply: {why}")
    if whole:
        terminal.raw(patch.encode("utf-8", "surrogateescape"))
    else:
        terminal.lines(diff_lines(patch))


@commands.command(epilog=example("agentcoord blame src/prices.py"))
def blame(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file of the project.")],
    as_json: Json = False,
) -> None:
    """Show which task wrote which line of a file; `-`: no task did."""
    invocation, terminal = invocation_of(context), terminal_of(context)
    inside = path_inside(path, folder=invocation.folder, root=invocation.paths().root)
    lines: list[BlamedLineView] = []
    offset: int | None = 0
    while offset is not None:
        page = cast("BlameView", invocation.ask(Method.BLAME, path=inside, offset=offset))
        lines += page["lines"]
        offset = page["next_offset"]
    if as_json:
        numbered = [{"line": number, **line} for number, line in enumerate(lines, 1)]
        terminal.document("agentcoord.blame", {"path": inside, "lines": numbered})
    else:
        terminal.lines(blame_page(lines))


@commands.command(
    epilog=example(
        "agentcoord logs -f",
        "agentcoord logs --task unit-tests -n 50 --json",
        "agentcoord logs -f --worker Testing-Engineer-1",
    )
)
def logs(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what happens.")] = False,
    newest: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=HISTORY_EVENTS, help="How many to begin with.")
    ] = 20,
    task_id: Annotated[str, typer.Option("--task", metavar="ID", help="Of this task alone.")] = "",
    worker: Annotated[str, typer.Option("--worker", metavar="NAME", help="Of this worker alone.")] = "",
    as_json: JsonLines = False,
) -> None:
    """Print the events of the run: what the workers did.

    The daemon's own log is another thing: agentcoordd logs.
    """
    invocation = invocation_of(context)
    socket_path = invocation.paths().socket
    printer = _EventPrinter(terminal_of(context), task_id, worker, as_json=as_json)

    events, position = asyncio.run(newest_events(socket_path, newest, printer.wants))
    if not events:
        _refuse_unknown(invocation, task_id, worker)
    for event in events:
        printer.event(event)
    if follow:
        asyncio.run(Follower(socket_path, printer, SystemClock(), position=position).until_stopped())


def _refuse_unknown(invocation: Invocation, task_id: str, worker: str) -> None:
    """Raise an error (exit 4) for a task or worker that there is not; of what there was, events are left."""
    if task_id:
        invocation.ask(Method.TASK, id=task_id)
    if worker and worker not in [row["name"] for row in invocation.ask(Method.WORKERS)["workers"]]:
        raise CommandError(
            f"no worker is called {worker!r}",
            exit_code=ExitCode.NOT_FOUND,
            mend="agentcoord workers lists them",
        )


class _EventPrinter:
    """A watcher that prints every event on standard output."""

    def __init__(self, terminal: Terminal, task_id: str, worker: str, *, as_json: bool) -> None:
        """Of `task_id` and `worker` alone, where they are not empty."""
        self._terminal = terminal
        self._wanted = {key: value for key, value in (("task", task_id), ("worker", worker)) if value}
        self._as_json = as_json

    def wants(self, event: Mapping[str, Any]) -> bool:
        return all(event.get(key) == value for key, value in self._wanted.items())

    def event(self, event: Mapping[str, Any]) -> None:
        if not self.wants(event):
            return
        if self._as_json:
            self._terminal.record(event)
        else:
            self._terminal.lines([event_line(event, None)])

    def status(self, status: StatusView) -> None:
        del status

    def note(self, words: str) -> None:
        self._terminal.say(words)


@commands.command(
    epilog=example(
        "agentcoord dashboard", "agentcoord dashboard --replay", "agentcoord dashboard --replay last"
    )
)
def dashboard(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="With --replay: which night; `last`, or the beginning of a name. None: list them.",
        ),
    ] = "",
    replay: Annotated[
        bool, typer.Option("--replay", help="Play a past night. Needs no daemon, and changes nothing.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Look on only: every key that acts says why it does not.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --replay and no RUN: print the list as one JSON document.")
    ] = False,
) -> None:
    """Watch workers, tasks, events and money live. `q` leaves; the daemon goes on."""
    invocation = invocation_of(context)
    paths = invocation.paths()
    if (run and not replay) or (as_json and (run or not replay)):
        raise typer.BadParameter("RUN belongs to --replay, and --json to the list of runs")
    if replay and not run:
        finish(list_nights(invocation, as_json=as_json))
    if not replay:
        finish(watch(invocation, read_only=read_only))
    from agentcoord.tui.app import run_replay

    finish(
        run_replay(
            night_called(paths.nights_dir, run),
            project_name=paths.root.name,
            log_file=paths.log_file,
            transcripts=paths.transcripts_dir,
        )
    )
